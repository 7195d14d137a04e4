"""What is known about a yes before anything is learned: a few numbers beside the options.

An addition to the paper (docs/tuning.md). With a handful of labels nothing that is learned beats
how often a user says yes; so a ranker starts from that number and learns what departs from it.
Legend: R requests, H events of a history, B candidates of all requests, E = 13 numbers, D width.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from m6rec.data.requests import Requests
from m6rec.data.verdicts import said_of
from m6rec.metrics.bootstrap import safe_divide
from m6rec.model.plans import SegmentStates
from m6rec.text.feature_table import FeatureTable
from m6rec.text.past import YesNo

RATES = ("expected", "item_rate", "user_rate", "recent_rate")
"""Rates of the cross features (text/feature_table.py); the mean of those by column comes after."""
COUNTS = ("item_count", "user_count", "recent_total")
"""How many events a rate rests on, told as a fifth of log(1 + count)."""
AGREEMENT = ("agreement", "item_lean", "user_lean")
"""What people of the user's taste say, and means of finer judgements than yes and no."""
NUMBERS = len(RATES) + 1 + len(COUNTS) + len(AGREEMENT) + 2
"""The log-odds of the rates, the counts, agreement, then likeness: nearest and mean."""
HIDDEN = 16
AT_ONCE = 4096
SHARPNESS = 5.0
"""Cosines of centred states differ by a fifth or so; this brings them to the size of log-odds."""
LEAN = 3.0
"""Means differ by a third of a deviation or so; this brings them to the size of log-odds."""
MOST = 4.0
"""Agreement and leans are kept within it."""
PRIOR = 100.0
"""How strongly the first weights are held where they begin, in labels (about four to one)."""
STEPS = 20
SURE = 0.02
"""Rates are kept this far from 0 and 1 before they become log-odds."""


