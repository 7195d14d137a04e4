"""Texts become rows once; states of many little additions equal those of one."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
import pytest
import torch

import language_worlds
from m6rec.model.plans import SegmentStates
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


def test_who_asks_for_few_rows_does_not_wait_for_who_encodes_many() -> None:
    some = table(1)
    alone = table(1)
    many, few = some.add(TEXTS[:50], 32), some.add(TEXTS[50:52], 32)
    same = alone.add(TEXTS[50:52], 32)
    begun, go, live = threading.Event(), threading.Event(), some.live

    def slow(rows: np.ndarray) -> SegmentStates:
        if len(rows) > 10:
            begun.set()
            assert go.wait(30)
        return live(rows)

    some.live = slow  # type: ignore[method-assign]
    with ThreadPoolExecutor(1) as pool:
        catalogue = pool.submit(some.states, many)
        assert begun.wait(30)
        found = some.states(few).h_SKD[few]
        assert not catalogue.done()
        assert some.add(["a text that is new"], 32).tolist() == [54]
        go.set()
        assert catalogue.result(30).valid_SK[many].any(1).all()
    torch.testing.assert_close(found, alone.states(same).h_SKD[same], atol=1e-2, rtol=2e-3)
    assert torch.equal(some.states().h_SKD[few], found), "rows never change"


def test_states_that_were_dropped_while_they_were_made_are_made_again() -> None:
    some = table(1)
    rows = some.add(TEXTS[:5], 32)
    live, dropped = some.live, list[bool]()

    def dropping(asked: np.ndarray) -> SegmentStates:
        made = live(asked)
        if not dropped:
            dropped.append(True)
            some.forget_states()
        return made

    some.live = dropping  # type: ignore[method-assign]
    assert some.states(rows).valid_SK[rows].any(1).all()
