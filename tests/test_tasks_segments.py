"""Texts become rows once; states of many little additions equal those of one."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

import language_worlds
from m6rec.tasks.segments import SegmentTable

TEXTS = [f"red shoe {'for the trail ' * (n % 4)}number {n}" for n in range(60)]


def table(kept: int | Literal["all"]) -> SegmentTable:
    model, words = language_worlds.backbone()
    return SegmentTable(model, words, 1, kept)


@pytest.mark.parametrize("kept", [1, "all"])
def test_states_added_one_by_one_are_those_of_all_at_once(kept: int | Literal["all"]) -> None:
    slow, whole = table(kept), table(kept)
    buffers = set()
    before: torch.Tensor | None = None
    for text in TEXTS:
        slow.add([text], 32)
        states = slow.states()
        buffers.add(states.h_SKD.data_ptr())
        if before is not None:
            S, K = before.shape[:2]
            assert torch.equal(states.h_SKD[:S, :K], before), "rows never change"
        before = states.h_SKD.clone()
    whole.add(TEXTS, 32)
    wanted = whole.states()
    assert torch.equal(states.valid_SK, wanted.valid_SK)
    # Batches of other shapes round differently: by a step of bfloat16 where it is computed in.
    there = wanted.valid_SK  # what stands in padding is nobody's
    torch.testing.assert_close(states.h_SKD[there], wanted.h_SKD[there], atol=1e-2, rtol=2e-3)
    assert len(buffers) < 20, "a copy of everything for each text"


def test_a_cleared_memory_begins_anew_with_the_same_answers() -> None:
    some = table(1)
    rows = some.add(TEXTS[:5], 32)
    before = some.states().h_SKD[rows].clone()
    some.memory.clear()
    assert len(some) == 2
    assert some.add(TEXTS[10:12], 32).tolist() == [2, 3]
    again = some.add(TEXTS[:5], 32)
    assert again.tolist() == [4, 5, 6, 7, 8]
    torch.testing.assert_close(some.states().h_SKD[again], before, atol=2e-3, rtol=2e-3)
