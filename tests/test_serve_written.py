"""Values over HTTP as people and tools write them: read, missing and told, or refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("litestar", reason="needs the extra serve")

from litestar.testing import TestClient

from m6rec.data.tables import load
from m6rec.serving.service import Service
from m6rec.stores.journal.opening import open_journal
from serve_worlds import ids, served, write_world

Served = tuple[TestClient[Any], Service]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(write_world(tmp_path_factory.mktemp("written"))) as found:
        yield found


PRICES = ["NULL", "—", "N/A", "Free to Play", "$12.99", "12,99 €", 12.99, None]


def test_a_price_that_is_none_costs_itself_not_the_item(shop: Served) -> None:
    client, _ = shop
    items = [
        {"item_id": f"p{place}", "title": "a lamp", "price": price}
        for place, price in enumerate(PRICES)
    ]
    kept = client.post("/v1/items", json={"items": items}).json()
    assert kept["stored"] == len(PRICES)
    (warning,) = kept["warnings"]
    assert warning.startswith("items.3.price: 'Free to Play' is not a number; right is")
    prices = [client.get(f"/v1/items/p{place}").json().get("price") for place in range(8)]
    assert prices == [None, None, None, None, 12.99, 12.99, 12.99, None]


@pytest.mark.parametrize(
    ("time", "right"),
    [
        (1.7e12, "looks like milliseconds; right is 1700000000"),
        (1e18, "looks like nanoseconds; right is 1000000000"),
        (-5, "is before 1970; right is seconds since 1970"),
        ("2024-05-01T12:00:00Z", "is a text; right is 1714564800"),
        ("soon", "is no time; right is seconds since 1970"),
        (20240501, "right is 1714521600"),
    ],
)
def test_a_time_that_is_no_time_in_seconds_is_refused_with_the_right_one(
    shop: Served, time: float | str, right: str
) -> None:
    client, service = shop
    last = service.journal.last()
    event = {"user_id": "late", "event": "click", "item_id": "red-hat", "timestamp": time}
    item = {"item_id": "later", "title": "a lamp", "available_from": time}
    past = {"history": [{"event": "click", "item_id": "red-hat", "timestamp": time}]}
    for route, body, name in (
        ("events", {"events": [event]}, "timestamp"),
        ("items", {"items": [item]}, "available_from"),
        ("recommend", past, "timestamp"),
    ):
        answer = client.post(f"/v1/{route}", json=body)
        assert answer.status_code == 400
        told = [error for error in answer.json()["errors"] if name in error["field"]]
        assert any(right in error["detail"] for error in told), answer.json()
    assert service.journal.last() == last


def test_the_same_event_with_a_time_is_kept_once(shop: Served) -> None:
    client, service = shop
    event = {"user_id": "double", "event": "click", "item_id": "red-hat", "timestamp": 1.7e9}
    first = client.post("/v1/events", json={"events": [event, event]}).json()
    again = client.post("/v1/events", json={"events": [{**event, "timestamp": 1700000000}]}).json()
    assert (first["stored"], first["duplicates"]) == (1, 1)
    assert (again["stored"], again["duplicates"]) == (0, 1)
    for change in ({"value": 2}, {"request_id": "r"}, {"timestamp": 1.7e9 + 1}, {"event": "like"}):
        other = client.post("/v1/events", json={"events": [{**event, **change}]}).json()
        assert other["stored"] == 1, change
    assert len(service.journal.history("double")) == 5


def test_a_position_alone_makes_a_copy_and_nothing_a_repeat(shop: Served) -> None:
    client, _ = shop
    event = {"user_id": "again", "event": "purchase", "item_id": "red-hat"}
    repeats = client.post("/v1/events", json={"events": [event, event]}).json()
    assert (repeats["stored"], repeats["duplicates"]) == (2, 0)
    placed = {**event, "position": 3}
    copies = client.post("/v1/events", json={"events": [placed, placed]}).json()
    assert (copies["stored"], copies["duplicates"]) == (1, 1)


@pytest.mark.parametrize("word", ["nan", "NULL", "undefined", "None"])
def test_a_word_for_nothing_is_no_person(shop: Served, word: str) -> None:
    client, service = shop
    click = {"user_id": word, "event": "click", "item_id": "red-hat"}
    for route, body in (
        ("events", {"events": [click]}),
        ("users", {"users": [{"user_id": word}]}),
        ("items", {"items": [{"item_id": word, "title": "a lamp"}]}),
    ):
        answer = client.post(f"/v1/{route}", json=body)
        assert answer.status_code == 400
        assert f"{word!r} stands for nothing; right is an id" in answer.text
    newcomer = client.post("/v1/recommend", json={"k": 5})
    assert ids(client.post("/v1/recommend", json={"user_id": word, "k": 5})) == ids(newcomer)
    assert service.journal.history(word) == []


def test_ids_that_are_numbers_meet_those_in_words(shop: Served) -> None:
    client, service = shop
    client.post("/v1/items", json={"items": [{"item_id": 101, "title": "a lamp"}]})
    assert client.get("/v1/items/101").json()["title"] == "a lamp"
    events = [{"user_id": 7.0, "event": "click", "item_id": 101.0, "timestamp": 1.7e9}]
    assert client.post("/v1/events", json={"events": events}).json()["stored"] == 1
    assert service.journal.history("7")[0]["item_id"] == "101"
    after = client.post("/v1/recommend", json={"user_id": 7, "k": 20})
    assert "101" not in ids(after)
    told = client.post(
        "/v1/recommend?debug=true", json={"history": [{"event": "click", "item_id": 101}]}
    )
    assert told.json()["debug"]["history"] == ["clicked: a lamp"]


def test_a_journal_that_is_read_back_keeps_its_repeats(shop: Served, tmp_path: Path) -> None:
    client, service = shop
    event = {"user_id": "backed-up", "event": "purchase", "item_id": "red-hat"}
    client.post("/v1/events", json={"events": [event] * 3})
    service.journal.export(tmp_path / "export")
    with open_journal(tmp_path / "journal") as journal:
        journal.restore(tmp_path / "export")
        assert len(journal.history("backed-up")) == 3
    events = load(tmp_path / "export", ["events"]).events
    assert events is not None and (events["user_id"] == "backed-up").sum() == 3
