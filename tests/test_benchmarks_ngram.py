"""The n-gram that pretraining is compared with is a good one: normalised, and right by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from ngram import KneserNey

BEGIN = 0
TEXTS = [[1, 2, 3], [1, 2, 4], [2, 2, 3], [5, 1, 2], [3, 3]]


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_the_chances_of_all_next_ids_add_up_to_one(order: int) -> None:
    model = KneserNey(TEXTS, order, vocabulary=6, begin=BEGIN)
    for before in ([], [1], [1, 2], [4, 5, 1, 2], [5, 5]):
        chances = [np.exp(model.log_probability([*before, word])[-1]) for word in range(6)]
        assert sum(chances) == pytest.approx(1.0)
        assert min(chances) > 0


def test_a_bigram_by_hand() -> None:
    # Bigrams of "1 2", "1 2", "1 3" with BEGIN: (0,1) x3, (1,2) x2, (1,3) x1: D = 1/(1 + 2) = 1/3.
    # Left neighbours: 1 after {0}, 2 after {1}, 3 after {1}: one each, D = 3/(3 + 0) = 1.
    # So unigrams are all discount: 3 kinds * 1 / 3 * 1/4 = 1/4 for every id.
    model = KneserNey([[1, 2], [1, 2], [1, 3]], 2, vocabulary=4, begin=BEGIN)
    found = np.exp(model.log_probability([1, 2]))
    assert found[0] == pytest.approx((3 - 1 / 3) / 3 + (1 / 3) * 1 / 3 / 4)
    assert found[1] == pytest.approx((2 - 1 / 3) / 3 + (1 / 3) * 2 / 3 / 4)


def test_seen_continuations_are_likelier_than_frequent_words() -> None:
    model = KneserNey([[1, 2, 3]] * 5 + [[4, 4, 4, 4]] * 9, 3, vocabulary=5, begin=BEGIN)
    after = [model.log_probability([1, 2, word])[-1] for word in (3, 4)]
    assert after[0] > after[1]
