"""Features in words: few distinct sentences, so that each is encoded once and shared by everybody.

Legend: N candidates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from m6rec.text.feature_table import FeatureTable
from m6rec.text.hygiene import clean
from m6rec.text.phrases import COUNTS, PERCENTILES, RECENCY
from m6rec.text.sandbox import Compiled
from m6rec.text.templates import Templates

SHARES = ("item_rate", "user_rate", "recent_rate", "expected", "cross_rate")
CACHED_TEXTS = 1 << 16
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


@dataclass(frozen=True)
class Coded:
    """Features of N candidates in words: texts, and which of them each has, int64 [N, F]; -1 for
    none. Of F sentences; or one, where a candidate's sentences are one text."""

    texts: list[str]
    code_NF: np.ndarray


class FeatureWords:
    """Writes features with the sentences of [features.sentences]."""

    def __init__(self, templates: Templates) -> None:
        self._sentences = templates.sentences()
        self._separate = bool(templates.option("separate"))
        self._text = lru_cache(CACHED_TEXTS)(self._render)

    def coded(self, table: FeatureTable) -> Coded:
        """The sentences of each candidate; as one text each, unless they are to be separate.

        A sentence is rendered once for all candidates that get the same numbers.
        """
        texts: list[str] = []
        columns = [
            self._column(place, table, column, texts)
            for place, sentence in enumerate(self._sentences)
            for column in (table.columns if _is_cross(sentence) else ("",))
        ]
        code_NF = np.stack(columns, 1) if columns else np.zeros((len(table), 0), dtype=np.int64)
        return Coded(texts, code_NF) if self._separate else _joined(texts, code_NF)

    def sentences(self, table: FeatureTable) -> list[list[str]]:
        """The same as texts, for each candidate."""
        found = self.coded(table)
        return [[found.texts[c] for c in row if c >= 0] for row in found.code_NF.tolist()]

    def _column(self, place: int, table: FeatureTable, column: str, texts: list[str]) -> np.ndarray:
        """Codes of one sentence for all candidates, int64 [N]; appends what they mean."""
        names = sorted(self._sentences[place].names - {"column"})
        coarse_KN = [coarse(name, numbers(table, name, column)) for name in names]
        code_N, count = np.zeros(len(table), dtype=np.int64), 1
        for value_N in coarse_KN:
            code_N, count = _combined(code_N, count, value_N)
        first = np.zeros(count, dtype=np.int64)
        first[code_N[::-1]] = np.arange(len(table))[::-1]
        meant = np.full(count, -1, dtype=np.int64)
        for code in np.flatnonzero(np.bincount(code_N, minlength=count)).tolist():
            values = [float(value_N[first[code]]) for value_N in coarse_KN]
            told = tuple(None if math.isnan(value) else value for value in values)
            text = self._text(place, column, told)
            if text:
                meant[code] = len(texts)
                texts.append(text)
        return np.asarray(meant[code_N])

    def _render(self, place: int, column: str, values: tuple[float | None, ...]) -> str:
        sentence = self._sentences[place]
        told = dict(zip(sorted(sentence.names - {"column"}), values, strict=True))
        return clean(sentence.render({**told, "column": column.replace("_", " ")}))


def _combined(code_N: np.ndarray, count: int, value_N: np.ndarray) -> tuple[np.ndarray, int]:
    """One code for a code and a value together, and how many there may be: at most N + 1."""
    distinct, of_value_N = np.unique(value_N, return_inverse=True)
    if count == 1:
        return of_value_N, len(distinct)
    together, code_N = np.unique(code_N * len(distinct) + of_value_N, return_inverse=True)
    return code_N, len(together)


def _joined(texts: list[str], code_NF: np.ndarray) -> Coded:
    """The sentences of a candidate as one text."""
    rows, which_N = np.unique(code_NF, axis=0, return_inverse=True)
    whole = [". ".join(texts[code] for code in row if code >= 0) for row in rows.tolist()]
    meant = np.array([n if text else -1 for n, text in enumerate(whole)], dtype=np.int64)
    return Coded(whole, meant[which_N.reshape(-1, 1)])


def _is_cross(sentence: Compiled) -> bool:
    return not sentence.names.isdisjoint({"column", "cross_count", "cross_rate"})


def numbers(table: FeatureTable, name: str, column: str) -> np.ndarray:
    """The feature that a template calls `name`, in a sentence about `column`."""
    return table.numbers[name.replace("cross_", f"{column}_")]


def coarse(name: str, values: np.ndarray) -> np.ndarray:
    """Numbers as templates see them: the one number of each bucket; nan stays."""
    if name in SHARES:
        return np.asarray(np.floor(values * STEPS + 0.5) / STEPS)
    if name == "agreement":
        return np.asarray(np.clip(np.rint(values), -2.0, 2.0) + 0.0)
    if name not in BOUNDS:
        return values
    bounds = BOUNDS[name]
    bucket = np.searchsorted(bounds, np.maximum(values, 0.0), side="right") - 1
    return np.where(np.isnan(values), np.nan, bounds[bucket.clip(0, len(bounds) - 1)])
