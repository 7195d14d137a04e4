"""What a tuned ranker counts while it is served: at once, after a restart, on every server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("litestar", reason="needs the extra serve")

from litestar.testing import TestClient

from m6rec.data.requests import Requests
from m6rec.recommender import M6Rec
from m6rec.records import Candidate, Request
from m6rec.serving import live as live_module
from m6rec.serving import service as service_module
from m6rec.serving.live import LiveModel
from m6rec.serving.service import Service
from m6rec.serving.starting import Place
from serve_worlds import served, until, write_world


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a ranker for the tiny shop."""
    folder = tmp_path_factory.mktemp("ranker")
    place = write_world(folder)
    face = M6Rec.from_pretrained(place.model)
    face.fit("rank", place.data, split="temporal", train={"epochs": 1})
    face.save_pretrained(folder / "tuned")
    return folder / "tuned" / "tasks" / "rank"


@pytest.fixture(autouse=True)
def no_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runtime is chosen, since measuring each takes a minute."""
    monkeypatch.setattr(live_module, "remembered", lambda folder: "torch-fp32")


@pytest.fixture
def place(tuned: Path, tmp_path: Path) -> Place:
    return replace(write_world(tmp_path), adapters=(tuned,))


@pytest.fixture
def moment(monkeypatch: pytest.MonkeyPatch) -> Iterator[float]:
    """All is asked at one moment, so that "how long ago" says the same."""
    at = time.time() + 3600
    monkeypatch.setattr(service_module, "time", SimpleNamespace(time=lambda: at))
    yield at


def tell(client: TestClient[Any], *events: tuple[str, str, str]) -> None:
    bodies = [
        {"user_id": user, "event": kind, "item_id": item, "timestamp": time.time() - 60}
        for user, kind, item in events
    ]
    assert client.post("/v1/events", json={"events": bodies}).status_code == 200


def ranked(client: TestClient[Any], user: str = "u1") -> list[tuple[str, float]]:
    """Every item with its probability, ranked for a fixed history, so that counts alone differ."""
    asked = {
        "user_id": user,
        "history": ["clicked: blue lamp"],
        "item_ids": [f"{c}-{t}" for c in ("red", "green") for t in ("shoe", "hat", "lamp")],
    }
    answer = client.post("/v1/rank", json=asked)
    assert answer.status_code == 200, answer.text
    assert answer.json()["by"] == "probability"
    return [(one["item_id"], one["score"]) for one in answer.json()["items"]]


HATS = [("u1", "purchase", "green-hat")] * 5


def test_five_purchases_change_the_next_ranking_and_a_restart_changes_nothing(
    place: Place, moment: float
) -> None:
    with served(place) as (client, service):
        before = ranked(client)
        tell(client, *HATS)
        after = ranked(client)
        assert dict(after) != dict(before)
        features = service.registry.current.counts.features
        assert features is not None and "u1" in features.users()
        words = sentences(service, "u1", "green-hat", moment)
        assert "the user chose this category never" not in words
    with served(place) as (client, service):
        assert sentences(service, "u1", "green-hat", moment) == words
        assert ranked(client) == after


def sentences(service: Service, user: str, item: str, moment: float) -> list[str]:
    """What the ranker is told of a user and an item."""
    from_log = service.registry.current.counts.features
    assert from_log is not None
    asked = Requests.of([Request((), user, moment, candidates=(Candidate(item),))])
    return from_log.sentences(asked.pool, asked.rows)[0]


def test_items_that_come_change_and_go_count_as_after_a_restart(
    place: Place, moment: float
) -> None:
    with served(place) as (client, service):
        tell(client, *HATS, ("u2", "purchase", "red-hat"))
        hat = {"item_id": "green-hat", "title": "green hat", "category": "head|winter"}
        lamp = {"item_id": "red-lamp", "title": "red lamp", "category": "winter", "brand": "Glow"}
        assert client.post("/v1/items", json={"items": [hat, lamp]}).status_code == 200
        assert client.delete("/v1/items/blue-boot").status_code == 200
        until(lambda: service.registry.current.number == service.journal.last())
        live = ranked(client)
    with served(place) as (client, _):
        assert ranked(client) == live


def test_an_erased_user_leaves_every_count(place: Place, moment: float) -> None:
    with served(place) as (client, _):
        before = ranked(client)
        tell(client, *[("new here", "purchase", "green-hat")] * 5)
        told = ranked(client)
        assert told != before
        assert client.delete("/v1/users/new here").status_code == 200
        assert ranked(client) == before
    with served(place) as (client, _):
        assert ranked(client) == before


def test_another_server_of_the_journal_counts_and_forgets_as_well(
    place: Place, moment: float
) -> None:
    with served(place) as (client, service):
        source = service.registry.current.source
        other = LiveModel("other", source, service.journal)
        try:
            tell(client, *HATS, ("new here", "purchase", "red-hat"))
            other.catch_up()
            service.registry.current.counts.catch_up()
            assert counted(other) == counted(service.registry.current)
            assert "new here" in counted(other)
            assert client.delete("/v1/users/new here").status_code == 200
            other.catch_up()
            assert "new here" not in counted(other)
        finally:
            other.close()


def counted(model: LiveModel) -> set[str]:
    assert model.counts.features is not None
    return set(model.counts.features.users())


def test_an_event_in_the_future_is_counted_when_its_time_has_come(
    place: Place, moment: float
) -> None:
    with served(place) as (client, _):
        before = ranked(client)
        bodies = [
            {"user_id": "u1", "event": "purchase", "item_id": "green-hat", "timestamp": moment + 9}
        ]
        assert client.post("/v1/events", json={"events": bodies}).status_code == 200
        assert ranked(client) == before


def test_a_ranker_knows_the_texts_of_the_catalogue_before_it_answers(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LiveModel, "_warm", lambda *_: None)  # first requests, which hold few items
    with served(place) as (_, service):
        ranker: Any = service.registry.current.ranker
        packer, items = ranker.ranker.packer, list(service.registry.current.shown)
        rows = packer.candidates(items, [None] * len(items)).index
        assert not len(ranker.ranker.table.memory.missing(rows))
