"""Times as a journal's rows have them: microseconds, moved so that any time takes eight bytes."""

from __future__ import annotations

MICROSECONDS, CLAMP, SHIFT = 1_000_000, 1 << 54, 1 << 56


def moment(seconds: float) -> int:
    """Seconds since 1970 as `entries.happened` has them."""
    return int(max(-CLAMP, min(CLAMP, seconds * MICROSECONDS))) + SHIFT
