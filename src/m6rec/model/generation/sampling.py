"""Choosing the next token: what repeats is held back, and chance is drawn by numbers given.

Pure functions of tensors. Legend: N lanes, V words that compete, t tokens written so far.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

NUCLEUS = 256
"""Words that are sorted at first; more only where their mass falls short of top_p."""


def uniforms(seeds: Sequence[int], lanes: int, steps: int) -> np.ndarray:
    """Numbers in [0, 1), one for each step of each lane: float64 [len(seeds) · lanes, steps].

    They depend on the seed and the number of the lane alone, so a text is the same whatever else
    is in its batch, and however many texts are drawn beside it.
    """
    rows = [np.random.default_rng([s, w]).random(steps) for s in seeds for w in range(lanes)]
    return np.array(rows).reshape(-1, steps)


def draw(
    log_p_NV: Tensor, u_N: Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0
) -> Tensor:
    """One word of each lane by inverse transform of u: int64 [N].

    Of log p / temperature: the top_k likeliest (0: all), of which the fewest whose share reaches
    top_p (arXiv 1904.09751). A word of log p = -inf is never drawn.
    """
    scores_NV = log_p_NV.float() / temperature
    if not top_k and top_p >= 1:
        return _inverse(scores_NV.softmax(-1), u_N)
    V = scores_NV.shape[1]
    values, words = scores_NV.topk(min(top_k or NUCLEUS, V), dim=1)
    if top_k:
        share = values.softmax(-1)
    else:
        total_N1 = scores_NV.logsumexp(-1, keepdim=True)
        share = (values - total_N1).exp()
        if values.shape[1] < V and bool((share.sum(-1) < top_p).any()):
            values, words = scores_NV.sort(dim=1, descending=True)
            share = (values - total_N1).exp()
    before = share.cumsum(-1) - share
    return words.gather(1, _inverse(share * (before < top_p), u_N)[:, None])[:, 0]


def _inverse(weight_NV: Tensor, u_N: Tensor) -> Tensor:
    """The first column at which the sum of weights passes u times their total: [N]."""
    sum_NV = weight_NV.cumsum(-1, dtype=torch.float64)
    aim_N1 = u_N.double()[:, None] * sum_NV[:, -1:]
    return torch.searchsorted(sum_NV, aim_N1, right=True)[:, 0].clamp(max=weight_NV.shape[1] - 1)


def penalise(log_p_NV: Tensor, written_Nt: Tensor, penalty: float, spared: int) -> None:
    """Multiplies log p of written words by the penalty, in place.

    As CTRL's penalty (arXiv 1909.05858), but of log-probabilities: what is added to all logits
    makes no difference, and a penalty above 1 always makes a word less likely. written_Nt holds
    columns, of which `spared` keeps its value.
    """
    value_Nt = log_p_NV.gather(1, written_Nt)
    kept_Nt = torch.where(written_Nt == spared, value_Nt, value_Nt * penalty)
    log_p_NV.scatter_(1, written_Nt, kept_Nt)


def repeated(written_Nt: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Lanes and ids that would end an n-gram of `size` ids that the lane has written already.

    >>> repeated(np.array([[7, 8, 9, 7, 8]]), 3)
    (array([0]), array([9]))
    """
    t = written_Nt.shape[1]
    if t < size:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(written_Nt, size, axis=1)
    ending_N1 = written_Nt[:, None, t - size + 1 :]
    lane, place = np.nonzero((windows[..., : size - 1] == ending_N1).all(-1))
    return lane, windows[lane, place, size - 1]
