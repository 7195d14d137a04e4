"""Which event belongs to train, valid or test: one function per way to cut.

Legend: E events, sorted by user and time. A part code is one of TRAIN, VALID, TEST, NONE.
"Anchors" are the events that become requests: targets of retrieval, labelled events of ranking.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from m6rec.data.schema import DataError

NONE, TRAIN, VALID, TEST = -1, 0, 1, 2


def by_column(events: pl.DataFrame) -> np.ndarray:
    """The `split` column of the events; an event without a known split is in no part."""
    codes = {"train": TRAIN, "valid": VALID, "test": TEST}
    part = pl.col("split").replace_strict(codes, default=NONE, return_dtype=pl.Int8)
    return events.select(part).to_series().to_numpy()


def temporal(
    events: pl.DataFrame, anchors: np.ndarray, valid_fraction: float, test_fraction: float
) -> tuple[np.ndarray, float, float]:
    """Cuts all users at the same two moments, so that a share of the anchors lies after them.

    Events at the moment of a cut belong to the later part; events without a time to train.
    Returns the parts and the two moments (seconds). Raises DataError where all times are equal.
    """
    times = events["timestamp"].to_numpy()
    known = np.sort(times[anchors & ~np.isnan(times)])
    if known.size == 0:
        raise DataError(
            "temporal split: no event has a timestamp; add them, or use method leave-one-out, or "
            "random where nothing tells what came first"
        )
    valid_from, test_from = (
        float(known[min(int(known.size * (1 - share)), known.size - 1)])
        for share in (valid_fraction + test_fraction, test_fraction)
    )
    if valid_from <= known[0] or test_from <= valid_from:
        raise DataError(
            f"temporal split: {known.size} events between {known[0]:.0f} and {known[-1]:.0f} s "
            "have too few different times to cut into three parts; use method leave-one-out"
        )
    with np.errstate(invalid="ignore"):
        part = (times >= valid_from).astype(np.int8) + (times >= test_from)
    return part.astype(np.int8), valid_from, test_from


def leave_one_out(anchors: np.ndarray, first_of_user: np.ndarray) -> np.ndarray:
    """Test from a user's last anchor on, valid from the one before; both need a third anchor.

    first_of_user: bool [E], true where the next user's events begin.
    """
    user = np.cumsum(first_of_user) - 1
    counts = np.bincount(user[anchors], minlength=int(user[-1]) + 1)
    seen = np.cumsum(anchors)
    first = np.flatnonzero(first_of_user)
    seen -= (seen[first] - anchors[first])[user]
    left = counts[user] - seen
    part = np.where(left >= 2, TRAIN, np.where(left >= 1, VALID, TEST))
    return np.where(counts[user] >= 3, part, TRAIN).astype(np.int8)


def unseen_item(
    events: pl.DataFrame,
    anchors: np.ndarray,
    valid_fraction: float,
    test_fraction: float,
    seed: int,
) -> np.ndarray:
    """Holds a drawn share of the items out of train: every event of such an item leaves train."""
    ids = events.filter(anchors)["item_id"].unique().sort()
    order = np.random.default_rng(seed).permutation(len(ids))
    tests, valids = (max(1, round(share * len(ids))) for share in (test_fraction, valid_fraction))
    if tests + valids >= len(ids):
        raise DataError(
            f"unseen-item split: {len(ids)} items are too few to hold {valids} + {tests} of them "
            "out of train; use smaller fractions or another method"
        )
    code = np.full(len(ids), TRAIN, dtype=np.int8)
    code[order[:tests]] = TEST
    code[order[tests : tests + valids]] = VALID
    part = pl.col("item_id").replace_strict(ids, code, default=TRAIN, return_dtype=pl.Int8)
    return events.select(part).to_series().to_numpy()
