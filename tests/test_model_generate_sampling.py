"""Sampling and repetition by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from m6rec.model.generation.sampling import draw, penalise, repeated, uniforms

P = [0.1, 0.4, 0.2, 0.3]
"""Sorted: word 1 (.4), word 3 (.3), word 2 (.2), word 0 (.1)."""


def drawn(u: float, p: list[float] = P, **options: float) -> int:
    log_p = torch.tensor([p]).log()
    return int(draw(log_p, torch.tensor([u], dtype=torch.float64), **options)[0])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("u", "word"), [(0.0, 0), (0.0999, 0), (0.1001, 1), (0.4999, 1), (0.5001, 2), (0.9999, 3)]
)
def test_plain_draws_go_by_the_sums_of_p(u: float, word: int) -> None:
    assert drawn(u) == word


@pytest.mark.parametrize(("u", "word"), [(0.0, 1), (0.571, 1), (0.572, 3), (0.999, 3)])
def test_top_2_leaves_four_and_three_of_seven(u: float, word: int) -> None:
    assert drawn(u, top_k=2) == word


@pytest.mark.parametrize(("top_p", "words"), [(0.3, {1}), (0.5, {1, 3}), (0.75, {1, 2, 3})])
def test_top_p_keeps_the_fewest_that_reach_it(top_p: float, words: set[int]) -> None:
    assert {drawn(u / 50, top_p=top_p) for u in range(50)} == words


def test_top_p_is_of_what_top_k_leaves() -> None:
    """Of the top two, word 1 has 4/7 = .571."""
    assert {drawn(u / 50, top_k=2, top_p=0.57) for u in range(50)} == {1}
    assert {drawn(u / 50, top_k=2, top_p=0.58) for u in range(50)} == {1, 3}


def test_temperature_sharpens_and_flattens() -> None:
    """T = 1/2 squares: .01, .16, .04, .09 of .30, so word 1 lies from .033 to .567."""
    assert [drawn(u, temperature=0.5) for u in (0.03, 0.04, 0.56, 0.57)] == [0, 1, 1, 2]
    assert drawn(0.26, temperature=1e6) == 1 and drawn(0.24, temperature=1e6) == 0


def test_a_nucleus_wider_than_what_is_sorted_at_first() -> None:
    p = np.full(1000, 1e-3)
    found = {drawn(u / 400, p.tolist(), top_p=0.8) for u in range(400)}
    assert len(found) == 400


def test_what_is_impossible_is_not_drawn() -> None:
    for options in ({}, {"top_k": 3}, {"top_p": 0.9}):
        assert {drawn(u, [0.0, 0.0, 1.0, 0.0], **options) for u in (0.0, 0.5, 0.99999999)} == {2}


def test_numbers_depend_on_seed_and_lane_alone() -> None:
    both = uniforms([3, 8], 2, 5)
    assert both.shape == (4, 5) and len(np.unique(both)) == 20
    assert np.array_equal(uniforms([8], 1, 3), both[2:3, :3])


def test_a_penalty_multiplies_log_p_once_and_spares_one_word() -> None:
    log_p = torch.tensor([[-1.0, -2.0, -3.0], [-4.0, -5.0, -6.0]])
    penalise(log_p, torch.tensor([[1, 1, 0], [2, 0, 0]]), 1.5, spared=0)
    assert log_p.tolist() == [[-1.0, -3.0, -3.0], [-4.0, -5.0, -9.0]]


def test_ngrams_that_would_repeat() -> None:
    written = np.array([[5, 6, 5, 6, 5], [1, 2, 3, 4, 9]])
    assert [x.tolist() for x in repeated(written, 2)] == [[0, 0], [6, 6]]
    assert [x.tolist() for x in repeated(written, 1)][1][:5] == [5, 6, 5, 6, 5]
    assert [x.tolist() for x in repeated(written, 6)] == [[], []]
