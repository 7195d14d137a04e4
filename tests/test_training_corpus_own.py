"""Own data as a corpus: no row that an evaluation asks for, whatever the table and the split."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from m6rec.data import tables
from m6rec.data.labels import LabelRule
from m6rec.data.options import Method, Task
from m6rec.data.shop import generate_shop
from m6rec.data.splits import make_split
from m6rec.data.tables import write_table
from m6rec.data.talks import talk_split
from m6rec.data.writing import writing_split
from m6rec.training.corpus import asked, folder
from m6rec.training.corpus.build import filtered
from m6rec.training.corpus.documents import CorpusError, Document, read_corpus
from m6rec.training.corpus.folder import DataFolder
from m6rec.training.corpus.own import OwnOptions, find_sources, own_corpus
from m6rec.training.corpus.plaintext import cut_at_sentences, text_documents

USERS, EACH = 24, 10
KINDS = ("click", "purchase", "cart", "like", "rating", "dislike", "cart", "click", "purchase")
VERBS = {"clicked", "bought", "put in the cart", "liked"}
Check = Callable[[Path, list[Document], Method], set[str]]


def item(user: int, number: int) -> str:
    return f"i{user * EACH + number}"


def title(name: str | None) -> str:
    return f"Thing {str(name)[1:]} of the shop"


def world(path: Path, parts: bool = False) -> Path:
    """Every user has items of their own, so that a title alone tells whose event it is of.

    parts: with a column `split` in events, reviews and queries.
    """
    path.mkdir()
    events, reviews, queries = [], [], []
    for user in range(USERS):
        for n in range(EACH):
            name, kind, time = item(user, n), KINDS[(user + n) % len(KINDS)], 1000.0 * n + user
            value = float(1 + 4 * (n % 2)) if kind == "rating" else None
            split = ("test" if n == 9 else "valid" if n == 8 else "train") if parts else None
            events.append((f"u{user}", name, kind, time, value, split))
            events.append((f"u{user}", item(user + 1, n), "impression", time, None, split))
            why = f"Why the thing {name} is for you." if n % 2 else None
            said = f"This is what I say of the thing {name}."
            reviews.append((f"u{user}", name, float(1 + n % 5), said, "look", why, split))
            queries.append((f"look for {name}", name, 3.0, f"u{user}", time, split))
            queries.append((f"another {name}", name, 3.0, None, None, split))
    write_table(
        pl.DataFrame({"item_id": [item(u, n) for u in range(USERS + 1) for n in range(EACH)]})
        .with_columns(title=pl.format("Thing {} of the shop", pl.col("item_id").str.slice(1))),
        path / "items.parquet",
    )  # fmt: skip
    tails = ["split"] if parts else []
    names = {
        "events": ["user_id", "item_id", "event", "timestamp", "value"],
        "reviews": ["user_id", "item_id", "rating", "text", "feature", "explanation"],
        "queries": ["query", "item_id", "relevance", "user_id", "timestamp"],
    }
    for table, rows in (("events", events), ("reviews", reviews), ("queries", queries)):
        rows = rows if parts else [row[:-1] for row in rows]
        schema = [*names[table], *tails]
        frame = pl.DataFrame(rows, schema=schema, orient="row", infer_schema_length=None)
        write_table(frame, path / f"{table}.parquet")
    write_dialogs(path, ["train", "valid", "test", "train"])
    return path


def write_dialogs(path: Path, splits: list[str | None]) -> None:
    lines = []
    for n, split in enumerate(splits):
        said = [("USER", f"I ask for thing {n}"), ("SYSTEM", f"What of the blue one, number {n}?")]
        turns = [{"role": role, "text": text, "items": []} for role, text in said]
        lines.append({"dialog_id": f"d{n}", "turns": turns} | ({"split": split} if split else {}))
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (path / "dialogs.jsonl").write_text(text, encoding="utf-8")


def published(path: Path) -> Path:
    """The same world with published requests: each user's last event, and train histories."""
    world(path, parts=True)
    for part, n in (("train", 3), ("valid", 8), ("test", 9)):
        requests = [
            {
                "user_id": f"u{u}",
                "history": [{"event": "purchase", "item_id": item(u, k)} for k in range(3)],
                "target": item(u, n),
            }
            for u in range(USERS)
        ]
        text = "".join(json.dumps(request) + "\n" for request in requests)
        (path / f"requests.{part}.jsonl").write_text(text, encoding="utf-8")
    return path


