"""The network that a student begins as: what can be had from its teacher, the rest at random.

Legend: V words, D width of the teacher, E width of the student's table, F inner width.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from m6rec.config import ModelConfig
from m6rec.model.block import Block, GeluFFN
from m6rec.model.checkpoint import backbone_tensors
from m6rec.model.m6 import M6
from m6rec.model.sharing import givers
from m6rec.training.start import cold

ADDING = ("attention.out.", "ffn.down.")
"""What of a layer is added to its input."""
SMOOTH = 1.0
"""Added to how often a word is written, so that words which are only read count too."""


def begin_student(
    config: ModelConfig, teacher: M6, written_V: np.ndarray, seed: int, copied: bool = True
) -> M6:
    """A student of a teacher with the same words.

    The table is the teacher's, factorised so that the words most written lose least. Where both are
    equally wide, what has the teacher's shape is copied, and a set of layers begins as the last of
    the teacher's layers in its stretch. A wider FFN begins as the mean of as many of the teacher's
    as fit in side by side, a narrower one as the strongest neurons of the last. copied=False: all
    at random, to measure what a beginning is worth.

    A set that stands in n layers adds an n-th in each: a whole layer n times over would leave the
    words that it is given far behind (docs/dev/log.md has what each beginning finds untrained).
    """
    model = cold(config, seed)
    if not copied:
        return model
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        old, new = backbone_tensors(teacher), backbone_tensors(model)
        for name, tensor in new.items():
            fits = name in old and old[name].shape == tensor.shape
            if fits and not name.startswith("blocks."):
                tensor.copy_(old[name])
        if config.table_width is not None:
            _begin_table(model, teacher, written_V)
        if config.d_model == teacher.config.d_model:
            _begin_layers(model, teacher)
    return model


def factorise(table_VD: Tensor, weight_V: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """table ≈ low @ up.T + mean: low [V, E], up [D, E] with orthonormal columns, mean [D].

    The square error of each row is weighed (Eckart and Young, on rows scaled by √weight).
    """
    share_V1 = (weight_V / weight_V.sum())[:, None]
    mean_D = (share_V1 * table_VD).sum(0)
    away_VD = table_VD - mean_D
    _, _, right = torch.linalg.svd(away_VD * share_V1.sqrt(), full_matrices=False)
    up_DE = right[:width].T
    return away_VD @ up_DE, up_DE, mean_D


def _begin_table(model: M6, teacher: M6, written_V: np.ndarray) -> None:
    up, down = model.tokens.up, model.lm_head.down
    assert up is not None and down is not None
    weight_V = torch.from_numpy(written_V).float() + SMOOTH
    table_VD = teacher.tokens(torch.arange(len(weight_V))).float()
    low_VE, up_DE, mean_D = factorise(table_VD, weight_V, model.tokens.weight.shape[1])
    model.tokens.weight.copy_(low_VE)
    if up.weight.shape == up_DE.shape:
        up.weight.copy_(up_DE)
        up.bias.copy_(mean_D)
        down.weight.copy_(up_DE.T)
    else:
        nn.init.orthogonal_(up.weight)
        down.weight.copy_(up.weight.T)


def _begin_layers(model: M6, teacher: M6) -> None:
    giver, L = givers(model.config), len(teacher.blocks)
    for index in sorted(set(giver)):
        members = [n for n in range(len(giver)) if giver[n] == index]
        first = members[0] * L // len(giver)
        last = max(first, (members[-1] + 1) * L // len(giver) - 1)
        block, taken = model.blocks[index], teacher.blocks[last]
        assert isinstance(block, Block) and isinstance(taken, Block)
        old, new = taken.state_dict(), block.state_dict()
        for name, tensor in new.items():
            if name in old and old[name].shape == tensor.shape:
                tensor.copy_(old[name])
        _begin_ffn(block, [teacher.blocks[n] for n in range(first, last + 1)])
        for name, tensor in new.items():
            if name.startswith(ADDING):
                tensor.div_(len(members))


def _begin_ffn(block: Block, givers_: list[nn.Module]) -> None:
    """From the teacher's FFNs: several side by side give their mean; of one, the strongest neurons
    by the norms of what they read and write."""
    ffn = block.ffn
    taken = [one.ffn for one in givers_ if isinstance(one, Block) and isinstance(one.ffn, GeluFFN)]
    if not isinstance(ffn, GeluFFN) or not taken:
        return
    inner, F = ffn.up.out_features, taken[0].up.out_features
    if inner < F:
        last = taken[-1]
        strength_F = last.up.weight.norm(dim=1) * last.down.weight.norm(dim=0)
        chosen_I = strength_F.topk(inner).indices.sort().values
        _fill_ffn(ffn, [last], chosen_I)
    elif inner % F == 0 and 2 <= inner // F <= len(taken):
        _fill_ffn(ffn, taken[-(inner // F) :], torch.arange(F))


def _fill_ffn(ffn: GeluFFN, taken: list[GeluFFN], chosen_I: Tensor) -> None:
    """The chosen neurons of each FFN side by side; what they write is averaged over the FFNs."""
    ffn.up.weight.copy_(torch.cat([one.up.weight[chosen_I] for one in taken]))
    down = torch.cat([one.down.weight[:, chosen_I] for one in taken], 1)
    ffn.down.weight.copy_(down / len(taken))
    if ffn.up.bias is not None and ffn.down.bias is not None:
        ffn.up.bias.copy_(torch.cat([one.up.bias[chosen_I] for one in taken]))
        ffn.down.bias.copy_(torch.stack([one.down.bias for one in taken]).mean(0))
