"""Who reads texts at the moment, and when a model lets go of those that it keeps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

MOST_TEXTS = 200_000
"""Texts whose states a model keeps in memory, some 300 MB with one state of each; at more it lets
go of all of them as soon as nothing is under way."""
FAR_TOO_MANY = MOST_TEXTS * 5 // 4
"""At more, what comes waits until then."""


class Working:
    """Counts what is under way, so that nobody's texts are let go of meanwhile.

    texts: how many are kept now; forget: lets go of them. A thread may not enter again before it
    has left: it would wait for itself.
    """

    def __init__(self, texts: Callable[[], int], forget: Callable[[], None]) -> None:
        self._texts, self._forget = texts, forget
        self._changed, self._count = threading.Condition(), 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Around all that reads texts. It waits where there are far too many; the last one to leave
        lets go of too many."""
        with self._changed:
            self._changed.wait_for(lambda: not self._count or self._texts() <= FAR_TOO_MANY)
            self._count += 1
        try:
            yield
        finally:
            with self._changed:
                self._count -= 1
                if not self._count and self._texts() > MOST_TEXTS:
                    self._forget()
                self._changed.notify_all()
