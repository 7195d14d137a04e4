"""The time of the shop: one made-up year from a fixed day, busier before the holidays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m6rec.data.shop.draws import Draws

DAY = 86_400.0
START = 1_704_067_200.0
"""2024-01-01 00:00 UTC. Fixed: the shop does not depend on today."""
DAYS = 366
MONTHS = np.repeat(np.arange(12), (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31))
"""Month (0 to 11) of each day of 2024."""
BUSY = np.array([0.9, 0.8, 0.9, 0.95, 1.0, 0.95, 0.9, 0.9, 1.0, 1.05, 1.5, 1.6])
HOURS = np.array([1, 0, 0, 0, 0, 1, 3, 5, 5, 5, 5, 6, 8, 7, 5, 5, 6, 8, 10, 13, 15, 14, 9, 4.0])
"""How much of a day's traffic falls in each hour."""


@dataclass(frozen=True)
class Calendar:
    """The log lasts `days` days from START."""

    days: int = DAYS

    @property
    def end(self) -> float:
        return START + self.days * DAY

    def at(self, share: float, draws: Draws) -> float:
        """A full hour of the working day, `share` (0 to 1) of the way through the log."""
        return START + int(share * self.days) * DAY + (8 + draws.below(10)) * 3600.0

    def visits(self, first: float, last: float, count: int, draws: Draws) -> np.ndarray:
        """`count` moments between two, ascending, more of them on busy days and in the evening."""
        from_day, to_day = int((first - START) // DAY), int((last - START) // DAY)
        weights = np.cumsum(BUSY[MONTHS[from_day : to_day + 1]])
        day = np.searchsorted(weights, draws.uniforms(count) * weights[-1], side="right")
        hour = np.searchsorted(np.cumsum(HOURS), draws.uniforms(count) * HOURS.sum(), side="right")
        second = np.floor(draws.uniforms(count) * 3600)
        times = START + (from_day + day) * DAY + hour * 3600.0 + second
        return np.sort(times)


def month(time: float) -> int:
    """0 for January."""
    return int(MONTHS[min(int((time - START) // DAY), DAYS - 1)])
