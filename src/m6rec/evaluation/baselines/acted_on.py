"""The items with training events, numbered: linear models keep matrices of these alone.

A catalogue of a million titles of which three thousand were ever bought needs 3,000 × 3,000
numbers. More than MAX_ITEMS items with events are refused rather than left to exhaust the memory.

Legend: B requests, H events of a history, I items of the catalogue, A items with events.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch

from m6rec.data.requests import Requests
from m6rec.data.splits import Split
from m6rec.evaluation.baselines.text_similarity import decay_weights
from m6rec.evaluation.catalogue import catalogue_codes, chosen_events, liked_codes
from m6rec.evaluation.result import EvaluationError

MAX_ITEMS = 20_000
"""4 bytes × MAX_ITEMS² = 1.6 GB for one matrix; solving takes a few of twice the width."""


@dataclass(frozen=True)
class ActedOn:
    """codes: int64 [A], catalogue positions of the items with events, ascending.

    number: int64 [I + 1], position in `codes` of each item, -1 for items without events and,
    last, for no item. item_ids: the catalogue, I of them.
    """

    codes: np.ndarray
    number: np.ndarray
    item_ids: list[str]
    max_history: int

    def __len__(self) -> int:
        return len(self.codes)

    def histories(self, requests: Requests, decay: float) -> tuple[np.ndarray, np.ndarray]:
        """The histories' items as catalogue positions, int64 [B, H], newest last, -1 for none,
        and how much each weighs, decay ** age, float32 [B, H]."""
        codes_BH = liked_codes(requests, self.item_ids, self.max_history)
        return codes_BH, decay_weights(codes_BH, decay)

    def weighted_rows(
        self, matrix_AC: np.ndarray, codes_BH: np.ndarray, weights_BH: np.ndarray
    ) -> np.ndarray:
        """Sums rows of a float32 [A, C], those of the histories' items by their weights; [B, C].

        Items without events add nothing.
        """
        numbers_BH = self.number[codes_BH]
        used_BH = numbers_BH >= 0
        summed = torch.nn.functional.embedding_bag(
            torch.from_numpy(numbers_BH[used_BH]),
            torch.from_numpy(np.ascontiguousarray(matrix_AC)),
            torch.from_numpy(np.concatenate([[0], np.cumsum(used_BH.sum(1))])),
            per_sample_weights=torch.from_numpy(weights_BH[used_BH]),
            include_last_offset=True,
            mode="sum",
        )
        return np.asarray(summed.numpy())

    def spread(self, scores_BA: np.ndarray, rest: float = 0.0) -> np.ndarray:
        """float32 [B, I]: the scores in the columns of their items, `rest` in all others."""
        scores_BI = np.full((len(scores_BA), len(self.item_ids)), rest, dtype=np.float32)
        scores_BI[:, self.codes] = scores_BA
        return scores_BI


def acted_on(split: Split, who: str) -> ActedOn:
    """Raises EvaluationError where more than MAX_ITEMS items have training events."""
    catalogue = split.items["item_id"]
    codes = catalogue_codes(chosen_events(split)["item_id"].unique(), catalogue)
    codes = np.sort(codes[codes >= 0])
    if len(codes) > MAX_ITEMS:
        raise EvaluationError(
            f"{who} keeps a dense matrix of the items that have training events; {len(codes):,} "
            f"of them would take {4 * len(codes) ** 2 / 2**30:.0f} GiB, more than the "
            f"{MAX_ITEMS:,} items it is limited to; compare with popularity or SASRec instead"
        )
    number = np.full(len(catalogue) + 1, -1)
    number[codes] = np.arange(len(codes))
    return ActedOn(codes, number, catalogue.to_list(), split.card.max_history)


def sequences(split: Split, acted: ActedOn) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each user's training events in their order: rows of `chosen_events` and item numbers."""
    events = chosen_events(split)
    codes = catalogue_codes(events["item_id"], split.items["item_id"])
    rows = pl.DataFrame({"user": events["user_id"], "number": acted.number[codes]})
    kept = rows.with_row_index("row").filter(pl.col("number") >= 0)
    for part in kept.group_by("user", maintain_order=True).agg("row", "number").iter_slices(4096):
        for row, number in zip(part["row"], part["number"], strict=True):
            yield row.to_numpy().astype(np.int64), number.to_numpy()
