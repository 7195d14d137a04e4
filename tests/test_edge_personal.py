"""Learning from a person's choices on the device: right gradients, never divergent, safely kept."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

pytest.importorskip("onnx", reason="bundles need the extra edge")
pytest.importorskip("onnxruntime", reason="bundles need the extra edge")

import tiny
from m6rec.edge.bundle import EdgeBundle
from m6rec.edge.choices import (
    Choice,
    bent,
    gradient,
    learned,
    loss,
    option_choice,
    retrieval_choice,
    tuned_options,
)
from m6rec.edge.export import EdgeSettings, Source, export_bundle
from m6rec.edge.graph import EdgeError
from m6rec.edge.personal import MOST_BESIDE, MOST_KEPT, Personal, PersonalSettings, Record, spread
from m6rec.model.checkpoint import load_backbone
from m6rec.model.tuning import Tuning, option_logits, prepare
from m6rec.recommender import M6Rec
from m6rec.tasks.retrieval import contrastive_loss

HISTORY = ["red-shoe", "blue-lamp"]


def unit(draw: np.random.Generator, *shape: int) -> np.ndarray:
    vectors = draw.standard_normal(shape)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def some_choices(seed: int, count: int = 4, scale: float = 14.0) -> list[Choice]:
    """Likes and hides in 8 dimensions."""
    draw = np.random.default_rng(seed)
    return [
        retrieval_choice(
            unit(draw, 6, 8), 0.1 * draw.random(6), unit(draw, 8), scale, liked=n % 3 < 2
        )
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> EdgeBundle:
    folder = tmp_path_factory.mktemp("personal")
    rec = M6Rec(*load_backbone(tiny.write_backbone(folder / "model")))
    data = tiny.shop()
    catalogue = rec.opener().catalogue(None, data)
    titles = data.items["title"].to_list()
    source = Source(catalogue, titles, "tiny", rec.fingerprint)
    export_bundle(source, folder / "bundle", EdgeSettings(requests=5))
    return EdgeBundle.open(folder / "bundle")


def test_the_gradient_of_likes_is_that_of_the_contrastive_loss() -> None:
    draw = np.random.default_rng(0)
    y_NK, user_K, scale = unit(draw, 7, 8), unit(draw, 8), 14.0
    theta_F = 0.3 * draw.standard_normal(9)
    choice = retrieval_choice(y_NK, np.zeros(7), user_K, scale, liked=True)
    theta = torch.tensor(theta_F, requires_grad=True)
    personal_1K = ((1 + theta[0]) * torch.tensor(user_K) + theta[1:])[None]
    # contrastive_loss takes float32, and the norm of a personal vector is its own.
    told = contrastive_loss(
        personal_1K, torch.tensor(y_NK), torch.tensor([0]), torch.tensor(scale).log()
    )
    (slope_F,) = torch.autograd.grad(told + 2.5 / 2 * theta.square().sum(), theta)
    assert np.allclose(gradient([choice], theta_F, 2.5), slope_F.numpy(), atol=1e-4)
    assert loss([choice], theta_F, 2.5) == pytest.approx(
        float(told.detach()) + 2.5 / 2 * float(theta_F @ theta_F), rel=1e-5
    )


def test_learning_is_the_descent_that_autograd_takes() -> None:
    choices, pull = some_choices(3), 4.0
    found = learned(choices, 9, pull, steps=25)
    theta = torch.zeros(9, dtype=torch.float64, requires_grad=True)
    apart = [c.features_NF - c.features_NF.mean(0) for c in choices]
    step = 1 / (pull + sum(float((a**2).sum(1).max()) for a in apart))
    for _ in range(25):
        total = pull / 2 * theta.square().sum()
        for c in choices:
            logits = torch.tensor(c.base_N) + torch.tensor(c.features_NF) @ theta
            total = total + F.cross_entropy(logits, torch.tensor(c.target_N))
        (slope,) = torch.autograd.grad(total, theta)
        theta = (theta - step * slope).detach().requires_grad_()
    assert np.allclose(found, theta.detach().numpy(), atol=1e-10)
    assert np.abs(found).max() > 0.01


def test_soft_options_are_learned_as_autograd_learns_them() -> None:
    model, _ = tiny.backbone()
    tuning = Tuning(method="option", classes=2, prompts=1)
    prepare(model, tuning, lower=1)
    assert model.prompts is not None
    D, pull = model.config.d_model, 3.0
    draw = torch.Generator().manual_seed(0)
    states_TD = torch.randn(5, D, generator=draw)
    labels_T, evidence_TC = torch.tensor([0, 1, 1, 0, 1]), torch.randn(5, 2, generator=draw)
    shipped_CD = model.prompts.detach()[-2:].clone()
    choices = [
        option_choice(s.numpy(), shipped_CD.numpy(), int(n), e.numpy())
        for s, n, e in zip(states_TD, labels_T, evidence_TC, strict=True)
    ]
    theta_F = learned(choices, 2 * D, pull, steps=1)
    ours_CD = tuned_options(shipped_CD.numpy(), theta_F)
    step = 1 / (pull + sum(float(s @ s) / D / 2 for s in states_TD))
    logits_TC = option_logits(model, states_TD, tuning) + evidence_TC
    (slope_PD,) = torch.autograd.grad(
        F.cross_entropy(logits_TC, labels_T, reduction="sum"), model.prompts
    )
    wanted_CD = shipped_CD - step * slope_PD[-2:]
    assert np.allclose(ours_CD, wanted_CD.numpy(), atol=1e-6)
    assert float(np.abs(ours_CD - shipped_CD.numpy()).max()) > 1e-3


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 12),
    scale=st.floats(0.01, 1000),
    pull=st.floats(1e-3, 1e4),
)
def test_every_step_lowers_the_loss_whatever_the_settings(
    seed: int, count: int, scale: float, pull: float
) -> None:
    choices = some_choices(seed, count, scale)
    losses = [loss(choices, learned(choices, 9, pull, n), pull) for n in (0, 1, 2, 5, 20)]
    slack = 1e-9 * (1 + abs(losses[0]))
    assert all(after <= before + slack for before, after in itertools.pairwise(losses))
    theta_F = learned(choices, 9, pull, 20)
    # Inside the ball where the pull alone would cost what was lost at the start.
    least = sum(loss([c], np.zeros(9), 1.0) for c in choices)
    assert np.isfinite(theta_F).all() and pull / 2 * theta_F @ theta_F <= least + slack


def test_hiding_lowers_the_hidden_item_and_leaves_the_others_in_order() -> None:
    y_NK = np.eye(5, 8)
    user_K = np.array([0.5, 0.4, 0.3, 0.2, 0.1, 0, 0, 0])
    choice = retrieval_choice(y_NK, np.zeros(5), user_K, 14.0, liked=False)
    after_N = y_NK @ bent(user_K, learned([choice], 9, 1.0, 40))
    assert after_N[0] < user_K[0] - 0.05
    assert list(np.argsort(-after_N[1:])) == [0, 1, 2, 3]


def test_nothing_told_changes_nothing(bundle: EdgeBundle) -> None:
    assert Personal(bundle).rerank(HISTORY) == bundle.rerank(HISTORY)


def test_one_like_brings_like_things_forward_and_taking_it_back_undoes_it(
    bundle: EdgeBundle,
) -> None:
    personal = Personal(bundle, PersonalSettings(pull=10))
    before = bundle.rerank(HISTORY, k=15)
    shown, last = [answer.item_id for answer in before], before[-1]
    personal.like(last.item_id, HISTORY, beside=shown)
    after = personal.rerank(HISTORY, k=15)
    place = [answer.item_id for answer in after].index(last.item_id)
    assert place < len(before) - 1
    assert {answer.score for answer in after}.isdisjoint({answer.score for answer in before})
    personal.take_back(last.item_id)
    assert personal.rerank(HISTORY, k=15) == before


def test_a_hidden_item_is_not_shown_again_until_all_is_forgotten(bundle: EdgeBundle) -> None:
    personal, first = Personal(bundle), bundle.rerank(HISTORY)[0].item_id
    personal.hide(first, HISTORY)
    assert first not in [answer.item_id for answer in personal.rerank(HISTORY, k=15)]
    personal.forget()
    assert personal.record.told == [] and personal.rerank(HISTORY) == bundle.rerank(HISTORY)


def test_a_like_after_a_hide_of_the_same_item_is_what_counts(bundle: EdgeBundle) -> None:
    personal = Personal(bundle)
    personal.hide("green-hat", HISTORY)
    personal.like("green-hat", HISTORY)
    assert (personal.liked, personal.hidden) == (["green-hat"], [])


def test_a_record_comes_back_with_the_same_answers(bundle: EdgeBundle, tmp_path: Path) -> None:
    personal = Personal(bundle)
    personal.like("green-hat", HISTORY, beside=["red-hat", "blue-tent"])
    personal.hide("red-hat", ["a lamp that is blue"])
    personal.write(tmp_path / "mine.json")
    again = Personal.read(tmp_path / "mine.json", bundle)
    assert again.record == personal.record
    assert again.rerank(HISTORY, k=15) == personal.rerank(HISTORY, k=15)


def test_a_record_stays_small_however_much_is_told(bundle: EdgeBundle) -> None:
    draw, ids = np.random.default_rng(0), bundle.shelf.ids
    personal = Personal(bundle, PersonalSettings(steps=1))
    for n in range(MOST_KEPT + 9):
        personal.like(ids[n % len(ids)], [str(draw.choice(ids))], beside=ids)
    assert len(personal.record.told) == len(ids)
    assert all(len(told.beside) <= MOST_BESIDE for told in personal.record.told)
    with pytest.raises(ValueError, match="at most 64"):
        Record(bundle="x", told=[*personal.record.told * 5][: MOST_KEPT + 1])


def test_the_oldest_word_gives_way_to_the_newest(
    bundle: EdgeBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("m6rec.edge.personal.MOST_KEPT", 3)
    personal = Personal(bundle, PersonalSettings(steps=1))
    for item in bundle.shelf.ids[:5]:
        personal.like(item, HISTORY)
    assert personal.liked == bundle.shelf.ids[2:5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bundle": "0" * 64}, "belongs to the bundle 000000000000…"),
        ({"format": 2}, "no personal record: .*format"),
        ({"extra": 1}, "unknown key 'extra'"),
        ({"item": "no-such"}, "no item 'no-such'"),
        ({"beside": ["no-such"]}, "no item 'no-such'"),
        ({"user": [1, 2]}, "a user vector of 2 numbers; right is 8"),
        ({"user": [128] * 8}, "beyond -127…127"),
        ({"user_scale": 1e300}, "user_scale"),
        ({"user_scale": -1.0}, "user_scale"),
    ],
)
def test_what_is_no_record_of_this_bundle_is_refused(
    change: dict[str, Any], message: str, bundle: EdgeBundle, tmp_path: Path
) -> None:
    personal = Personal(bundle)
    personal.like("green-hat", HISTORY)
    raw = json.loads(personal.record.model_dump_json())
    place = raw if next(iter(change)) in ("bundle", "format", "extra") else raw["told"][0]
    place.update(change)
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(raw), encoding="utf-8")
    with pytest.raises(EdgeError, match=message):
        Personal.read(path, bundle)


def test_an_unknown_item_is_refused_and_nothing_is_kept_of_it(bundle: EdgeBundle) -> None:
    personal = Personal(bundle)
    with pytest.raises(EdgeError, match="no item 'nowhere'"):
        personal.like("nowhere", HISTORY)
    assert personal.record.told == []


def test_items_are_spread_over_the_catalogue() -> None:
    assert spread(3, 5, 100) == [3, 4, 0, 1, 2]
    assert spread(990, 1000, 4) == [990, 240, 490, 740]
    assert len(set(spread(17, 3686, 100))) == 100
