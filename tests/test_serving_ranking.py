"""A tuned ranker behind the engine predicts what the ranker predicts."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from m6rec.config import ConfigError
from m6rec.data.labels import LabelRule
from m6rec.data.requests import Requests
from m6rec.records import Candidate, Event, Request
from m6rec.serving.engine import EngineSettings
from m6rec.serving.ranking import FastRanker
from m6rec.tasks.build import Backbone, TaskSpec, build_ranker
from m6rec.tasks.packing import pack
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
    tolerance = 1e-5
    wanted = made.predict(asked)
    engine = FastRanker(made, EAGER)
    found = engine.predict(asked)
    assert found.shape == wanted.shape == (5,)
    assert np.ptp(wanted) > 1e-3
    assert np.abs(found - wanted).max() < tolerance
    again = engine.predict(Requests.of(ASKED[::-1]))  # what was prepared is used again
    assert np.abs(again - np.concatenate([wanted[4:], wanted[3:4], wanted[:3]])).max() < tolerance
    assert FastRanker(made, EAGER).predict(Requests.of([ASKED[1]])).shape == (0,)


@pytest.fixture(scope="module")
def pair() -> tuple[Ranker, FastRanker]:
    made = ranker()
    return made, FastRanker(made, EAGER)


ITEMS = tiny.shop().items["item_id"].to_list()
events = st.builds(
    Event,
    st.sampled_from(["click", "purchase", "like", "dislike"]),
    item_id=st.sampled_from(ITEMS),
    timestamp=st.sampled_from([1.0, 4.0, 1e5]),
)
candidates = st.one_of(
    st.builds(Candidate, st.sampled_from(ITEMS)),
    st.builds(Candidate, st.none(), st.sampled_from(["a kite", "red boot", "a blue kite"])),
)
asked = st.builds(
    Request,
    history=st.lists(events, max_size=7).map(tuple),
    user_id=st.sampled_from([None, "u1", "u2", "stranger"]),
    timestamp=st.sampled_from([None, 3.0, 2e5, 1e7]),
    candidates=st.lists(candidates, max_size=14).map(tuple),
)


@settings(max_examples=25, deadline=None)
@given(requests=st.lists(asked, min_size=1, max_size=3))
def test_random_histories_and_candidates_are_judged_alike(
    pair: tuple[Ranker, FastRanker], requests: list[Request]
) -> None:
    made, fast = pair
    several = Requests.of(requests)
    wanted = made.predict(several)
    found = fast.predict(several)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max(initial=0) < 1e-5


def test_a_segment_is_prepared_once_and_forgotten_when_there_is_no_room() -> None:
    made, several = ranker(), Requests.of(ASKED)
    fast, wanted = FastRanker(made, EAGER), made.predict(several)
    fast.predict(several)
    kept = len(fast.kept)
    assert 4 < kept <= len(made.table)
    fast.predict(several)
    assert len(fast.kept) == kept
    each = 4 * 4 * 16  # the state, its queries, keys and values in float32
    fast.kept = fast.engine.segment_rows("rank", most_bytes=each * kept)
    for some, its in (
        (slice(0, 1), slice(0, 3)),
        (slice(2, 4), slice(3, 5)),
        (slice(0, 1), slice(0, 3)),
    ):
        assert np.abs(fast.predict(several.take(some)) - wanted[its]).max() < 1e-5
        assert 0 < len(fast.kept) < kept


def test_threads_that_ask_for_segments_at_once_get_what_each_gets_alone() -> None:
    made = ranker()
    engine = FastRanker(made, EAGER).engine
    items = tiny.shop().items["item_id"].to_list()
    asked = [
        Requests.of([Request((), candidates=tuple(map(Candidate, items[n : n + 4])))])
        for n in range(12)
    ]
    packs = [pack([made.parts(one).candidates], first_group=1) for one in asked]
    states = made.table.states()
    wanted = [
        engine.segment_rows("rank", made.residual).candidates(states, one).rows_NTD for one in packs
    ]
    kept = engine.segment_rows("rank", made.residual, most_bytes=4 * 4 * 16 * 12)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda n: kept.candidates(states, packs[n % 12]), range(240)))
    finally:
        sys.setswitchinterval(before)
    for n, one in enumerate(found):
        assert torch.allclose(one.rows_NTD, wanted[n % 12], atol=1e-6)


def test_items_that_are_warm_are_encoded_before_they_are_asked_for() -> None:
    made = ranker()
    fast, items = FastRanker(made, EAGER), tiny.shop().items["item_id"].to_list()
    fast.warm(items)
    rows = made.packer.candidates(items, [None] * len(items)).index
    assert not len(made.table.memory.missing(rows))


def test_an_item_that_is_put_again_is_read_as_it_is_now() -> None:
    made = ranker()
    fast, words = FastRanker(made, EAGER), made.packer.verbalizer
    several = Requests.of(
        [Request(bought("red-tent"), "u1", 5.0, candidates=(Candidate("red-hat"),))]
    )
    before = fast.predict(several)
    words.put_item("red-hat", {"item_id": "red-hat", "title": "blue lamp"})
    after = fast.predict(several)
    assert np.abs(after - before) > 1e-4
    assert np.abs(after - made.predict(several)) < 1e-5


def test_a_ranker_of_the_full_plan_is_refused() -> None:
    with pytest.raises(ConfigError, match="late plan"):
        FastRanker(ranker(plan="full"), EAGER)
