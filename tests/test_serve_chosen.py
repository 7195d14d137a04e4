"""What people chose next, on the server: as Python has it, live as after a restart, everywhere."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

pytest.importorskip("litestar", reason="needs the extra serve")

from litestar.testing import TestClient

from m6rec.collaborative.counts import DISTANCE, DISTANCE_BITS, LATER, ROW_SHIFT
from m6rec.collaborative.settings import ScoreSettings
from m6rec.data.tables import write_table
from m6rec.offers import Offer
from m6rec.recommender import M6Rec
from m6rec.serving import words as words_module
from m6rec.serving.candidates import Scores
from m6rec.serving.chosen import LiveChosen
from m6rec.serving.counts import LiveCounts
from m6rec.serving.known import Known
from m6rec.serving.live import LiveModel
from m6rec.serving.service import Service
from m6rec.serving.starting import Place
from m6rec.stores.journal.sqlite import SqliteJournal
from m6rec.tasks.shelf import Shelf
from serve_worlds import ids, served, until, write_world

Served = tuple[TestClient[Any], Service]
Counts = dict[tuple[str, str, int], int]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return write_world(tmp_path_factory.mktemp("chosen"))


@pytest.fixture(scope="module")
def shop(place: Place) -> Iterator[Served]:
    with served(place) as found:
        yield found


def counts_of(chosen: LiveChosen) -> Counts:
    """By the names of the items."""
    names, counts = list(chosen.live.codes), chosen.live.counts()
    keys = zip(counts.key_P.tolist(), counts.count_P.tolist(), strict=True)
    return {
        (names[key >> ROW_SHIFT], names[key >> DISTANCE_BITS & LATER], key & DISTANCE): times
        for key, times in keys
    }


def followed(journal: SqliteJournal, items: str = "abcdef") -> LiveCounts:
    """Counts of a journal as it is, which follow it."""
    shelf, known = Shelf(), Known.read(journal)
    shelf.put(list(items), [Offer() for _ in items])
    chosen = LiveChosen(journal, known, shelf, ScoreSettings(best_per_item=3))
    return LiveCounts(journal, known, shelf, None, chosen)


def chosen_of(counts: LiveCounts) -> Counts:
    assert counts.chosen is not None
    return counts_of(counts.chosen)


KINDS = ("click",) * 6 + ("purchase", "purchase", "refund", "dislike", "unlike", "like", "rating")


def some_event(draw: random.Random, step: int, timed: bool) -> dict[str, Any]:
    """Mostly of now; some come late, some at a moment that was there, some tell no time."""
    event: dict[str, Any] = {
        "user_id": draw.choice("uvwx"),
        "event": draw.choice(KINDS),
        "item_id": draw.choice("abcdefgh"),  # g and h are in no catalogue
    }
    if event["event"] == "rating":
        event["value"] = draw.choice([1.0, 3.0, 5.0])
    if timed and draw.random() < 0.9:
        event["timestamp"] = float(draw.choice([step // 2, step, draw.randrange(step + 1)]))
    return event


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_live_counts_are_those_of_a_journal_that_is_read_anew(seed: int, timed: bool) -> None:
    draw, journal = random.Random(seed), SqliteJournal()
    live = followed(journal)
    replica = followed(journal)
    for step in range(60):
        size = draw.choice([1, 1, 2, 5])
        journal.append("event", [some_event(draw, step, timed) for _ in range(size)])
        if draw.random() < 0.05:
            journal.erase_user(draw.choice("uvwx"))
        if draw.random() < 0.7:  # else several appends are taken at once
            live.catch_up()
        if draw.random() < 0.1:
            replica.catch_up()
    live.catch_up()
    replica.catch_up()
    assert chosen_of(live) == chosen_of(followed(journal)) == chosen_of(replica)


def test_a_journal_gets_an_order_with_its_first_time() -> None:
    journal = SqliteJournal()
    journal.append("event", [{"user_id": "u", "event": "click", "item_id": i} for i in "ab"])
    live = followed(journal)
    assert chosen_of(live) == {("a", "b", 1): 1, ("b", "a", 1): 1}
    later = {"user_id": "u", "event": "click", "item_id": "c", "timestamp": 1e12}
    journal.append("event", [later])
    live.catch_up()
    assert chosen_of(live) == {("a", "b", 1): 1, ("a", "c", 2): 1, ("b", "c", 1): 1}
    assert chosen_of(live) == chosen_of(followed(journal))


def test_a_refund_takes_back_what_its_purchase_counted() -> None:
    journal = SqliteJournal()
    live = followed(journal)
    for step, (kind, item) in enumerate([("purchase", "a"), ("purchase", "b"), ("refund", "b")]):
        body = {"user_id": "u", "event": kind, "item_id": item, "timestamp": float(step)}
        journal.append("event", [body])
        live.catch_up()
        assert chosen_of(live) == ({("a", "b", 1): 1} if step == 1 else {})


def test_answers_are_those_of_the_python_face(place: Place, shop: Served) -> None:
    client, _ = shop
    face = M6Rec.from_pretrained(place.model).use(place.data)
    histories: list[list[dict[str, str]]] = [
        [{"event": "click", "item_id": "red-shoe"}],
        [{"event": "purchase", "item_id": item} for item in ("blue-lamp", "green-hat", "red-tent")],
        [{"event": "click", "item_id": "red-shoe"}, {"event": "dislike", "item_id": "red-hat"}],
        [{"event": "click", "text": "red boot"}, {"event": "click", "item_id": "blue-boot"}],
    ]
    for history in histories:
        wanted = face.recommend(history, k=15)
        answer = client.post("/v1/recommend", json={"history": history, "k": 15})
        assert answer.json()["by"] == "chosen"
        assert ids(answer) == [one.item_id for one in wanted]
        scores = [item["score"] for item in answer.json()["items"]]
        assert scores == pytest.approx([one.score for one in wanted], rel=1e-4, abs=1e-6)
    for user in ("u0", "u1", "u5"):
        answer = client.post("/v1/recommend", json={"user_id": user, "k": 10})
        assert ids(answer) == [one.item_id for one in face.recommend(user_id=user, k=10)]


def test_candidates_of_a_large_catalogue_are_the_same_items(
    place: Place, shop: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, _ = shop
    asked = {
        "history": [{"event": "click", "item_id": "red-shoe"}, "clicked: blue hat"],
        "k": 6,
        "where": {"categories": ["hat", "boot", "lamp"]},
    }
    exact = client.post("/v1/recommend", json=asked).json()["items"]
    monkeypatch.setattr(words_module, "EXACT_BELOW", 1)
    found = client.post("/v1/recommend", json=asked).json()["items"]
    assert [one["item_id"] for one in found] == [one["item_id"] for one in exact]
    assert [one["score"] for one in found] == pytest.approx([one["score"] for one in exact])


def test_debug_shows_what_was_counted_and_what_words_say(shop: Served) -> None:
    client, _ = shop
    click = {"event": "click", "item_id": "red-shoe"}
    asked = {"history": [click], "k": 15, "seen_too": True}
    plain = client.post("/v1/recommend", json=asked).json()["items"]
    assert all(one["counted"] is None and one["words"] is None for one in plain)
    shown = client.post("/v1/recommend?debug=true", json=asked).json()["items"]
    for one in shown:
        assert one["counted"] + one["words"] == pytest.approx(one["score"], abs=2e-6)
    assert max(one["counted"] for one in shown) > 0


def send(client: TestClient[Any], *events: tuple[str, str, float]) -> None:
    bodies = [
        {"user_id": user, "event": "purchase", "item_id": item, "timestamp": time}
        for user, item, time in events
    ]
    assert client.post("/v1/events", json={"events": bodies}).status_code == 200


def green_after_red(client: TestClient[Any]) -> float:
    """What was counted for the green hat after the red tent."""
    asked = {"history": [{"event": "click", "item_id": "red-tent"}], "k": 15}
    items = client.post("/v1/recommend?debug=true", json=asked).json()["items"]
    return float({one["item_id"]: one["counted"] for one in items}["green-hat"])


def test_an_event_counts_in_the_next_answer_after_a_restart_and_in_a_replica(
    tmp_path: Path,
) -> None:
    place = write_world(tmp_path)
    with served(place) as (client, service):
        before = green_after_red(client)
        current = service.registry.current
        replica = LiveModel("replica", current.source, service.journal)
        for step in range(5):
            send(client, (f"n{step}", "red-tent", 1e9), (f"n{step}", "green-hat", 1e9 + 1))
        live = green_after_red(client)
        assert live > before
        replica.catch_up()
        assert replica.scores is not None and current.scores is not None
        assert counts_of(replica.scores.chosen) == counts_of(current.scores.chosen)
        replica.close()
    with served(place) as (client, _):
        assert green_after_red(client) == live


def test_an_erased_user_is_counted_no_longer_and_the_receipt_says_so(tmp_path: Path) -> None:
    with served(write_world(tmp_path)) as (client, service):
        scores = service.registry.current.scores
        assert scores is not None
        chosen = scores.chosen
        before = counts_of(chosen)
        send(client, *[("gone", item, 1e9 + n) for n, item in enumerate(("red-hat",) * 4)])
        assert green_after_red(client) is not None  # an answer follows the journal
        assert counts_of(chosen) != before
        receipt = client.delete("/v1/users/gone").json()
        assert receipt["counted_pairs"] == 6 and receipt["entries"]["event"] == 4
        assert counts_of(chosen) == before
        assert client.delete("/v1/users/gone").json()["counted_pairs"] == 0


def test_an_item_that_comes_later_is_found_by_its_words(tmp_path: Path) -> None:
    place = write_world(tmp_path)
    item = {"item_id": "new-shoe", "title": "red shoe", "category": "shoe"}
    asked = {"history": [{"event": "click", "item_id": "red-shoe"}], "k": 16, "seen_too": True}

    def words(client: TestClient[Any]) -> dict[str, float]:
        found = client.post("/v1/recommend?debug=true", json=asked).json()["items"]
        return {one["item_id"]: one["words"] for one in found}

    with served(place) as (client, service):
        assert client.post("/v1/items", json={"items": [item]}).status_code == 200
        until(lambda: service.registry.current.number == service.journal.last())
        send(client, ("n", "red-shoe", 1e9), ("n", "new-shoe", 1e9 + 1))
        live = words(client)
        assert live["new-shoe"] > live["green-boot"]
        shown = client.post("/v1/recommend?debug=true", json=asked).json()["items"]
        assert {one["item_id"]: one["counted"] for one in shown}["new-shoe"] > 0
    with served(place) as (client, _):  # what was kept is read, and says the same
        assert words(client) == pytest.approx(live, abs=1e-6)


def test_a_shop_may_begin_empty_and_words_follow_its_growth(tmp_path: Path) -> None:
    place = replace(write_world(tmp_path), data=tmp_path / "empty")
    with served(place) as (client, service):
        titles = ["red shoe", "red hat", "blue lamp", "green tent"]
        items = [{"item_id": f"i{n}", "title": title} for n, title in enumerate(titles)]
        assert client.post("/v1/items", json={"items": items}).status_code == 200
        until(lambda: service.registry.current.number == service.journal.last())
        send(client, ("u", "i0", 1.0), ("u", "i2", 2.0))
        asked = {"history": [{"event": "click", "item_id": "i0"}], "k": 3}
        answer = client.post("/v1/recommend?debug=true", json=asked)
        assert answer.json()["by"] == "chosen"
        assert [one["item_id"] for one in answer.json()["items"] if one["counted"]] == ["i2"]
        scores = service.registry.current.scores
        assert scores is not None
        until(lambda: scores.words.fitted is not None)
        assert scores.words.fitted is not None and scores.words.fitted.count == 4


def test_a_log_without_times_says_what_is_chosen_together(tmp_path: Path) -> None:
    place = write_world(tmp_path)
    pairs = [(f"p{n}", item) for n in range(6) for item in ("red-shoe", "blue-lamp", "green-hat")]
    events = pl.DataFrame(pairs, schema=["user_id", "item_id"], orient="row")
    write_table(events.with_columns(event=pl.lit("click")), place.data / "events.parquet")
    face = M6Rec.from_pretrained(place.model).use(place.data)
    with served(place) as (client, _):
        history = [{"event": "click", "item_id": "green-hat"}]
        answer = client.post("/v1/recommend?debug=true", json={"history": history, "k": 14})
        assert ids(answer) == [one.item_id for one in face.recommend(history, k=14)]
        counted = {one["item_id"] for one in answer.json()["items"] if one["counted"]}
        assert counted == {"red-shoe", "blue-lamp"}


def test_words_alone_where_that_is_asked_for(place: Place, tmp_path: Path) -> None:
    text_only = replace(place, text_only=True, state=tmp_path)
    face = M6Rec.from_pretrained(place.model).use(place.data, text_only=True)
    with served(text_only) as (client, _):
        history = [{"event": "click", "item_id": "red-shoe"}]
        answer = client.post("/v1/recommend?debug=true", json={"history": history, "k": 5})
        assert answer.json()["by"] == "similarity"
        assert ids(answer) == [one.item_id for one in face.recommend(history, k=5)]
        assert answer.json()["items"][0]["counted"] is None
        assert client.delete("/v1/users/u0").json()["counted_pairs"] == 0


def head_reads(scores: Scores, total: float) -> float:
    """log(1 + 2λ · score), linear below 0."""
    scaled = 2 * scores.chosen.settings.shrinkage * total
    return float(np.log1p(scaled)) if scaled > 0 else scaled


def test_a_tuned_retriever_is_joined_by_its_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = write_world(tmp_path)
    face = M6Rec.from_pretrained(place.model)
    face.fit("retrieve", place.data, split="temporal", train={"epochs": 1})
    face.save_pretrained(tmp_path / "tuned")
    face.use(place.data)
    tuned = replace(place, adapters=(tmp_path / "tuned" / "tasks" / "retrieve",))
    with served(tuned) as (client, service):
        scores = service.registry.current.scores
        assert scores is not None and scores.head is not None
        histories: list[list[dict[str, str]]] = [
            [{"event": "click", "item_id": "red-shoe"}],
            [{"event": "click", "item_id": "blue-hat"}, {"event": "click", "text": "green tent"}],
        ]
        for exact_below in (words_module.EXACT_BELOW, 1):  # every item, then candidates
            monkeypatch.setattr(words_module, "EXACT_BELOW", exact_below)
            for history in histories:
                wanted = face.recommend(history, k=14)
                answer = client.post("/v1/recommend", json={"history": history, "k": 14})
                found = {one["item_id"]: one["score"] for one in answer.json()["items"]}
                assert answer.json()["by"] == "chosen"
                # The items' vectors are kept with fewer digits than Python has.
                assert found == pytest.approx({one.item_id: one.score for one in wanted}, rel=1e-2)
                assert all(one["head"] is None for one in answer.json()["items"])
                shown = client.post("/v1/recommend?debug=1", json={"history": history, "k": 14})
                for one in shown.json()["items"]:
                    read, total = one["head"], one["counted"] + one["words"]
                    assert read["chosen"] == pytest.approx(head_reads(scores, total), abs=1e-4)
                    assert (read["repeated"], read["last"]) in ((0, 0), (1, 0), (1, 1))
                    assert read["new"] in (0, 1) and 0 <= read["popularity"] <= 1
                everything = face.recommend(history, k=100, exclude_seen=False)
                assert sum(one.score for one in everything) == pytest.approx(1, rel=1e-4)
