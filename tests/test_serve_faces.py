"""One answer whoever asks: the same requests through Python, the command line and HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest

pytest.importorskip("litestar", reason="needs the extra serve")

from litestar.testing import TestClient
from typer.testing import CliRunner

import tiny
from m6rec.cli.app import build_app
from m6rec.data.tables import write_table
from m6rec.recommender import M6Rec
from m6rec.serving.starting import Place
from serve_worlds import served

SOON = time.time() + 1e7
Answer = list[tuple[str, float]]


@dataclass(frozen=True)
class Ask:
    """A request in the words of HTTP; must: ids that have to come; never: ids that may not."""

    name: str
    user: str | None = None
    history: list[Any] | None = None
    k: int = 10
    where: dict[str, Any] = field(default_factory=dict)
    seen_too: bool = False
    must: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    count: int | None = None

    def __str__(self) -> str:
        return self.name


def in_(*categories: str) -> dict[str, Any]:
    return {"categories": list(categories)}


EVERYTHING = [{"event": "click", "item_id": f"i{n}"} for n in range(30)]
RED = ["clicked: red shoe"]
NOT_HERE = ("i3", "i4", "i5", "i6")
"""Later, hidden, sold out, none in stock."""
ASKS = [
    Ask("a newcomer", "nobody", count=10, never=NOT_HERE),
    Ask("nobody at all", history=[], count=10, never=NOT_HERE),
    Ask("a user of the log", "u1", count=10, never=("i7",)),
    Ask("a user of the log, seen too", "u1", seen_too=True, k=30, must=("i7",), count=26),
    Ask("a user who only saw", "looker", count=10),
    Ask("a history in words", history=RED, count=10, never=NOT_HERE),
    Ask("a user with another history", "u1", history=RED, count=10, never=("i7",)),
    Ask("unknown items only", history=[{"event": "click", "item_id": "lost"}], count=10),
    Ask("everything seen", history=EVERYTHING, count=0),
    Ask("everything seen, and wanted again", history=EVERYTHING, seen_too=True, count=10),
    Ask("k above the catalogue", history=RED, k=100, count=26),
    Ask("a newcomer who wants all", "nobody", k=100, count=26),
    Ask("hidden ids", history=RED, where={"hide": ["i0", "i2", "lost"]}, never=("i0", "i2")),
    Ask("what comes later as well", history=RED, k=100, where={"available": False}, count=30),
    Ask("a newcomer and what is hidden", "nobody", k=100, where={"available": False}, count=30),
    Ask("one category among several", history=RED, k=100, where=in_("Comedy"), count=8),
    Ask("a newcomer's category", "nobody", k=100, where=in_("Comedy"), count=8),
    Ask("two categories", history=RED, k=100, where=in_("Comedy", "Drama"), count=17),
    Ask("a whole category", history=RED, k=100, where=in_("Action|Comedy"), count=8),
    Ask("no such category", history=RED, where=in_("Western"), count=0),
    Ask("prices", history=RED, k=100, where={"price_min": 5, "price_max": 9}, never=("i0", "i10")),
    Ask("view is click", history=[{"event": "view", "item_id": "i8"}], never=("i8",)),
    Ask("Impression is impression", history=[{"event": "Impression", "item_id": "i8"}]),
    Ask("rated 9/10", history=["rated 9/10: blue tent"]),
    Ask("rated 9", history=["rated 9: blue tent"]),
    Ask("disliked", history=["disliked: red shoe"]),
    Ask("a no in other words", history=["Not interested: red shoe", "👎: blue tent"]),
    Ask("a no by its name", history=[{"event": "item_returned", "item_id": "i8"}]),
    Ask("a rating in a name", history=["1 star: red shoe"]),
    Ask("a value as text", history=[{"event": "rating", "item_id": "i8", "value": "1"}]),
    Ask("an integer id", history=[{"event": "click", "item_id": 8}]),
]


def write_shop(folder: Path, events: list[tuple[str, str, str]]) -> Path:
    """30 items: four can not be had. Ratings go up to ten."""
    folder.mkdir(parents=True)
    kinds = ("Action|Comedy", "Drama", "Action")
    items = [
        {
            "item_id": f"i{n}",
            "title": f"{tiny.COLOURS[n % 3]} {tiny.THINGS[n % 5]} {n}",
            "category": kinds[n % 3],
            "price": float(n),
            "available_from": SOON if n == 3 else 5.0,
            "hidden": n == 4,
            "in_stock": n != 5,
            "availability": "out of stock" if n == 6 else "in stock",
        }
        for n in range(30)
    ]
    write_table(pl.DataFrame(items), folder / "items.parquet")
    rows = [
        {"user_id": user, "item_id": item, "event": kind, "timestamp": 1e9 + n}
        for n, (user, kind, item) in enumerate(events)
    ]
    write_table(pl.DataFrame(rows), folder / "events.parquet")
    (folder / "templates.toml").write_text("[words]\nscale = 10.0\n", encoding="utf-8")
    return folder


LOG = [
    *[(f"u{n}", "view", f"i{n % 9}") for n in range(14)],
    *[(f"u{n}", "purchase", f"i{7 + n % 4}") for n in range(1, 9, 2)],
    ("u1", "purchase", "i7"),
    ("looker", "Impression", "i9"),
    ("u2", "dislike", "i20"),
    ("u3", "addtocart", "i20"),
    ("u3", "removefromcart", "i20"),
]
WORLDS = {"a shop with a log": LOG, "one event": [("u1", "purchase", "i7")]}


@dataclass
class Faces:
    """The three ways into one shop."""

    place: Place
    face: M6Rec
    client: TestClient[Any]
    folder: Path

    def python(self, ask: Ask) -> Answer:
        found = self.face.recommend(
            ask.history or (),
            k=ask.k,
            user_id=ask.user,
            exclude_seen=not ask.seen_too,
            where=ask.where,
        )
        return [(one.item_id, one.score) for one in found]

    def http(self, ask: Ask) -> Answer:
        body = {"user_id": ask.user, "k": ask.k, "where": ask.where, "seen_too": ask.seen_too}
        if ask.history is not None:
            body["history"] = ask.history
        answer = self.client.post("/v1/recommend", json=body)
        assert answer.status_code == 200, answer.text
        return [(one["item_id"], one["score"]) for one in answer.json()["items"]]

    def command_line(self, ask: Ask) -> Answer:
        words = ["recommend", "--data", str(self.place.data), "--model", self.place.model]
        words += ["-k", str(ask.k), "--cache", str(self.folder / "cache-cli")]
        words += ["--json", str(self.folder / "answer.json")]
        words += ["--user", ask.user] if ask.user is not None else []
        for entry in ask.history or []:
            words += ["--history", entry if isinstance(entry, str) else json.dumps(entry)]
        for name, value in ask.where.items():
            words += written(name, value)
        words += ["--seen-too"] if ask.seen_too else []
        done = CliRunner().invoke(build_app([words[0]]), words)
        assert done.exit_code == 0, done.output
        told = json.loads((self.folder / "answer.json").read_text("utf-8"))
        return [(one["item_id"], one["score"]) for one in told["items"]]


def written(name: str, value: Any) -> list[str]:
    """A part of `where` on the command line."""
    if name == "available":
        return ["--unavailable-too"]
    option = {"categories": "--category", "hide": "--hide"}.get(name)
    if option is None:
        return [f"--{name.replace('_', '-')}", str(value)]
    return [word for one in value for word in (option, one)]


@pytest.fixture(scope="module", params=WORLDS)
def faces(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Faces]:
    folder = tmp_path_factory.mktemp("faces")
    model = tiny.write_backbone(folder / "tiny")
    data = write_shop(folder / "shop", WORLDS[request.param])
    place = Place(data, str(model))
    face = M6Rec.from_pretrained(place.model, cache=folder / "cache-python").use(data)
    with served(place) as (client, _):
        yield Faces(place, face, client, folder)


@pytest.mark.parametrize("ask", ASKS, ids=str)
def test_python_the_command_line_and_http_give_one_answer(faces: Faces, ask: Ask) -> None:
    python, http = faces.python(ask), faces.http(ask)
    command_line = python if ask.name == "nobody at all" else faces.command_line(ask)
    ids = [item_id for item_id, _ in python]
    assert [item_id for item_id, _ in http] == ids
    assert [item_id for item_id, _ in command_line] == ids
    scores = [score for _, score in python]
    assert [score for _, score in http] == pytest.approx(scores, abs=2e-6)
    assert [score for _, score in command_line] == pytest.approx(scores, abs=2e-6)
    assert set(ask.must) <= set(ids) and not set(ask.never) & set(ids)
    assert ask.count is None or len(ids) == ask.count
