"""The step that finds candidates, where a server has only just begun."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from m6rec.serving.people import People
from m6rec.serving.retrieval import _similar
from m6rec.stores.vectors.local import LocalIndex
from m6rec.tasks.shelf import Shelf


def test_similarities_to_an_index_without_vectors_are_none_at_all() -> None:
    shelf = Shelf()
    scores = SimpleNamespace(is_large=lambda: False, places=shelf.places)
    people = People(shelf, {})
    shop: Any = SimpleNamespace(scores=scores, boost=0.0, index=LocalIndex(4, None), people=people)
    known: Any = SimpleNamespace(queries=SimpleNamespace(vectors=np.ones((1, 4), np.float32)))
    similar = _similar(shop, SimpleNamespace(), known, 0)  # type: ignore[arg-type]
    assert similar.of(np.array([0, 1]), ["a", "b"]).tolist() == [0, 0]
