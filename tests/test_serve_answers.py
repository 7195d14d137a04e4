"""What the server answers: recommendations step by step, other tasks, and OpenAI's client."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

pytest.importorskip("litestar", reason="needs the extra serve")

import httpx
import openai
from litestar.testing import TestClient

from m6rec.answers import History
from m6rec.data.tables import write_table
from m6rec.recommender import M6Rec
from m6rec.serving.service import Service
from m6rec.serving.starting import Place
from serve_worlds import Running, ids, running, served, write_world

Served = tuple[TestClient[Any], Service]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return write_world(tmp_path_factory.mktemp("answers"))


@pytest.fixture(scope="module")
def shop(place: Place) -> Iterator[Served]:
    with served(place) as found:
        yield found


def test_recommendations_are_those_of_the_python_face(place: Place, shop: Served) -> None:
    client, _ = shop
    face = M6Rec.from_pretrained(place.model).use(place.data)
    history = ["clicked: red shoe", "bought: red lamp"]
    expected = face.recommend(history, k=5)
    answer = client.post("/v1/recommend", json={"history": history, "k": 5})
    assert ids(answer) == [one.item_id for one in expected]
    scores = [item["score"] for item in answer.json()["items"]]
    assert scores == pytest.approx([one.score for one in expected], rel=1e-4)
    assert answer.json()["by"] == "chosen"


def test_a_user_without_a_history_gets_what_most_people_chose(shop: Served) -> None:
    client, service = shop
    answer = client.post("/v1/recommend", json={"user_id": "nobody yet", "k": 3})
    assert answer.json()["by"] == "popularity"
    model = service.registry.current
    people = model.counts.choices.counts
    assert ids(answer) == sorted(model.shown, key=lambda item_id: -people[item_id])[:3]
    told = client.post("/v1/recommend", json={"user_id": "nobody yet", "context": "a lamp"})
    assert told.json()["by"] == "chosen"


def test_filters_hold_in_every_step(shop: Served) -> None:
    client, _ = shop
    where = {"categories": ["hat", "boot"], "hide": ["red-hat"]}
    for history in ([], ["clicked: red shoe"]):
        asked = {"history": history, "k": 10, "where": where}
        answer = client.post("/v1/recommend?debug=true", json=asked)
        found = set(ids(answer))
        assert found == {"blue-hat", "green-hat", "red-boot", "blue-boot", "green-boot"}
        for step in answer.json()["debug"]["steps"]:
            assert {item_id for item_id, _ in step["candidates"]} == found
    dear = {"history": ["clicked: shoe"], "where": {"price_min": 1}}
    assert ids(client.post("/v1/recommend", json=dear)) == []


def test_what_was_bought_or_seen_is_left_out_unless_it_is_asked_for(shop: Served) -> None:
    client, _ = shop
    found = ids(client.post("/v1/recommend", json={"user_id": "u0", "k": 100}))
    assert found and not [item_id for item_id in found if item_id.startswith("red")]
    again = {"user_id": "u0", "k": 100, "seen_too": True}
    assert len(ids(client.post("/v1/recommend", json=again))) == 15


def test_diversity_keeps_the_first_and_spreads_the_rest(shop: Served) -> None:
    client, service = shop
    asked = {"history": ["clicked: red shoe"], "k": 5}
    plain = ids(client.post("/v1/recommend", json=asked))
    spread = client.post("/v1/recommend?debug=true", json={**asked, "diversity": 0.7})
    assert ids(spread)[0] == plain[0]
    steps = [step["step"] for step in spread.json()["debug"]["steps"]]
    assert steps == ["retrieve", "diversify"]

    def likeness(item_ids: list[str]) -> float:
        vectors = service.registry.current.item_vectors(item_ids)
        among = vectors @ vectors.T
        return float(among[np.triu_indices(len(item_ids), 1)].mean())

    assert likeness(ids(spread)) < likeness(plain)


def test_a_reason_names_what_of_the_history_it_is_about(shop: Served) -> None:
    client, _ = shop
    click = {"event": "click", "item_id": "green-tent"}
    asked = {"history": [click], "k": 2, "explain": True}
    items = client.post("/v1/recommend", json=asked).json()["items"]
    assert {item["reason"]["because"] for item in items} == {"green-tent"}
    assert "green tent" in items[0]["reason"]["text"]


def test_reasons_are_those_of_the_python_face(place: Place, shop: Served) -> None:
    client, _ = shop
    face = M6Rec.from_pretrained(place.model).use(place.data)
    bought = [{"event": "purchase", "item_id": item} for item in ("red-tent", "blue-hat")]
    no = {"event": "dislike", "item_id": "green-lamp"}
    histories: list[History] = [[*bought, no, "clicked: a red shoe"], ["clicked: boots"], []]
    for history in histories:
        asked = {"history": history, "k": 8, "explain": True}
        items = client.post("/v1/recommend", json=asked).json()["items"]
        found = face.recommend(history, k=8, reasons=True)
        told = [(one.item_id, one.reason) for one in found]
        assert [item["item_id"] for item in items] == [item_id for item_id, _ in told]
        for item, (_, reason) in zip(items, told, strict=True):
            assert reason is not None
            assert item["reason"]["text"] == reason.text
            assert item["reason"].get("because") == reason.because
            assert item["reason"].get("share") == pytest.approx(reason.share, abs=2e-4)


def test_several_are_answered_in_order(shop: Served) -> None:
    client, _ = shop
    asked = [{"history": [f"clicked: {colour} shoe"], "k": 4} for colour in ("red", "blue")]
    alone = [ids(client.post("/v1/recommend", json=one)) for one in asked]
    answers = client.post("/v1/recommend/batch", json={"requests": asked}).json()["answers"]
    assert [[item["item_id"] for item in one["items"]] for one in answers] == alone


def test_rank_orders_what_it_is_given_and_score_takes_any_title(shop: Served) -> None:
    client, _ = shop
    given = ["red-hat", "blue-tent", "no such item"]
    ranked = client.post("/v1/rank", json={"item_ids": given, "history": ["clicked: red shoe"]})
    assert set(ids(ranked)) == {"red-hat", "blue-tent"}
    scored = client.post("/v1/score", json={"items": ["red hat", "a kite"], "history": []})
    assert {one["item"] for one in scored.json()["items"]} == {"red hat", "a kite"}


def test_a_task_that_is_not_tuned_says_so(shop: Served) -> None:
    client, _ = shop
    for route, body in (("explain", {"item": "red-hat"}), ("title", {}), ("query", {})):
        answer = client.post(f"/v1/{route}", json=body)
        assert answer.status_code == 409, route
        assert answer.json()["type"] == "m6rec:not-tuned"
        told = f"{route} is not tuned yet: the server needs a task of it"
        assert answer.json()["detail"].startswith(told)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(write_world(tmp_path_factory.mktemp("openai"))) as found:
        yield found


def test_the_openai_client_chats_and_streams(server: Running) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        turns: list[Any] = [{"role": "user", "content": "I want a red hat"}]
        reply = client.chat.completions.create(model="m6rec", messages=turns)
        said = reply.choices[0].message
        assert said.content and said.items  # type: ignore[attr-defined]
        first = said.items[0]["item_id"]  # type: ignore[attr-defined]
        turns.append({"role": "assistant", "content": said.content})
        turns.append({"role": "user", "content": "no, something else"})
        stream = client.chat.completions.create(model="m6rec", messages=turns, stream=True)
        chunks = list(stream)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        whole = client.chat.completions.create(model="m6rec", messages=turns)
        assert text.strip() == whole.choices[0].message.content
        assert chunks[-1].choices[0].finish_reason == "stop"
        again = [one["item_id"] for one in whole.choices[0].message.items]  # type: ignore[attr-defined]
        assert first not in again
        assert reply.usage is not None and reply.usage.prompt_tokens > 0


def test_a_chat_knows_what_its_user_did(server: Running) -> None:
    likes = [("blue", "purchase"), ("green", "dislike")]
    events = [
        {"user_id": user, "event": kind, "item_id": f"{colour}-{thing}"}
        for user, turned in (("likes blue", 1), ("likes green", -1))
        for (colour, _), (_, kind) in zip(likes, likes[::turned], strict=True)
        for thing in ("shoe", "tent", "lamp")
    ]
    httpx.post(f"{server.url}/v1/events", json={"events": events}).raise_for_status()
    offered = {}
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        said: list[Any] = [{"role": "user", "content": "what would you recommend?"}]
        for user in ("likes blue", "likes green", "a stranger"):
            ask = partial(client.chat.completions.create, model="m6rec", messages=said, user=user)
            message = ask().choices[0].message
            offered[user] = [item["item_id"] for item in getattr(message, "items", [])]
            stream = ask(stream=True)
            text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
            assert text.strip() == message.content
    assert offered["likes blue"] and offered["likes green"]
    assert offered["likes blue"] != offered["likes green"]
    assert offered["a stranger"] == []  # it is asked what it likes
    known = {event["item_id"] for event in events}
    assert known.isdisjoint(offered["likes blue"] + offered["likes green"])


def test_the_openai_client_gets_embeddings(server: Running) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        texts = ["red shoe", "blue tent", "red shoe"]
        by_default = client.embeddings.create(model="m6rec", input=texts)
        floats = client.embeddings.create(model="m6rec", input=texts, encoding_format="float")
        vectors = np.array([one.embedding for one in by_default.data])
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-4)
        assert vectors == pytest.approx(np.array([one.embedding for one in floats.data]), abs=1e-6)
        assert vectors[0] == pytest.approx(vectors[2]) and vectors[0] != pytest.approx(vectors[1])
        assert next(model.id for model in client.models.list()) == "m6rec"
        with pytest.raises(openai.BadRequestError):
            client.embeddings.create(model="m6rec", input=[])


def test_items_that_the_vocabulary_can_not_read_stand_in_the_order_of_choices(
    tmp_path: Path,
) -> None:
    place = write_world(tmp_path)
    write_table(
        pl.DataFrame(
            {"item_id": ["w", "m", "t", "r"], "title": ["婚礼", "菜单", "🎉", "red shoe"]}
        ),
        tmp_path / "shop" / "items.parquet",
    )
    bought = pl.DataFrame({"user_id": ["a", "b", "c"], "item_id": ["m", "m", "t"]})
    timed = bought.with_columns(event=pl.lit("purchase"), timestamp=pl.lit(1e9))
    write_table(timed, tmp_path / "shop" / "events.parquet")
    with served(place) as (client, _):
        asked = {"history": ["clicked: red shoe"], "k": 4}
        answer = client.post("/v1/recommend", json=asked)
        assert ids(answer) == ["r", "m", "t", "w"]
        unread = [item["score"] for item in answer.json()["items"]][1:]
        assert max(unread) < 1e-4
