"""Requests answered in batches: together, in turns, each with its own fate."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError

import pytest

from m6rec.serving.batching import Batcher, BatchSettings, ClosedError, OverloadedError

LONG = 10.0
"""Seconds after which a test gives up."""


class Doubling:
    """Doubles numbers; waits at a gate before each batch, and fails on what is negative."""

    def __init__(self) -> None:
        self.gate, self.began = threading.Event(), threading.Semaphore(0)
        self.batches: list[list[int]] = []

    def __call__(self, asks: Sequence[int]) -> Callable[[], list[int]]:
        self.batches.append(list(asks))
        self.began.release()
        assert self.gate.wait(LONG)
        if any(ask < 0 for ask in asks):
            raise ValueError(f"negative among {list(asks)}")
        return lambda: [2 * ask for ask in asks]


def held(most: int = 4, wait_ms: float = 0) -> tuple[Doubling, Batcher[int, int]]:
    """A batcher whose worker holds a first batch [0], so that what comes then waits."""
    doubling = Doubling()
    batcher = Batcher(doubling, BatchSettings(wait_ms=wait_ms, most=most, waiting=8))
    batcher.submit(0, "first")
    assert doubling.began.acquire(timeout=LONG)
    return doubling, batcher


def test_what_waits_together_is_answered_together() -> None:
    doubling, batcher = held()
    with batcher:
        futures = [batcher.submit(n) for n in range(1, 7)]
        doubling.gate.set()
        assert [future.result(LONG) for future in futures] == [2, 4, 6, 8, 10, 12]
    assert doubling.batches == [[0], [1, 2, 3, 4], [5, 6]]


def test_clients_take_turns_so_that_a_flood_delays_nobody() -> None:
    doubling, batcher = held(most=2)
    with batcher:
        flood = [batcher.submit(n, "many") for n in (1, 2, 3, 4, 5)]
        single = batcher.submit(100, "one")
        doubling.gate.set()
        assert [future.result(LONG) for future in flood] == [2, 4, 6, 8, 10]
        assert single.result(LONG) == 200
    assert doubling.batches == [[0], [1, 100], [2, 3], [4, 5]]


def test_an_error_reaches_its_request_alone() -> None:
    doubling, batcher = held()
    with batcher:
        good, bad, other = (batcher.submit(n) for n in (1, -1, 3))
        doubling.gate.set()
        assert (good.result(LONG), other.result(LONG)) == (2, 6)
        with pytest.raises(ValueError, match=r"negative among \[-1\]"):
            bad.result(LONG)
        assert batcher.submit(5).result(LONG) == 10  # the worker lives on


def test_a_cancelled_request_is_never_computed() -> None:
    doubling, batcher = held()
    with batcher:
        kept, dropped = batcher.submit(1), batcher.submit(2)
        assert dropped.cancel()
        doubling.gate.set()
        assert kept.result(LONG) == 2
        with pytest.raises(CancelledError):
            dropped.result(LONG)
    assert doubling.batches == [[0], [1]]


def test_what_was_cancelled_waits_no_longer_and_takes_no_place() -> None:
    doubling, batcher = held()
    with batcher:
        given_up = [batcher.submit(n, client) for n, client in ((1, "a"), (2, "a"), (3, "b"))]
        kept = batcher.submit(4, "a")
        assert batcher.waiting == 4
        assert all(future.cancel() for future in given_up)
        assert batcher.waiting == 1
        more = [batcher.submit(n, "c") for n in range(5, 12)]
        assert batcher.waiting == 8
        doubling.gate.set()
        assert [future.result(LONG) for future in (kept, *more)] == [8, *range(10, 24, 2)]
        assert batcher.waiting == 0


def test_a_request_waits_for_company_no_longer_than_the_budget() -> None:
    doubling = Doubling()
    doubling.gate.set()
    with Batcher(doubling, BatchSettings(wait_ms=80, most=3)) as batcher:
        begin = time.monotonic()
        assert batcher.submit(1).result(LONG) == 2
        alone = time.monotonic() - begin
        begin = time.monotonic()
        futures = [batcher.submit(n) for n in (2, 3, 4)]
        assert [future.result(LONG) for future in futures] == [4, 6, 8]
        full = time.monotonic() - begin
    assert 0.075 <= alone
    assert full < alone  # a full batch does not wait
    assert doubling.batches == [[1], [2, 3, 4]]


def test_too_many_waiting_requests_are_refused() -> None:
    doubling, batcher = held()
    with batcher:
        for n in range(8):
            batcher.submit(n)
        with pytest.raises(OverloadedError, match="8 requests wait already"):
            batcher.submit(9)
        doubling.gate.set()


def test_closing_fails_what_waits_and_refuses_what_comes() -> None:
    doubling, batcher = held()
    waiting = batcher.submit(1)
    threading.Timer(0.05, doubling.gate.set).start()
    batcher.close()
    with pytest.raises(ClosedError):
        waiting.result(LONG)
    with pytest.raises(ClosedError):
        batcher.submit(2)


def test_answers_are_awaited_from_asyncio() -> None:
    doubling = Doubling()
    doubling.gate.set()

    async def ask(batcher: Batcher[int, int]) -> list[int]:
        futures = [asyncio.wrap_future(batcher.submit(n)) for n in range(5)]
        return list(await asyncio.gather(*futures))

    with Batcher(doubling, BatchSettings(wait_ms=5)) as batcher:
        assert asyncio.run(ask(batcher)) == [0, 2, 4, 6, 8]


def test_a_wrong_number_of_answers_is_an_error_and_no_mix_up() -> None:
    with (
        Batcher(lambda asks: lambda: [], BatchSettings(wait_ms=0)) as batcher,
        pytest.raises(RuntimeError, match="0 answers to 1 requests"),
    ):
        batcher.submit(1).result(LONG)


def test_the_next_batch_begins_while_the_last_one_ends() -> None:
    begun: list[int] = []
    second = threading.Event()

    def begin(asks: Sequence[int]) -> Callable[[], list[int]]:
        begun.extend(asks)
        if 2 in asks:
            second.set()

        def end() -> list[int]:
            assert second.wait(LONG)  # the first ends only when the second has begun
            return [2 * ask for ask in asks]

        return end

    with Batcher(begin, BatchSettings(wait_ms=0, most=1)) as batcher:
        futures = [batcher.submit(n) for n in (1, 2)]
        assert [future.result(LONG) for future in futures] == [2, 4]
    assert begun == [1, 2]


def test_a_batch_that_fails_is_begun_again_when_nothing_else_comes() -> None:
    def begin(asks: Sequence[int]) -> Callable[[], list[int]]:
        def end() -> list[int]:
            time.sleep(0.05)  # the other worker waits for requests by then
            if len(asks) > 1:
                raise ValueError("not together")
            return list(asks)

        return end

    with Batcher(begin, BatchSettings(wait_ms=50, most=3, workers=2)) as batcher:
        futures = [batcher.submit(n) for n in range(3)]
        assert [future.result(LONG) for future in futures] == [0, 1, 2]


def test_no_two_threads_begin_at_once() -> None:
    inside, most_inside, lock = 0, 0, threading.Lock()

    def begin(asks: Sequence[int]) -> Callable[[], list[int]]:
        nonlocal inside, most_inside
        with lock:
            inside += 1
            most_inside = max(most_inside, inside)
        time.sleep(0.002)
        with lock:
            inside -= 1
        if 7 in asks:
            raise ValueError("no sevens")

        def end() -> list[int]:
            time.sleep(0.002)
            if 5 in asks:
                raise ValueError("no fives")  # which begins the others again
            return list(asks)

        return end

    with Batcher(begin, BatchSettings(wait_ms=0, most=3, workers=4)) as batcher:
        futures = [batcher.submit(n) for n in range(40)]
        failed = [n for n, future in enumerate(futures) if future.exception(LONG)]
        assert [f.result() for n, f in enumerate(futures) if n not in failed] == [
            n for n in range(40) if n not in failed
        ]
    assert failed == [5, 7]
    assert most_inside == 1
