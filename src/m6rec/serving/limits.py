"""How often a client may ask: a bucket of tokens for each, filled at a steady rate."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

MOST_CLIENTS = 10_000


class RateLimit:
    """rate: requests per second for each client (0: no limit); burst: as many may come at once."""

    def __init__(
        self, rate: float, burst: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.rate, self.burst = rate, burst or max(1.0, 2 * rate)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> float:
        """0 where the client may go on, else seconds until it may."""
        if self.rate <= 0:
            return 0.0
        now = self._clock()
        left, since = self._buckets.pop(client, (self.burst, now))
        left = min(self.burst, left + (now - since) * self.rate)
        wait = 0.0 if left >= 1 else (1 - left) / self.rate
        self._put(client, left if wait else left - 1, now)
        return wait

    def charge(self, client: str, asks: float) -> None:
        """Takes more for a request that asked for much: it is answered, and the next one waits."""
        if self.rate > 0 and asks > 0:
            now = self._clock()
            left, since = self._buckets.pop(client, (self.burst, now))
            self._put(client, min(self.burst, left + (now - since) * self.rate) - asks, now)

    def _put(self, client: str, left: float, now: float) -> None:
        self._buckets[client] = (left, now)
        if len(self._buckets) > MOST_CLIENTS:
            self._buckets.popitem(last=False)
