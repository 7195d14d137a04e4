"""The corpus: clean, without repeats, a share held out, and no row that an evaluation asks for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from language_worlds import documents
from m6rec.data import tables
from m6rec.data.splits import make_split
from m6rec.training.corpus import sources
from m6rec.training.corpus.build import build_corpus, filtered
from m6rec.training.corpus.cleaning import clean_part, is_english, unglue
from m6rec.training.corpus.documents import (
    CorpusError,
    Document,
    is_held_out,
    read_corpus,
    write_corpus,
)
from m6rec.training.corpus.minhash import near_duplicates, signatures
from m6rec.training.corpus.sources import Source


def test_markup_media_and_boilerplate_go() -> None:
    assert clean_part("<p>Product Description: a &amp; b</p> [[ASIN:B01 x]]") == "a & b"
    assert clean_part(None) == ""


def test_a_brand_glued_to_the_first_word_goes() -> None:
    assert unglue("Acme", "AcmeThis hammer") == "This hammer"
    assert unglue("Acme", "Acme makes hammers") == "Acme makes hammers"
    assert unglue("", "This hammer") == "This hammer"


def test_other_languages_and_scripts_are_told() -> None:
    english = "This is the best of all the hammers that I have ever had in my hand"
    german = (
        "Dieser Hammer liegt gut und sicher Hand weil Griff aus Holz besteht wirklich sehr fein"
    )
    assert is_english(english)
    assert not is_english(german)
    assert not is_english("Молоток очень хороший")
    assert is_english("Acme Hammer 3000 XL")


def test_minhash_estimates_jaccard() -> None:
    words = [f"w{i}" for i in range(403)]
    a, b = " ".join(words[:303]), " ".join(words[100:])
    first, second = signatures([a, b])
    # 300 shingles of four words each, 200 of them common: 200 / 400.
    assert abs((first == second).mean() - 0.5) < 0.25


def test_a_near_duplicate_is_dropped_and_the_first_stays() -> None:
    text = " ".join(f"word{i}" for i in range(80))
    other = " ".join(f"other{i}" for i in range(80))
    assert near_duplicates([text, other, text + " more", text]).tolist() == [0, 0, 1, 1]
    assert near_duplicates([]).tolist() == []


def test_the_same_key_is_always_on_one_side() -> None:
    keys = [f"k{i}" for i in range(4000)]
    held = np.array([is_held_out(key, 0.1) for key in keys])
    assert 0.08 < held.mean() < 0.12
    assert [is_held_out(key, 0.1) for key in keys] == held.tolist()


def test_what_is_dropped_is_counted_by_cause() -> None:
    good = Document("s", "review", "a", ("review",), ("This is a good hammer for the house",))
    short = Document("s", "review", "b", ("review",), ("Good",))
    foreign = Document("s", "review", "c", ("review",), ("Очень хороший молоток для дома и сада",))
    kept, dropped = filtered([good, short, good, foreign])
    assert kept == [good]
    assert dict(dropped) == {"length": 1, "repeat": 1, "language": 1}


def test_a_written_corpus_is_read_back(tmp_path: Path) -> None:
    some = documents(2)
    write_corpus(tmp_path, some, {"sources": {}})
    corpus = read_corpus(tmp_path)
    assert list(corpus.train) == some
    assert corpus.heldout == ()
    assert len(corpus.fingerprint) == 32


def test_a_missing_corpus_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"documents\.parquet is missing"):
        read_corpus(tmp_path)


def test_a_missing_source_is_named_in_the_manifest(tmp_path: Path) -> None:
    def read(folder: Path) -> Iterator[Document]:
        yield from documents(3)

    (tmp_path / "here").mkdir()
    here = Source("here", "here", "o", "CC0", "all", read)
    manifest = build_corpus(
        tmp_path, tmp_path / "out", (here, Source("away", "away", "o", "l", "t", read)), heldout=0.3
    )
    assert manifest["missing"] == ["away"]
    written = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert written["sources"]["here"]["licence"] == "CC0"
    counts = written["sources"]["here"]["documents"]["review"]
    corpus = read_corpus(tmp_path / "out")
    held = sum(d.kind == "review" for d in corpus.heldout)
    assert counts["train"] + counts["heldout"] == 3
    assert counts["heldout"] == held


def test_no_source_left_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="holds none of"):
        build_corpus(tmp_path, tmp_path / "out")


def test_only_train_explanations_enter(shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("xrec")
    rows = pl.read_parquet(folder / "reviews.parquet")
    test = rows.filter(pl.col("split") == "test")
    entered = {d.part("explanation") for d in sources.xrec(folder)}
    forbidden = {clean_part(text) for text in test["explanation"].to_list()}
    assert len(entered) > 4000
    assert entered.isdisjoint(forbidden)
    keys = {d.key for d in sources.xrec(folder)}
    assert keys.isdisjoint(test["user_id"].to_list())


@pytest.mark.parametrize(("name", "split"), [("redial", "valid"), ("sgd", "train")])
def test_only_one_part_of_the_dialogues_enters(
    name: str, split: str, shared_data: Callable[[str], Path]
) -> None:
    folder = shared_data(name)
    with (folder / "dialogs.jsonl").open(encoding="utf-8") as lines:
        part = {d["dialog_id"]: d["split"] for d in map(json.loads, lines)}
    entered = {d.key for d in getattr(sources, name)(folder)}
    assert len(entered) > 800
    assert {part[key] for key in entered} == {split}


def behaviour(documents: Iterator[Document]) -> list[Document]:
    return [d for d in documents if d.kind == "behaviour"]


def test_only_train_events_of_amazon_industrial_enter(shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("amazon_industrial")
    events = pl.read_parquet(folder / "events.parquet")
    allowed = dict(
        events.filter(pl.col("split") == "train").group_by("user_id").agg("item_id").rows()
    )
    titles = dict(pl.read_parquet(folder / "items.parquet").select("item_id", "title").rows())
    told = 0
    for document in behaviour(sources.amazon_industrial(folder)):
        mine = {clean_part(titles[i]) for i in allowed[document.key.split()[1]]}
        assert set(document.parts) <= mine
        told += len(document.parts)
    assert 0.8 * 44076 < told <= 44076


def test_nothing_after_the_cut_of_online_retail_enters(
    shared_data: Callable[[str], Path],
) -> None:
    folder = shared_data("online_retail")
    split = make_split(tables.load(folder), "retrieve", "temporal")
    before = set(split.train_events["item_id"].to_list())
    titles = split.items.select("item_id", "title").rows()
    known = {clean_part(t) for i, t in titles if i in before}
    new = {clean_part(t) for i, t in titles if i not in before} - known
    entered = set()
    told = 0
    for document in sources.online_retail(folder):
        entered |= set(document.parts if document.kind == "behaviour" else [document.part("title")])
        told += len(document.parts) if document.kind == "behaviour" else 0
    assert len(new) > 20
    assert entered.isdisjoint(new)
    assert 0 < told <= split.train_events.height
