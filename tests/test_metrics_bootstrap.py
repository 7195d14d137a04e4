"""Bootstrap intervals: their width, their seed, their pairing."""

from __future__ import annotations

import numpy as np
import pytest

from m6rec.metrics import bootstrap as boot
from m6rec.metrics.bootstrap import Resampling


def test_interval_of_a_mean_is_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(1).normal(2.0, 3.0, 900)
    found = boot.bootstrap(values, Resampling(replicates=4000))
    half = 1.96 * values.std() / np.sqrt(900)
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for seed in range(200):
        sample = (rng.random(300) < 0.15).astype(float)
        found = boot.bootstrap(sample, Resampling(replicates=300, seed=seed))
        assert found.low is not None and found.high is not None
        covered += found.low <= 0.15 <= found.high
    assert 180 <= covered <= 199


def test_weights_draw_as_many_units_as_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot, "BLOCK_CELLS", 100)
    blocks = list(Resampling(replicates=25).weights(10))
    assert [len(block) for block in blocks] == [10, 10, 5]
    assert {float(row.sum()) for block in blocks for row in block} == {10.0}


def test_the_same_seed_gives_the_same_interval_whatever_the_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = np.random.default_rng(3).random(50)
    whole = boot.bootstrap(values, Resampling(replicates=101, seed=7))
    monkeypatch.setattr(boot, "BLOCK_CELLS", 150)
    blocks = boot.bootstrap(values, Resampling(replicates=101, seed=7))
    assert blocks == whole
    assert boot.bootstrap(values, Resampling(replicates=101, seed=8)) != whole


def test_constant_values_have_an_interval_of_no_width() -> None:
    found = boot.bootstrap(np.full(20, 0.5))
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


def test_a_paired_difference_sees_what_two_intervals_do_not() -> None:
    rng = np.random.default_rng(5)
    theirs = rng.normal(0, 10, 500)
    ours = theirs + rng.normal(0.2, 0.5, 500)
    difference = boot.bootstrap_difference(ours, theirs)
    assert difference.low is not None and difference.low > 0
    first, second = boot.bootstrap(ours), boot.bootstrap(theirs)
    assert first.low is not None and second.high is not None
    assert first.low < second.high


def test_pairs_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="3 against 2"):
        boot.bootstrap_difference(np.zeros(3), np.zeros(2))


def test_draws_without_the_statistic_are_left_out_of_the_interval() -> None:
    def second_unit_or_nothing(weights: np.ndarray) -> np.ndarray:
        return np.where(weights[:, 1:] > 0, 4.0, np.nan)

    found = boot.bootstrap_statistic(second_unit_or_nothing, 2)[0]
    assert (found.value, found.low, found.high) == (4.0, 4.0, 4.0)


@pytest.mark.parametrize(("arguments", "said"), [({"replicates": 0}, "0"), ({"level": 1.0}, "1.0")])
def test_senseless_settings_are_refused(arguments: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Resampling(**arguments)  # type: ignore[arg-type]


def test_nothing_to_resample_is_an_error() -> None:
    with pytest.raises(ValueError, match="no requests"):
        boot.bootstrap(np.array([]))
