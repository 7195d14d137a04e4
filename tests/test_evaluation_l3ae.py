"""L3AE against the published formula on the whole catalogue, and at its limits."""

from __future__ import annotations

import numpy as np
import pytest

import evaluation_worlds as worlds
from m6rec.evaluation.baselines.l3ae import l3ae_builder, text_stage
from m6rec.evaluation.baselines.neighbours import co_occurrence, ease
from m6rec.evaluation.baselines.text_similarity import unit_rows
from m6rec.evaluation.result import EvaluationError

ITEMS = ["new", "a", "b", "cold", "c", "d"]
LOG = [
    (user, item)
    for user, items in zip("uvwx", ("abc", "abd", "bd", "acd"), strict=True)
    for item in items
]
VECTORS = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
EACH = worlds.split(ITEMS, LOG, test=[{"history": [item]} for item in ITEMS])


def published(ridge: float, text_weight: float, text_ridge: float) -> np.ndarray:
    """The released code, line by line, over all six items; reg_X = ridge - text_weight."""
    x = np.array([[float((user, item) in LOG) for item in ITEMS] for user in "uvwx"])
    f = unit_rows(VECTORS).T.astype(np.float64)
    p1 = np.linalg.inv(f.T @ f + text_ridge * np.identity(6))
    c = p1 / (-np.diag(p1))
    np.fill_diagonal(c, 0)
    p2 = np.linalg.inv(x.T @ x + ridge * np.identity(6))
    p2c = p2 @ c
    b = text_weight * p2c - p2 * ((1 + text_weight * np.diag(p2c)) / np.diag(p2))
    np.fill_diagonal(b, 0)
    return b


@pytest.mark.parametrize(("ridge", "weight", "text_ridge"), [(2, 1, 0.5), (100, 150, 5)])
def test_one_item_histories_read_the_rows_of_the_published_matrix(
    ridge: float, weight: float, text_ridge: float
) -> None:
    build = l3ae_builder(co_occurrence(EACH), VECTORS)
    model = build(ridge=ridge, text_weight=weight, text_ridge=text_ridge, decay=0.5)
    wanted = published(ridge, weight, text_ridge)
    assert model.score(EACH.test) - model.prior == pytest.approx(wanted, abs=1e-6)
    two = worlds.split(ITEMS, LOG, test=[{"history": ["cold", "a"]}])
    assert model.score(two.test)[0] - model.prior == pytest.approx(
        wanted[1] + 0.5 * wanted[3], abs=1e-6
    )


@pytest.mark.parametrize("itself", [False, True])
def test_without_weight_of_the_texts_it_is_ease(itself: bool) -> None:
    counted = co_occurrence(EACH)
    model = l3ae_builder(counted, VECTORS)(ridge=2.0, text_weight=0.0, itself=itself)
    plain = ease(counted, ridge=2.0, itself=itself)
    known = np.array([1, 2, 4, 5])
    scores = (model.score(EACH.test) - model.prior)[np.ix_(known, known)]
    assert scores == pytest.approx(plain.similarity, abs=1e-6)


def test_with_itself_it_is_the_ridge_regression_towards_the_texts() -> None:
    model = l3ae_builder(co_occurrence(EACH), VECTORS)(
        ridge=4.0, text_weight=3.0, text_ridge=1.0, itself=True
    )
    x = np.array([[float((user, item) in LOG) for item in ITEMS] for user in "uvwx"])
    stage = text_stage(unit_rows(VECTORS), 1.0)
    c = stage.vectors @ stage.mixed.T
    np.fill_diagonal(c, 0)
    gram = x.T @ x
    wanted = np.linalg.solve(gram + 4 * np.eye(6), gram + 3 * c)
    assert model.score(EACH.test) - model.prior == pytest.approx(wanted, abs=1e-6)


def test_items_without_events_are_found_by_their_texts() -> None:
    model = l3ae_builder(co_occurrence(EACH), VECTORS)(ridge=2.0, text_weight=1.0)
    scores = model.score(EACH.test)
    assert scores[1, 0] != 0 and scores[0, 1] != 0
    assert scores[0, 3] != 0  # both without events


def test_vectors_must_fit_the_catalogue() -> None:
    with pytest.raises(EvaluationError, match="6 catalogue items"):
        l3ae_builder(co_occurrence(EACH), VECTORS[:5])