WORLDS: dict[str, tuple[Callable[[Path], Path], Method]] = {
    "temporal": (world, "auto"),
    "leave-one-out": (world, "leave-one-out"),
    "unseen-item": (world, "unseen-item"),
    "column": (lambda path: world(path, parts=True), "auto"),
    "published": (published, "auto"),
}


def told(documents: list[Document], *kinds: str) -> str:
    return "\n".join(part + "\n" for d in documents if d.kind in kinds for part in d.parts)


def event_leaks(path: Path, documents: list[Document], method: Method) -> set[str]:
    """Titles of valid and test rows, of both tasks and of title writing, that histories tell."""
    data = tables.load(path)
    names: set[str | None] = set()
    tasks: tuple[Task, ...] = ("retrieve", "rank")
    for task in tasks:
        split = make_split(data, task, method)
        for part in (split.valid, split.test):
            names |= {request.target for request in part}
            names |= {candidate.item_id for request in part for candidate in request.candidates}
    writing = writing_split(data, "title", max_eval=None)
    names |= {p.item_id for p in (*writing.valid, *writing.test)}
    text = told(documents, "behaviour", "judgement")
    assert len(names) > 20
    return {n for n in names - {None} if title(n) in text}


def review_leaks(path: Path, documents: list[Document], method: Method) -> set[str]:
    """Texts of users that explanations are judged by, and of events that are asked for."""
    data = tables.load(path)
    assert data.reviews is not None
    writing = writing_split(data, "explain", max_eval=None)
    pairs = {(p.user_id, p.item_id) for p in (*writing.valid, *writing.test)}
    pairs |= {(r.user_id, r.target) for r in make_split(data, "retrieve", method).test}
    rows = data.reviews.select("user_id", "item_id", "text", "explanation").rows()
    text = told(documents, "review", "explanation")
    asked_for = [row for row in rows if row[:2] in pairs]
    assert len(asked_for) > 20
    return {part for row in asked_for for part in row[2:] if part and part in text}


def query_leaks(path: Path, documents: list[Document], method: Method) -> set[str]:
    """Queries that are asked for by item or by user, and those that led to an event asked for."""
    data = tables.load(path)
    by_item = writing_split(data, "query", max_eval=None)
    by_user = writing_split(data, "query", query_from="user", max_eval=None)
    splits = (*by_item.valid, *by_item.test, *by_user.valid, *by_user.test)
    queries = {query for p in splits for query in p.references}
    queries |= {f"look for {r.target}" for r in make_split(data, "retrieve", method).test}
    text = told(documents, "query")
    assert len(queries) > 20
    return {query for query in queries if f"{query}. " in text}


def dialogue_leaks(path: Path, documents: list[Document], method: Method) -> set[str]:
    text = told(documents, "dialogue")
    return {n for n in ("1", "2") if f"thing {n}" in text}


CHECKS: dict[str, Check] = {
    "events": event_leaks,
    "reviews": review_leaks,
    "queries": query_leaks,
    "dialogs": dialogue_leaks,
}


@pytest.mark.parametrize("name", WORLDS)
def test_no_valid_or_test_row_of_any_table_enters(name: str, tmp_path: Path) -> None:
    make, method = WORLDS[name]
    path = make(tmp_path / "data")
    documents = list(DataFolder("data", path, method).documents())
    for table, leaks in CHECKS.items():
        assert leaks(path, documents, method) == set(), table
    kinds = {d.kind for d in documents} - {"judgement"}  # requests show purchases only
    assert kinds == {"item", "review", "explanation", "query", "dialogue", "behaviour"}
    assert sum(len(d.parts) for d in documents if d.kind == "behaviour") > 30