class Evidence(nn.Module):
    """Turns evidence into log-odds, and says how far the options are to be trusted.

    The log-odds are a weighted sum, and a small network of HIDDEN units that sees which rates rest
    on few events.

    Untrained, the log-odds are those of the expected rate, and the options count for nothing.
    Before training the weights are fitted to the labels (`first_weights`); the network earns its
    say. `weights` are those of the numbers, `trust` that of the options. `centre` [D], the mean
    state of the items trained on, is set once and saved, not learned.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.centre = nn.Parameter(torch.zeros(width))
        self.weights = nn.Parameter(torch.eye(NUMBERS)[0])
        self.trust = nn.Parameter(torch.tensor(0.0))
        self.inner = nn.Linear(NUMBERS, HIDDEN)
        self.outer = nn.Linear(HIDDEN, 1)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    @torch.no_grad()
    def begin(self, evidence_BE: Tensor, label_B: Tensor) -> None:
        """Fits the weights to labels of 0 and 1, before training."""
        weight_E = first_weights(evidence_BE.cpu().numpy(), label_B.cpu().numpy())
        self.weights.copy_(torch.from_numpy(weight_E))

    def forward(self, logits_BC: Tensor, evidence_BE: Tensor) -> Tensor:
        """Class scores [B, 2]: trusted options, and the log-odds added to the yes."""
        odds_B = evidence_BE @ self.weights + self.outer(F.gelu(self.inner(evidence_BE)))[:, 0]
        return logits_BC * self.trust + torch.stack([torch.zeros_like(odds_B), odds_B], 1)


def told(table: FeatureTable) -> np.ndarray:
    """Log-odds of the rates, the counts they rest on, and agreement: float32 [B, 11], 0 where
    unknown."""
    counts_BE, agreement_BE = (
        np.stack([np.nan_to_num(table.numbers[name]) for name in names], 1)
        for names in (COUNTS, AGREEMENT)
    )
    agreement_BE = (agreement_BE * (1.0, LEAN, LEAN)).clip(-MOST, MOST)
    parts = [log_odds(table), np.log1p(counts_BE) / 5, agreement_BE]
    return np.concatenate(parts, 1).astype(np.float32)


def log_odds(table: FeatureTable) -> np.ndarray:
    """Rates of the cross features as log-odds, float32 [B, 5]; 0 where no rate is known."""
    by_column = [table.numbers[f"{column}_rate"] for column in table.columns]
    mean_B = np.full(len(table), np.nan)
    if by_column:
        known_CB = np.isfinite(by_column)
        total_B = np.where(known_CB, by_column, 0.0).sum(0)
        mean_B = safe_divide(total_B, known_CB.sum(0))
    rates = [table.numbers[name] for name in RATES]
    rate_BE = np.clip(np.nan_to_num(np.stack([*rates, mean_B], 1), nan=0.5), SURE, 1 - SURE)
    return np.asarray(np.log(rate_BE / (1 - rate_BE)), dtype=np.float32)


def first_weights(evidence_BE: np.ndarray, label_B: np.ndarray) -> np.ndarray:
    """Weights of the numbers by logistic regression, drawn to the expected rate alone: [E].

    With few labels they stay there. Newton's method; labels of 0 and 1.
    """
    x_BE = evidence_BE.astype(np.float64)
    begin_E = np.eye(NUMBERS)[0]
    weight_E: np.ndarray = begin_E.copy()
    for _ in range(STEPS):
        p_B = 1 / (1 + np.exp(-(x_BE @ weight_E)))
        slope_E = x_BE.T @ (p_B - label_B) + PRIOR * (weight_E - begin_E)
        bend_EE = (x_BE * (p_B * (1 - p_B))[:, None]).T @ x_BE + PRIOR * np.eye(NUMBERS)
        weight_E -= np.linalg.solve(bend_EE, slope_E)
    return weight_E


def signs(pool: pl.DataFrame, rule: YesNo) -> np.ndarray:
    """+1 where an event of the pool is a yes, -1 a no, 0 neither: float32 [events].

    What the rule does not judge says what it says by itself (data/verdicts.py): a purchase under a
    rule for ratings is a yes, a return a no.
    """
    kind, value = pl.col("event"), pl.col("value")
    if rule.event is None:
        yes, no = kind.is_in(list(rule.positive)), kind.is_in(list(rule.negative))
        judged = yes | no
    else:
        judged = (kind == rule.event) & value.is_not_null()
        yes, no = judged & (value >= rule.threshold), judged & (value < rule.threshold)
    own = said_of(pool).verdict
    unjudged = pl.Series(np.where(np.abs(own) == 1, own, 0))
    sign = pl.when(yes).then(1.0).when(no).then(-1.0).when(judged).then(0.0).otherwise(unjudged)
    found: np.ndarray = pool.select(sign.alias("sign"))["sign"].cast(pl.Float32).to_numpy()
    return found


def signs_of_history(requests: Requests, sign_E: np.ndarray, length: int) -> np.ndarray:
    """Signs of the newest `length` events of each history, newest last: float32 [R, H]."""
    start, stop = requests.rows["start"].to_numpy(), requests.rows["stop"].to_numpy()
    place_RH = stop[:, None] - np.arange(length, 0, -1)[None, :]
    inside_RH = place_RH >= start[:, None]
    if not sign_E.size:
        return np.zeros(place_RH.shape, dtype=np.float32)
    return np.where(inside_RH, sign_E[np.where(inside_RH, place_RH, 0)], 0.0).astype(np.float32)


def likeness(
    states: SegmentStates,
    centre_D: Tensor,
    item_B: np.ndarray,
    event_RH: np.ndarray,
    sign_RH: np.ndarray,
    of_request_B: np.ndarray,
) -> np.ndarray:
    """Likeness to what was liked less that to what was disliked: float32 [B, 2], nearest and mean.

    item_B, event_RH: rows of the segment table; of_request_B: the request of each candidate.
    Cosines of states less `centre`, which all share.
    """
    item_I, of_item_B = np.unique(item_B, return_inverse=True)
    event_E, of_event = np.unique(event_RH.clip(0), return_inverse=True)
    of_event_RH = of_event.reshape(event_RH.shape)
    unit_ID, unit_ED = (
        F.normalize(mean_states(states, torch.from_numpy(rows)) - centre_D, dim=1)
        for rows in (item_I, event_E)
    )
    parts = []
    for start in range(0, len(item_B), AT_ONCE):
        request = of_request_B[start : start + AT_ONCE]
        item, event_BH = of_item_B[start : start + AT_ONCE], of_event_RH[request]
        pairs = torch.from_numpy(item), torch.from_numpy(event_BH)
        cosine_BH = _cosines(unit_ID, unit_ED, *pairs)
        parts.append(_likeness(cosine_BH, torch.from_numpy(sign_RH[request])))
    found = torch.cat(parts) if parts else torch.zeros(0, 2)
    return np.asarray(SHARPNESS * found.cpu().numpy(), dtype=np.float32)


def _cosines(unit_ID: Tensor, unit_ED: Tensor, item_B: Tensor, event_BH: Tensor) -> Tensor:
    """Of each candidate and each event of its history [B, H]; all with all where that is less."""
    if len(unit_ID) * len(unit_ED) <= event_BH.numel():
        return (unit_ID @ unit_ED.T)[item_B[:, None], event_BH]
    return (unit_ED[event_BH] @ unit_ID[item_B][..., None])[..., 0]


def mean_states(states: SegmentStates, rows_S: Tensor) -> Tensor:
    """One state for each of these segments, the mean of those kept: float32 [S, D]."""
    rows_S = rows_S.to(states.h_SKD.device)
    weight_SK = states.valid_SK[rows_S].float()
    total_SD = (states.h_SKD[rows_S].float() * weight_SK[..., None]).sum(1)
    return total_SD / weight_SK.sum(1, keepdim=True).clamp(min=1)


def _likeness(cosine_BH: Tensor, sign_BH: Tensor) -> Tensor:
    sides = []
    for sign in (1.0, -1.0):
        chosen_BH = (sign_BH == sign).to(cosine_BH.device)
        count_B = chosen_BH.sum(1)
        nearest_B = cosine_BH.masked_fill(~chosen_BH, -1.0).amax(1)
        mean_B = (cosine_BH * chosen_BH).sum(1) / count_B.clamp(min=1)
        sides.append(torch.stack([nearest_B, mean_B], 1) * (count_B > 0)[:, None])
    return sides[0] - sides[1]
