"""What takes long: clients take turns, and none of them fills the queue."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from m6rec.serving.batching import OverloadedError
from m6rec.serving.lane import Lane


def test_clients_take_turns_and_none_fills_the_queue() -> None:
    lane, go, begun = Lane(8), threading.Event(), threading.Event()
    order: list[str] = []

    def first() -> None:
        begun.set()
        assert go.wait(30)

    held = lane.submit(first, "flood")
    assert begun.wait(30)
    flood = [lane.submit(partial(order.append, "flood"), "flood") for _ in range(3)]
    with pytest.raises(OverloadedError, match="4 requests of this client"):
        lane.submit(first, "flood")
    others = [lane.submit(partial(order.append, name), name) for name in ("a", "b")]
    assert lane.waiting == 6
    for name in ("c", "d"):
        others.append(lane.submit(partial(order.append, name), name))
    with pytest.raises(OverloadedError, match="8 requests wait"):
        lane.submit(first, "e")
    go.set()
    for one in (held, *flood, *others):
        one.result(30)
    assert order[:2] == ["flood", "a"] and order[-2:] == ["flood", "flood"]
    lane.close()


def test_an_error_is_its_own_and_gives_its_place_back() -> None:
    lane = Lane(2)
    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            lane.submit(lambda: 1 / 0, "a").result(30)
    assert lane.submit(lambda: 7, "a").result(30) == 7
    lane.close()
