"""Item ids as positions in the catalogue, the order every score matrix has."""

from __future__ import annotations

import numpy as np
import polars as pl

from m6rec.data.labels import SHOWN
from m6rec.data.splits import Split


def chosen_events(split: Split) -> pl.DataFrame:
    """Training events by which a user chose an item; what was only shown says nothing of taste."""
    return split.train_events.filter(~pl.col("event").is_in(list(SHOWN)))


def catalogue_codes(ids: pl.Series, catalogue: pl.Series) -> np.ndarray:
    """Position of each id in `catalogue`, int64, -1 where null or unknown."""
    positions = pl.Series(np.arange(len(catalogue)))
    codes = ids.replace_strict(catalogue, positions, default=-1, return_dtype=pl.Int64)
    return codes.fill_null(-1).to_numpy()
