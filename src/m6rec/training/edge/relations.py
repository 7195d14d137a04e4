"""MiniLM's loss: a student's last layer relates its tokens to each other as its teacher's does.

Source: MiniLMv2, arXiv 2012.15828, section 3. The queries, keys and values of the last layer are
cut anew into A relation heads, whatever the widths and heads of the two networks; of each, the
scaled dot products of all tokens are made distributions, and the student's are drawn to the
teacher's (KL). Legend: B texts, T tokens, D width, I inner width of attention, A relation heads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from m6rec.model.attention import bias_of
from m6rec.model.block import Block
from m6rec.model.m6 import M6

Parts = tuple[Tensor, Tensor, Tensor]
"""Queries, keys and values of a layer: [B, T, I] each, heads side by side."""


@contextmanager
def last_inputs(model: M6) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """What enters the last layer while the block runs: a list of (x_BTD, position_BT)."""
    seen: list[tuple[Tensor, Tensor]] = []

    def note(module: Any, arguments: tuple[Any, ...]) -> None:
        seen.append((arguments[0], arguments[1]))

    handle = model.blocks[-1].register_forward_pre_hook(note)
    try:
        yield seen
    finally:
        handle.remove()


def parts_of(model: M6, entered: tuple[Tensor, Tensor]) -> Parts:
    """Queries, keys and values of the last layer for what entered it."""
    block, (x_BTD, position_BT) = model.blocks[-1], entered
    assert isinstance(block, Block)
    source_BTD = block.attention_norm(x_BTD) if block.pre else x_BTD
    q = block.attention.queries(source_BTD, position_BT)
    k, v = block.attention.keys_values(source_BTD, position_BT)
    return _side_by_side(q), _side_by_side(k), _side_by_side(v)


def _side_by_side(x_BHTE: Tensor) -> Tensor:
    return x_BHTE.transpose(1, 2).flatten(2)


def relation_logits(x_BTI: Tensor, heads: int) -> Tensor:
    """Scaled dot products of all pairs of tokens in each relation head: [B, A, T, T]."""
    B, T, inner = x_BTI.shape
    if inner % heads:
        raise ValueError(f"{heads} relation heads do not divide a width of {inner}")
    x_BATE = x_BTI.view(B, T, heads, inner // heads).transpose(1, 2)
    logits_BATT: Tensor = (x_BATE * x_BATE.shape[-1] ** -0.5) @ x_BATE.transpose(-1, -2)
    return logits_BATT


def relation_loss(
    student: Sequence[Tensor], teacher: Sequence[Tensor], valid_BT: Tensor, heads: int
) -> Tensor:
    """KL(teacher ‖ student) of each part's relations: mean over tokens and heads, sum over parts.

    Padding neither relates nor is related to. ValueError where the heads divide no width.
    """
    bias_B11T = bias_of(valid_BT, torch.float32)[:, None, None, :]
    total = torch.zeros((), device=valid_BT.device)
    rows = valid_BT.sum() * heads
    for of_student, of_teacher in zip(student, teacher, strict=True):
        log_p = _log_relation(of_teacher, heads, bias_B11T)
        log_q = _log_relation(of_student, heads, bias_B11T)
        each_BAT = F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)
        total = total + (each_BAT * valid_BT[:, None, :]).sum() / rows
    return total


def _log_relation(x_BTI: Tensor, heads: int, bias_B11T: Tensor) -> Tensor:
    logits = relation_logits(x_BTI, heads)
    return (logits.float() + bias_B11T).log_softmax(-1)
