"""A no is never taken for a yes: every call of the server, at once and after a restart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

pytest.importorskip("litestar", reason="needs the extra serve")

from litestar.testing import TestClient

from m6rec.serving.choices import Choices, OwnEvents
from m6rec.serving.known import EVENT_COLUMNS, Known
from m6rec.serving.service import Service
from m6rec.serving.starting import Place
from m6rec.stores.journal.sqlite import SqliteJournal
from serve_worlds import ids, served, write_world

YES_AND_NO = [
    ("liked: red shoe", "disliked: red shoe"),
    ("rated 5/5: red shoe", "rated 1/5: red shoe"),
    ("bought: red shoe", "returned: red shoe"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The tiny shop, read by a model that knows English."""
    return replace(write_world(tmp_path_factory.mktemp("verdicts")), model="m6-small")


@pytest.fixture(scope="module")
def shop(place: Place) -> Any:
    with served(place) as found:
        yield found


def asked(client: TestClient[Any], path: str, history: list[Any]) -> list[str]:
    answer = client.post(path, json={"history": history, "k": 15})
    return ids(answer)


@pytest.mark.parametrize("path", ["/v1/recommend", "/v1/retrieve"])
@pytest.mark.parametrize(("yes", "no"), YES_AND_NO)
def test_what_is_refused_comes_lower_than_what_is_liked(
    shop: tuple[TestClient[Any], Service], path: str, yes: str, no: str
) -> None:
    client, _ = shop
    beside = "clicked: blue lamp"
    liked, refused = asked(client, path, [beside, yes]), asked(client, path, [beside, no])
    assert refused.index("red-shoe") > liked.index("red-shoe")
    alone = asked(client, path, [no])
    assert alone[0] != "red-shoe" and alone.index("red-shoe") > len(alone) // 2


def test_an_answer_to_nothing_but_a_dislike_is_what_most_people_chose_less_what_is_near(
    shop: tuple[TestClient[Any], Service],
) -> None:
    client, _ = shop
    history = [{"event": "dislike", "item_id": "red-shoe"}]
    answer = client.post("/v1/recommend", json={"history": history, "k": 15})
    assert answer.json()["by"] == "popularity"
    assert "red-shoe" not in ids(answer)
    shown = client.post("/v1/recommend", json={"history": [], "user_id": "new", "k": 15})
    assert sorted(ids(shown)) == sorted([*ids(answer), "red-shoe"])


def test_scores_turn_with_a_like_and_a_dislike(shop: tuple[TestClient[Any], Service]) -> None:
    client, _ = shop
    items = ["red shoe", "blue lamp", "green tent"]
    orders = []
    for history in (["liked: red shoe"], ["disliked: red shoe"]):
        answer = client.post("/v1/score", json={"history": history, "items": items})
        orders.append([one["item"] for one in answer.json()["items"]])
    assert orders[0].index("red shoe") < orders[1].index("red shoe")


def test_what_is_disliked_is_never_a_reason(shop: tuple[TestClient[Any], Service]) -> None:
    client, _ = shop
    for kind, because in (("like", True), ("dislike", False), ("return", False)):
        history = [{"event": kind, "item_id": "red-shoe"}, {"event": "search", "query": "boot"}]
        answer = client.post("/v1/recommend", json={"history": history, "k": 5, "explain": True})
        why = [item["reason"].get("because") for item in answer.json()["items"]]
        assert ("red-shoe" in why) == because


def event(user: str, kind: str, item: str, **more: Any) -> dict[str, Any]:
    return {"user_id": user, "event": kind, "item_id": item, **more}


STORY = [
    [event("u", "click", "a"), event("u", "click", "a"), event("v", "purchase", "a")],
    [event("w", "rating", "a", value=1), event("w", "impression", "b"), event("x", "like", "b")],
    [event("v", "return", "a"), event("x", "unlike", "b"), event("y", "purchase", "b")],
    [event("v", "purchase", "a", timestamp=5.0), event("y", "skip", "b")],
    [event("w", "rating", "a", value=5), event("z", "cart", "c"), event("z", "cart", "d")],
    [event("z", "remove_from_cart", "c"), event("z", "search", "d")],
]


def test_live_counts_are_those_after_a_restart() -> None:
    journal = SqliteJournal()
    live = Choices(Known.read(journal).events)
    for bodies in STORY:
        journal.append("event", bodies)
        for _ in range(2):  # the same batch may come again
            assert live.take(bodies, OwnEvents(journal))
        assert live.counts == Known.read(journal).choices.counts
    assert live.counts == {"a": 3, "b": 1, "d": 1}


def test_a_rating_beyond_the_scale_is_counted_anew() -> None:
    journal = SqliteJournal()
    journal.append("event", [event("u", "rating", "a", value=4)])
    live = Known.read(journal).choices
    assert live.counts == {"a": 1}
    journal.append("event", beyond := [event("v", "rating", "b", value=9)])
    assert not live.take(beyond, OwnEvents(journal))
    assert Known.read(journal).choices.counts == {"b": 1}


def test_ratings_are_read_on_the_scale_of_the_log_before_and_after_a_restart(
    tmp_path: Path,
) -> None:
    """A shop whose first ratings go up to five, then one of nine: six is no yes any more."""
    asked = {
        "history": [{"event": "rating", "item_id": "red-shoe", "value": 4}, "rated 4: red hat"]
    }
    world = write_world(tmp_path)
    with served(world) as (client, service):
        beyond = [event("v", "rating", "green-boot", value=9)]
        assert client.post("/v1/events", json={"events": beyond}).status_code == 200
        live = client.post("/v1/recommend", json=asked).json()
        assert service.scale == 10.0
    with served(world) as (client, service):
        assert service.scale == 10.0
        assert client.post("/v1/recommend", json=asked).json()["items"] == live["items"]


def test_a_user_who_is_erased_is_counted_no_more() -> None:
    journal = SqliteJournal()
    journal.append("event", [event("u", "like", "a"), event("v", "like", "a")])
    live = Known.read(journal).choices
    journal.erase_user("u")
    live.forget("u")
    assert live.counts == {"a": 1} == Known.read(journal).choices.counts


def test_an_empty_journal_has_no_choices() -> None:
    assert not Choices(pl.DataFrame(schema=EVENT_COLUMNS)).counts


def test_clicks_of_one_bot_are_one_person_through_http(tmp_path: Path) -> None:
    with served(write_world(tmp_path)) as (client, service):
        model: Any = service.registry.current
        place = model.shelf.place_of["green-boot"]
        before = model.people.by_place[place]
        clicks = [event("bot", "click", "green-boot") for _ in range(500)]
        assert client.post("/v1/events", json={"events": clicks}).status_code == 200
        model.counts.catch_up()
        assert model.people.by_place[place] == before + 1
