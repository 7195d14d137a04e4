"""Item ids as positions in the catalogue, the order every score matrix has."""

from __future__ import annotations

import numpy as np
import polars as pl

from m6rec.data.requests import Requests
from m6rec.data.splits import Split
from m6rec.data.stances import stances
from m6rec.data.verdicts import scale_of, standing


def chosen_events(split: Split) -> pl.DataFrame:
    """Training events that are a yes about an item and were not taken back (data/verdicts.py)."""
    return standing(split.train_events)


def liked_codes(requests: Requests, item_ids: list[str], max_history: int) -> np.ndarray:
    """Catalogue positions of the newest items of each history that its user is not against.

    int64 [R, max_history], newest last, -1 where empty or not in `item_ids`.
    """
    parts = stances(requests, scale_of(requests.pool))
    return parts.liked.history_codes(item_ids, max_history)[0]


def catalogue_codes(ids: pl.Series, catalogue: pl.Series) -> np.ndarray:
    """Position of each id in `catalogue`, int64, -1 where null or unknown."""
    positions = pl.Series(np.arange(len(catalogue)))
    codes = ids.replace_strict(catalogue, positions, default=-1, return_dtype=pl.Int64)
    return codes.fill_null(-1).to_numpy()
