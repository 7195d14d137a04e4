"""Features in words: few distinct sentences, so that each is encoded once and shared by everybody.

Legend: N candidates.
"""

from __future__ import annotations

import math

import numpy as np

from m6rec.text.feature_table import FeatureTable
from m6rec.text.hygiene import clean
from m6rec.text.phrases import COUNTS, PERCENTILES, RECENCY
from m6rec.text.sandbox import Compiled
from m6rec.text.templates import Templates

SHARES = ("item_rate", "user_rate", "recent_rate", "expected", "cross_rate")
STEPS = 20
"""Shares are told in steps of 1/20."""
BOUNDS = {
    **dict.fromkeys(
        ("item_count", "user_count", "own_count", "cross_count"),
        np.array([*range(6), *(most + 1 for most, _ in COUNTS)], dtype=np.float64),
    ),
    "percentile": np.array([0.0, *sorted(least for least, _ in PERCENTILES)]),
    "own_seconds": np.array([0.0, *(limit for limit, _ in RECENCY)]),
}
"""Numbers are lowered to the nearest of these; each begins a bucket of its phrase."""


class FeatureWords:
    """Writes features with the sentences of [features.sentences]."""

    def __init__(self, templates: Templates) -> None:
        self._sentences = templates.sentences()
        self._separate = bool(templates.option("separate"))

    def sentences(self, table: FeatureTable) -> list[list[str]]:
        """The sentences of each candidate; as one text each, unless they are to be separate."""
        columns = [
            _write(sentence, table, column)
            for sentence in self._sentences
            for column in (table.columns if _is_cross(sentence) else ("",))
        ]
        rows = zip(*columns, strict=True) if columns else [()] * len(table)
        told = [[text for text in row if text] for row in rows]
        return told if self._separate else [[". ".join(row)] if row else [] for row in told]


def _write(sentence: Compiled, table: FeatureTable, column: str) -> list[str]:
    """One sentence for all candidates, rendered once for all that get the same numbers."""
    names = sorted(sentence.names - {"column"})
    code_N = np.zeros(len(table), dtype=np.int64)
    coarse_KN = [coarse(name, numbers(table, name, column)) for name in names]
    for value_N in coarse_KN:
        distinct, value_code_N = np.unique(value_N, return_inverse=True)
        code_N = code_N * len(distinct) + value_code_N
    _, first, which_N = np.unique(code_N, return_index=True, return_inverse=True)
    texts = []
    for n in first:
        values = [float(value_N[n]) for value_N in coarse_KN]
        told = {k: None if math.isnan(v) else v for k, v in zip(names, values, strict=True)}
        texts.append(clean(sentence.render({**told, "column": column.replace("_", " ")})))
    return [texts[i] for i in which_N.tolist()]


def _is_cross(sentence: Compiled) -> bool:
    return not sentence.names.isdisjoint({"column", "cross_count", "cross_rate"})


def numbers(table: FeatureTable, name: str, column: str) -> np.ndarray:
    """The feature that a template calls `name`, in a sentence about `column`."""
    return table.numbers[name.replace("cross_", f"{column}_")]


def coarse(name: str, values: np.ndarray) -> np.ndarray:
    """Numbers as templates see them: the one number of each bucket; nan stays."""
    if name in SHARES:
        return np.asarray(np.floor(values * STEPS + 0.5) / STEPS)
    if name not in BOUNDS:
        return values
    bounds = BOUNDS[name]
    bucket = np.searchsorted(bounds, np.maximum(values, 0.0), side="right") - 1
    return np.where(np.isnan(values), np.nan, bounds[bucket.clip(0, len(bounds) - 1)])
