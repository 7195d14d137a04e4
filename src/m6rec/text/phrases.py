"""Numbers in words, coarse on purpose: few distinct texts, so a cached segment stays valid long."""

from __future__ import annotations

import math

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0

RECENCY = (
    (MINUTE, "moments ago"),
    (HOUR, "minutes ago"),
    (2 * HOUR, "an hour ago"),
    (DAY, "hours ago"),
    (2 * DAY, "yesterday"),
    (7 * DAY, "days ago"),
    (14 * DAY, "last week"),
    (30 * DAY, "weeks ago"),
    (60 * DAY, "last month"),
    (365 * DAY, "months ago"),
    (730 * DAY, "last year"),
)
"""(seconds below which the phrase holds, phrase)."""

UNITS = (
    (365 * DAY, "year"),
    (30 * DAY, "month"),
    (DAY, "day"),
    (HOUR, "hour"),
    (MINUTE, "minute"),
    (1.0, "second"),
)

PERCENTILES = (
    (0.99, "among the top 1 percent"),
    (0.95, "among the top 5 percent"),
    (0.90, "among the top 10 percent"),
    (0.75, "among the top 25 percent"),
    (0.50, "in the upper half"),
    (0.25, "in the lower half"),
    (0.10, "among the bottom 25 percent"),
)
"""(share of others outdone from which the phrase holds, phrase)."""

COUNTS = ((5, None), (10, "6 to 10"), (20, "11 to 20"), (50, "21 to 50"), (100, "51 to 100"))
"""(highest count of the bucket, its words; None = the number itself)."""


def ago(seconds: float) -> str:
    """How long ago, in one of 12 phrases; a moment in the future counts as now.

    >>> ago(90), ago(5 * 86400)
    ('minutes ago', 'days ago')
    """
    return next((phrase for limit, phrase in RECENCY if seconds < limit), "years ago")


def ago_exact(seconds: float) -> str:
    """How long ago, as a whole number of the largest unit that fits.

    >>> ago_exact(19 * 60 + 5)
    '19 minutes ago'
    """
    for size, name in UNITS:
        count = int(seconds // size)
        if count >= 1:
            return f"{count} {name}{'' if count == 1 else 's'} ago"
    return "now"


def percentile_words(share: float) -> str:
    """Rank among others in one of 8 phrases; `share` in 0..1 is the share of others outdone.

    >>> percentile_words(0.97)
    'among the top 5 percent'
    """
    phrases = (phrase for least, phrase in PERCENTILES if share >= least)
    return next(phrases, "among the bottom 10 percent")


def count_words(count: float) -> str:
    """How many times, in one of 11 phrases: never, once, twice, 3 to 5 times, then ranges.

    >>> count_words(0), count_words(1), count_words(4), count_words(17)
    ('never', 'once', '4 times', '11 to 20 times')
    """
    whole = int(count)
    if whole <= 2:
        return ("never", "once", "twice")[max(whole, 0)]
    words = next((words or str(whole) for most, words in COUNTS if whole <= most), "over 100")
    return f"{words} times"


def share_words(share: float) -> str:
    """A share in 0..1 to the nearest 5 percent (half up), in one of 21 phrases.

    >>> share_words(0.73), share_words(0.01)
    ('about 75 percent', 'almost none')
    """
    step = math.floor(min(max(share, 0.0), 1.0) * 20 + 0.5)
    return {0: "almost none", 20: "almost all"}.get(step, f"about {5 * step} percent")


def rating_words(value: float, scale: float = 5.0) -> str:
    """A rating as a verb: hated, disliked, found okay, liked, loved; `scale` is the highest rating.

    >>> [rating_words(stars) for stars in (1, 2, 3, 4, 5)]
    ['hated', 'disliked', 'found okay', 'liked', 'loved']
    """
    share = value / scale
    verbs = ((0.9, "loved"), (0.7, "liked"), (0.5, "found okay"), (0.3, "disliked"))
    return next((verb for least, verb in verbs if share >= least), "hated")


def number(value: float) -> str:
    """A number without a needless fraction; empty where it is not a number.

    >>> number(4.0), number(12.75), number(float("nan"))
    ('4', '12.75', '')
    """
    if not math.isfinite(value):
        return ""
    return str(int(value)) if value == int(value) else f"{value:.10g}"
