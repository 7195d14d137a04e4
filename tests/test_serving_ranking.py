"""A tuned ranker behind the engine predicts what the ranker predicts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tiny
from m6rec.config import ConfigError
from m6rec.data.labels import LabelRule
from m6rec.data.requests import Requests
from m6rec.records import Candidate, Event, Request
from m6rec.serving.engine import EngineSettings
from m6rec.serving.ranking import FastRanker
from m6rec.tasks.build import Backbone, TaskSpec, build_ranker
from m6rec.tasks.ranking import Ranker
from m6rec.text.features import CrossFeatures
from m6rec.text.templates import Templates
from m6rec.text.verbalize import Verbalizer

EAGER = EngineSettings(runtime="torch-fp32")


def bought(*items: str) -> tuple[Event, ...]:
    return tuple(Event("purchase", item_id=item) for item in items)


ASKED = [
    Request(
        bought("red-shoe", "blue-tent"),
        "u1",
        5.0,
        candidates=(Candidate("red-tent"), Candidate("blue-hat"), Candidate(None, "a kite")),
    ),
    Request((), candidates=()),
    Request((), candidates=(Candidate("blue-lamp"),)),
    Request(bought(*["red-shoe"] * 9), "u2", 9.0, candidates=(Candidate("red-hat"),)),
]


def ranker(**reading: object) -> Ranker:
    """Every part says something: adapters, options, residual, evidence, features."""
    shop, words = tiny.shop(), Templates.load()
    spec = TaskSpec(task="rank", ranking={"max_history": 5, **reading})  # type: ignore[arg-type]
    rule = LabelRule()
    features = CrossFeatures(shop.events, shop.items, rule, words)
    known = shop.items["item_id"].to_list()[:9]
    made = build_ranker(
        Backbone(*tiny.backbone(layers=3)),
        Verbalizer(words, shop.items),
        spec,
        features,
        known,
        rule,
    )
    torch.manual_seed(1)
    parts = [made.model, made.residual, made.evidence]
    with torch.no_grad():
        for parameter in (p for part in parts if part is not None for p in part.parameters()):
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn_like(parameter))
    for part in parts:
        if part is not None:
            part.eval()
    return made


@pytest.mark.parametrize(
    "reading",
    [
        {},
        {"online_layers": 2, "segment_states": "all"},
        {"residual": True, "segment_states": 2},
        {"evidence": False, "features": False},
    ],
    ids=["as it comes", "all states", "residual", "bare"],
)
def test_the_engine_predicts_what_the_ranker_predicts(reading: dict[str, object]) -> None:
    made, asked = ranker(**reading), Requests.of(ASKED)
    tolerance = 1e-5 if reading.get("features", True) else 1e-3  # then they are kept in float16
    wanted = made.predict(asked)
    engine = FastRanker(made, EAGER)
    found = engine.predict(asked)
    assert found.shape == wanted.shape == (5,)
    assert np.ptp(wanted) > 1e-3
    assert np.abs(found - wanted).max() < tolerance
    again = engine.predict(Requests.of(ASKED[::-1]))  # what was prepared is used again
    assert np.abs(again - np.concatenate([wanted[4:], wanted[3:4], wanted[:3]])).max() < tolerance
    assert FastRanker(made, EAGER).predict(Requests.of([ASKED[1]])).shape == (0,)


def test_a_ranker_of_the_full_plan_is_refused() -> None:
    with pytest.raises(ConfigError, match="late plan"):
        FastRanker(ranker(plan="full"), EAGER)