def everything(dataset: tables.Dataset, *options: object) -> asked.TrainEvents:
    return asked.TrainEvents(dataset.events, asked.NO_PAIRS, ())


def all_queries(dataset: tables.Dataset, held: pl.DataFrame) -> pl.DataFrame:
    assert dataset.queries is not None
    return dataset.queries.select("query", "item_id")


def all_reviews(dataset: tables.Dataset, held: pl.DataFrame) -> pl.DataFrame:
    assert dataset.reviews is not None
    return dataset.reviews


@pytest.mark.parametrize(
    ("table", "door", "open_door"),
    [
        ("events", "train_events", everything),
        ("reviews", "train_reviews", all_reviews),
        ("queries", "train_queries", all_queries),
        ("dialogs", "train_dialogs", lambda dialogs: ([True] * len(dialogs), "all")),
    ],
)
def test_the_checks_see_a_row_that_enters(
    table: str,
    door: str,
    open_door: Callable[..., object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = world(tmp_path / "data")
    monkeypatch.setattr(folder.asked, door, open_door)
    documents = list(DataFolder("data", path).documents())
    assert CHECKS[table](path, documents, "auto")


def test_a_catalogue_alone_keeps_the_titles_that_are_to_be_written(tmp_path: Path) -> None:
    names = [f"Thing {n} of the shop" for n in range(60)]
    write_table(
        pl.DataFrame({"item_id": [str(n) for n in range(60)], "title": names}),
        tmp_path / "items.csv",
    )
    data = tables.load(tmp_path)
    writing = writing_split(data, "title", max_eval=None)
    hidden = {text for p in (*writing.valid, *writing.test) for text in p.references}
    entered = {d.part("title") for d in DataFolder("c", tmp_path).documents()}
    assert 3 < len(hidden) < 30
    assert entered == set(names) - hidden


def test_dialogues_without_a_split_are_cut_by_their_id(tmp_path: Path) -> None:
    write_dialogs(tmp_path, [None] * 100)
    documents = list(DataFolder("d", tmp_path).documents())
    assert 65 < len(documents) < 95
    assert [d.key for d in documents] == [d.key for d in DataFolder("d", tmp_path).documents()]


def test_a_tenth_of_train_dialogues_is_valid_where_none_is_and_does_not_enter(
    tmp_path: Path,
) -> None:
    write_dialogs(tmp_path, ["train"] * 100)
    names = pl.DataFrame({"item_id": ["i1"], "title": ["Red shoe"]})
    write_table(names, tmp_path / "items.csv")
    split = talk_split(tables.load(tmp_path))
    documents = [d for d in DataFolder("d", tmp_path).documents() if d.kind == "dialogue"]
    assert 2 < len(split.valid) < 25
    assert {d.key for d in documents} == {f"d {talk.dialog_id}" for talk in split.train}


def of_user(documents: list[Document], kind: str) -> dict[str, list[Document]]:
    found = defaultdict(list)
    for document in documents:
        if document.kind == kind:
            found[document.key].append(document)
    return found


def judged_world(path: Path, highest: float) -> Path:
    """One user whose ratings are 1 and `highest` in turn, with eleven others to be asked."""
    path.mkdir()
    ids = [f"i{n}" for n in range(8)]
    write_table(
        pl.DataFrame({"item_id": ids, "title": [f"Book {n}" for n in range(8)]}),
        path / "items.csv",
    )
    rows = [
        (f"u{u}", f"i{n}", "rating", 100.0 * n + u, highest if n % 2 else 1.0)
        for u in range(12)
        for n in range(8)
    ]
    names = ["user_id", "item_id", "event", "timestamp", "value"]
    write_table(pl.DataFrame(rows, schema=names, orient="row"), path / "events.csv")
    return path


def test_ratings_are_told_as_liked_and_disliked(tmp_path: Path) -> None:
    documents = list(DataFolder("b", judged_world(tmp_path / "b", 5.0)).documents())
    histories = [d for d in documents if d.kind == "behaviour"]
    assert {role for d in histories for role in d.roles} == {"liked"}
    assert {part for d in histories for part in d.parts} <= {f"Book {n}" for n in (1, 3, 5, 7)}
    assert all(len(found) == 1 for found in of_user(documents, "judgement").values())
    first = next(d for d in documents if d.kind == "judgement")
    assert first.parts[0].startswith("disliked: Book 0. liked: Book 1. disliked: Book 2")


def test_ratings_are_told_by_their_scale_unless_a_label_says_otherwise(tmp_path: Path) -> None:
    path = judged_world(tmp_path / "b", 10.0)
    by_scale = DataFolder("b", path)
    kinds = {"item", "behaviour", "judgement"}
    assert {d.kind for d in by_scale.documents()} == kinds
    assert "ratings: told as liked from 8 on, else as disliked" in by_scale.rules
    rule = LabelRule(event="rating", threshold=7)
    assert {d.kind for d in DataFolder("b", path, label=rule).documents()} == kinds


def test_what_is_no_choice_is_no_behaviour(tmp_path: Path) -> None:
    source = DataFolder("data", world(tmp_path / "data"))
    documents = list(source.documents())
    verbs = {role for d in documents if d.kind == "behaviour" for role in d.roles}
    assert verbs == VERBS
    assert all(len(set(d.roles)) == 1 for d in documents if d.kind == "behaviour")
    assert {"impression", "dislike", "rating"} <= {
        name.split(": ")[1] for name in source.left_out if name.startswith("train events")
    }


def test_a_published_train_history_is_told_with_its_target(tmp_path: Path) -> None:
    path = published(tmp_path / "data")
    (path / "events.parquet").unlink()
    documents = list(DataFolder("data", path).documents())
    entered = {d.key: d.parts for d in documents if d.kind == "behaviour"}
    assert entered["data u0"] == tuple(title(item(0, n)) for n in (0, 1, 2, 3))
    assert len(entered) == USERS


def test_events_that_can_not_be_cut_are_left_out_with_the_reason(tmp_path: Path) -> None:
    frame = pl.DataFrame({"item_id": ["1", "2"], "title": ["Red Shoe", "Blue Tent"]})
    write_table(frame, tmp_path / "items.csv")
    log = pl.DataFrame({"user_id": ["a", "a"], "item_id": ["1", "2"], "event": ["click", "click"]})
    write_table(log, tmp_path / "events.csv")
    source = DataFolder("s", tmp_path)
    assert {d.kind for d in source.documents()} == {"item"}
    assert source.rules[0].startswith("events: none, since they can not be cut (")


def test_the_built_in_shop_is_a_source(tmp_path: Path) -> None:
    generate_shop(tmp_path / "shop", size="tiny")
    documents, dropped = filtered(DataFolder("shop", tmp_path / "shop").documents())
    kinds = {d.kind for d in documents}
    assert {"item", "review", "explanation", "query", "dialogue", "behaviour"} <= kinds
    assert sum(dropped.values()) < 0.05 * len(documents)
    categories = {d.part("category") for d in documents if d.kind == "item"}
    assert not [name for name in categories if "|" in name]


def test_lines_are_documents_and_so_are_paragraphs(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("One tent.\nOne <b>lamp</b>.\n", encoding="utf-8")
    (tmp_path / "whole.txt").write_text("One\ntent.\n\n \nOne lamp.\n", encoding="utf-8")
    for name in ("lines.txt", "whole.txt"):
        found = list(text_documents("t", [tmp_path / name]))
        assert [d.parts for d in found] == [("One tent.",), ("One lamp.",)], name


def test_a_long_text_is_cut_at_sentences_and_held_out_as_one(tmp_path: Path) -> None:
    assert cut_at_sentences("A b c. D e. F g h i j.", 4) == ["A b c.", "D e.", "F g h i", "j."]
    text = " ".join(f"Sentence number {n} of the long text." for n in range(200))
    (tmp_path / "long.txt").write_text(text, encoding="utf-8")
    found = list(text_documents("t", [tmp_path / "long.txt"]))
    assert len(found) > 3
    assert len({d.key for d in found}) == 1
    assert " ".join(part for d in found for part in d.parts) == text
    assert max(len(part.split()) for d in found for part in d.parts) <= 60


def test_a_text_that_is_not_utf8_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes("fine\ncafé\n".encode("latin-1"))
    with pytest.raises(CorpusError, match=r"latin\.txt, line 2: bytes that are not UTF-8"):
        list(text_documents("t", [path]))


def texts(path: Path, count: int = 300) -> Path:
    path.mkdir(parents=True)
    lines = (f"Text {n} says that the lamp of number {n} is good for you." for n in range(count))
    (path / "a.txt").write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def both(tmp_path: Path) -> list[Path]:
    return [texts(tmp_path / "texts"), world(tmp_path / "data")]


def test_a_manifest_has_source_licence_and_counts(both: list[Path], tmp_path: Path) -> None:
    manifest = own_corpus(both, tmp_path / "out")
    assert list(manifest["sources"]) == ["texts", "data"]
    assert {s["licence"] for s in manifest["sources"].values()} == {"not stated"}
    counts = manifest["sources"]["texts"]["documents"]["text"]
    corpus = read_corpus(tmp_path / "out")
    held = [d for d in corpus.heldout if d.source == "texts"]
    assert counts["heldout"] == len(held) > 0
    assert counts["train"] == sum(d.source == "texts" for d in corpus.train)
    assert any("train part of temporal" in r for r in manifest["sources"]["data"]["rules"])


def test_an_unchanged_corpus_is_used_again_and_a_changed_one_is_not(
    both: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    said: list[str] = []
    first = own_corpus(both, out)
    written = (out / "documents.parquet").stat().st_mtime_ns
    again = own_corpus(both, out, OwnOptions(licence="CC0"), in_use=True, say=said.append)
    assert (out / "documents.parquet").stat().st_mtime_ns == written
    assert again["fingerprint"] == first["fingerprint"]
    assert {s["licence"] for s in again["sources"].values()} == {"CC0"}
    assert read_corpus(out).manifest == again
    assert "used again" in said[0]
    (both[0] / "a.txt").write_text("Another text of the shop for you.", encoding="utf-8")
    with pytest.raises(CorpusError, match="before they changed"):
        own_corpus(both, out, in_use=True)
    assert read_corpus(out).manifest == again
    assert own_corpus(both, out)["fingerprint"] != first["fingerprint"]


def test_another_corpus_is_never_overwritten(both: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    own_corpus(both, out)
    body = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    del body["made_from"]
    (out / "manifest.json").write_text(json.dumps(body), encoding="utf-8")
    with pytest.raises(CorpusError, match="is of other sources"):
        own_corpus(both, out)


def test_sources_of_one_name_are_told_apart(tmp_path: Path) -> None:
    some = [texts(tmp_path / "a" / "texts"), texts(tmp_path / "b" / "texts")]
    assert [source.name for source in find_sources(some)] == ["texts", "texts-2"]
    third = texts(tmp_path / "c" / "texts-2")
    named = [source.name for source in find_sources([*some, third])]
    assert named == ["texts", "texts-2", "texts-2-2"]
    with pytest.raises(CorpusError, match="is given twice"):
        find_sources([some[0], some[0]])


@pytest.mark.parametrize(
    ("name", "message"),
    [("none", "is not there"), ("empty", "holds neither tables nor"), ("a.pdf", "is no source")],
)
def test_a_path_that_is_no_source_says_what_is_right(
    name: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.pdf").touch()
    with pytest.raises(CorpusError, match=f"{message}.*right is a data folder"):
        find_sources([tmp_path / name])


def test_texts_of_which_nothing_is_left_are_an_error_with_the_causes(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Молоток очень хороший для дома и сада\nкрасный", "utf-8")
    with pytest.raises(CorpusError, match="language: 2"):
        own_corpus([tmp_path / "a.txt"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
