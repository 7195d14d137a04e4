"""Drives FuxiCTR's networks over item ids and rated histories from memory.

Its feature map is built here and its batches are plain dictionaries, so the very requests of our
split are learned and judged, in our order. Source: https://github.com/reczoo/FuxiCTR.

Legend: N candidates, H events of a history.
"""

from __future__ import annotations

import logging
import math
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from m6rec.data.requests import Requests
from m6rec.data.splits import Split
from m6rec.evaluation.baselines.din_inputs import Coding, Inputs, coding
from m6rec.evaluation.baselines.extras import from_bench
from m6rec.evaluation.ranking import flatten
from m6rec.evaluation.retrieval import requests_of

Batch = tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class CTRSettings:
    """What is tuned. `l2` regularises the embeddings; `patience` counts epochs by valid AUC.

    user_ids: an embedding per user; without it a user is their history alone, which serves
    users that training did not know.
    """

    width: int = 16
    hidden: tuple[int, ...] = (128, 64)
    dropout: float = 0.2
    l2: float = 1e-5
    learning_rate: float = 1e-3
    batch: int = 256
    user_ids: bool = True
    max_history: int = 50
    max_epochs: int = 30
    patience: int = 3
    seed: int = 0


@dataclass(frozen=True)
class CTRModel:
    """A trained network behind the protocol of ranking."""

    name: str
    network: Any
    coding: Coding
    joined: bool

    def predict(self, requests: Requests) -> np.ndarray:
        batches = Batches(self.coding.inputs(requests), None, 4096, joined=self.joined)
        return np.asarray(self.network.predict(batches))


class Batches:
    """Batches as FuxiCTR reads them: (user's features and label, item's features, mask).

    An item feature holds, row by row, the H past events and then the candidate itself, whose
    grade is 0, unknown. `joined` adds item and grade as one feature. Shuffled by `seed` where
    there is one.
    """

    def __init__(
        self,
        inputs: Inputs,
        labels: np.ndarray | None,
        size: int,
        seed: int | None = None,
        joined: bool = False,
    ) -> None:
        self._inputs = inputs
        self._labels = labels if labels is not None else np.zeros(len(inputs))
        self._size = size
        self._rng = np.random.default_rng(seed) if seed is not None else None
        self._joined = joined

    def __len__(self) -> int:
        return math.ceil(len(self._inputs) / self._size)

    def __iter__(self) -> Iterator[Batch]:
        order = np.arange(len(self._inputs))
        if self._rng is not None:
            self._rng.shuffle(order)
        for first in range(0, len(order), self._size):
            yield self._batch(order[first : first + self._size])

    def _batch(self, rows: np.ndarray) -> Batch:
        inputs = self._inputs
        items = np.concatenate([inputs.history[rows], inputs.item[rows, None]], axis=1)
        grades = np.pad(inputs.grade[rows], ((0, 0), (0, 1)))
        mask = inputs.grade[rows] > 0
        user = {"user": torch.from_numpy(inputs.user[rows])}
        item = {
            "item": torch.from_numpy(items.ravel()),
            "grade": torch.from_numpy(grades.ravel()),
        }
        if self._joined:
            both = np.pad(inputs.joined[rows], ((0, 0), (0, 1)))
            item["joined"] = torch.from_numpy(both.ravel())
        labels = torch.from_numpy(self._labels[rows].astype(np.float32))
        return {**user, "label": labels}, item, torch.from_numpy(mask)


Make = Callable[..., Any]
"""features, and what every network of FuxiCTR takes by name -> a network."""


def fit_ctr(
    split: Split, settings: CTRSettings, name: str, make: Make, joined: bool = False
) -> CTRModel:
    """Trains on the split's train part and keeps the epoch with the best AUC on its valid part.

    Raises EvaluationError where the `bench` extra is missing.
    """
    torch_utils = from_bench("fuxictr.pytorch.torch_utils", name)
    code = coding(split.train, settings.max_history, settings.user_ids)
    valid = requests_of(split, "valid")
    learned = Batches(
        code.inputs(split.train),
        flatten(split.train)[0],
        settings.batch,
        settings.seed,
        joined,
    )
    judged = Batches(code.inputs(valid), flatten(valid)[0], 4096, joined=joined)
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.WARNING)
    try:
        with tempfile.TemporaryDirectory() as folder:  # for the best weights while it trains
            torch_utils.seed_everything(settings.seed)
            features = _feature_map(code, settings.width, Path(folder), name, joined)
            (Path(folder) / features.dataset_id).mkdir()
            network = make(features, model_root=folder, **_usual(settings))
            network.fit(learned, epochs=settings.max_epochs, validation_data=judged)
    finally:
        root.setLevel(level)
    return CTRModel(name, network, code, joined)


def _usual(settings: CTRSettings) -> dict[str, Any]:
    return {
        "embedding_dim": settings.width,
        "embedding_regularizer": settings.l2,
        "learning_rate": settings.learning_rate,
        "early_stop_patience": settings.patience,
        "optimizer": "adam",
        "loss": "binary_crossentropy",
        "metrics": ["AUC"],
        "monitor": "AUC",
        "monitor_mode": "max",
        "verbose": 0,
    }


def _feature_map(code: Coding, width: int, folder: Path, name: str, joined: bool) -> Any:
    features = from_bench("fuxictr.features", name).FeatureMap("m6rec", str(folder))
    sizes = {"user": len(code.users), "item": len(code.items), "grade": len(code.grades)}
    if joined:
        sizes["joined"] = len(code.items) * len(code.grades)
    features.features = OrderedDict(
        (
            column,
            {
                "type": "categorical",
                "source": "user" if column == "user" else "item",
                "vocab_size": size + 1,
                "padding_idx": 0,
            },
        )
        for column, size in sizes.items()
    )
    features.default_emb_dim = width
    features.labels = ["label"]
    features.num_fields = features.get_num_fields()
    return features
