"""Where the texts come from: one function per source, canonical tables → documents.

Only what a shipped checkpoint may learn from, and never a row that an evaluation asks for: each
source says which part it takes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from m6rec.data import tables
from m6rec.data.parquet import scan
from m6rec.data.splits import make_split
from m6rec.text.templates import Templates
from m6rec.text.verbalize import Verbalizer
from m6rec.training.corpus.cleaning import clean_part, unglue
from m6rec.training.corpus.documents import Document, Kind

EVENTS_OF_A_DOCUMENT = 60
CATALOGUES = ("goodbooks10k", "amazon_clothing", "amazon_games", "amazon_giftcards", "amazon_toys")


@dataclass(frozen=True)
class Source:
    """A source: where it lies under the data root, its terms, and what is taken of it."""

    name: str
    folder: str
    origin: str
    licence: str
    takes: str
    read: Callable[[Path], Iterator[Document]]


def amazon_industrial(folder: Path) -> Iterator[Document]:
    """Items, and what users bought in the train part."""
    items = scan(folder / "items.parquet").collect()
    yield from item_documents("amazon_industrial", items)
    events = scan(folder / "events.parquet").collect().filter(pl.col("split") == "train")
    yield from _behaviour("amazon_industrial", items, events.sort("user_id", "position"), "bought")


def amazon_reviews(folder: Path) -> Iterator[Document]:
    """Reviews with their headline, rating and product."""
    titles = dict(scan(folder / "items.parquet").collect().select("item_id", "title").rows())
    for row in scan(folder / "reviews.parquet").collect().iter_rows(named=True):
        rating = row["rating"]
        category = (row["category"] or "").removesuffix("_5core_2014").removesuffix("_2023_sample")
        parts = {
            "item": clean_part(titles.get(row["item_id"])) or category.replace("_", " "),
            "rating": "" if rating is None else f"rated {rating:g} of 5",
            "summary": clean_part(row["summary"]),
            "review": clean_part(row["text"]),
        }
        if parts["review"]:
            yield document_of("amazon_reviews_text", "review", parts["review"], parts)


def catalogs(folder: Path) -> Iterator[Document]:
    """Titles of the catalogues whose terms allow it."""
    frame = scan(folder / "items.parquet").collect()
    for name in CATALOGUES:
        yield from item_documents(f"catalogs/{name}", frame.filter(pl.col("source") == name))


def online_retail(folder: Path) -> Iterator[Document]:
    """Purchases of the train part of the temporal split, and the items that were sold in it."""
    split = make_split(tables.load(folder), "retrieve", "temporal")
    events = split.train_events
    sold = events["item_id"].unique().to_list()
    items = split.items.filter(pl.col("item_id").is_in(sold))
    yield from item_documents("online_retail", items)
    yield from _behaviour("online_retail", items, events, "bought")


def xrec(folder: Path) -> Iterator[Document]:
    """Explanations of the train part, with the profiles that they were written for."""
    titles = dict(scan(folder / "items.parquet").collect().select("item_id", "title").rows())
    rows = scan(folder / "reviews.parquet").collect().filter(pl.col("split") == "train")
    for row in rows.iter_rows(named=True):
        about = [clean_part(titles.get(row["item_id"])), clean_part(row["item_summary"])]
        parts = {
            "profile": clean_part(row["user_summary"]),
            "item": ". ".join(part for part in about if part),
            "explanation": clean_part(row["explanation"]),
        }
        if parts["explanation"]:
            yield document_of("xrec", "explanation", row["user_id"], parts)


def redial(folder: Path) -> Iterator[Document]:
    """Dialogues of the valid part (the test part is an evaluation set)."""
    return _dialogues("redial", folder, "valid")


def sgd(folder: Path) -> Iterator[Document]:
    """Dialogues of the train part."""
    return _dialogues("sgd", folder, "train")


def _dialogues(name: str, folder: Path, split: str) -> Iterator[Document]:
    with (folder / "dialogs.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            dialogue: dict[str, Any] = json.loads(line)
            if dialogue["split"] == split:
                yield from dialogue_documents(name, dialogue["dialog_id"], dialogue)


def dialogue_documents(source: str, key: str, dialogue: Mapping[str, Any]) -> Iterator[Document]:
    """What is said in a sound line of dialogs.jsonl; none where fewer than two turns have words."""
    turns = [(t["role"].lower(), clean_part(t["text"])) for t in dialogue["turns"]]
    turns = [(role, text) for role, text in turns if text]
    if len(turns) > 1:
        roles, parts = zip(*turns, strict=True)
        yield Document(source, "dialogue", key, roles, parts)


def item_documents(source: str, items: pl.DataFrame) -> Iterator[Document]:
    """Title, brand, category and description of every item."""
    for row in items.iter_rows(named=True):
        brand = clean_part(row.get("brand"))
        details = clean_part(row.get("attributes"))
        if details.startswith("by "):  # "by AUTHOR; YEAR; LANGUAGE"
            brand = brand or details[3:].split(";")[0]
        description = unglue(brand, clean_part(row.get("description")))
        parts = {
            "title": clean_part(row["title"]),
            "brand": brand,
            "category": clean_part(row.get("category")).replace(" > ", ", "),
            "description": "" if description == clean_part(row["title"]) else description,
        }
        if parts["title"]:
            yield document_of(source, "item", parts["title"].lower(), parts)


def _behaviour(
    source: str, items: pl.DataFrame, events: pl.DataFrame, verb: str
) -> Iterator[Document]:
    """Users' events in their order, with the default templates."""
    words = Verbalizer(Templates.load(), items)
    texts = dict(zip(items["item_id"].to_list(), words.item_texts(), strict=True))
    titles = {i: clean_part(title) for i, title in items.select("item_id", "title").rows()}
    return behaviour_documents(source, events, verb, titles, texts)


def behaviour_documents(
    source: str,
    events: pl.DataFrame,
    verb: str,
    titles: Mapping[str, str],
    texts: Mapping[str, str],
) -> Iterator[Document]:
    """Users' events in their order, in documents of at most EVENTS_OF_A_DOCUMENT.

    titles, texts: short and whole text by item_id; an event without a title is left out. An event
    twice in a row is told once.
    """
    for (user,), mine in events.group_by(["user_id"], maintain_order=True):
        ids = [i for i in mine["item_id"].to_list() if titles.get(i)]
        ids = [i for place, i in enumerate(ids) if place == 0 or ids[place - 1] != i]
        for first in range(0, len(ids), EVENTS_OF_A_DOCUMENT):
            some = ids[first : first + EVENTS_OF_A_DOCUMENT]
            if len(some) > 1:
                yield Document(
                    source,
                    "behaviour",
                    f"{source} {user}",
                    (verb,) * len(some),
                    tuple(titles[i] for i in some),
                    tuple(texts[i] for i in some),
                )


def document_of(source: str, kind: Kind, key: str, parts: dict[str, str]) -> Document:
    """A document of those parts that have a text."""
    kept = {role: text for role, text in parts.items() if text}
    return Document(source, kind, key, tuple(kept), tuple(kept.values()))


AMAZON = "none stated; Amazon review data of the McAuley lab, UCSD, given for research"
SOURCES = (
    Source(
        "amazon_industrial",
        "amazon_industrial",
        "Amazon Industrial and Scientific 5-core (copies: AkaliKong/MiniOneRec, Apache-2.0)",
        AMAZON,
        "all items; events of the train part",
        amazon_industrial,
    ),
    Source(
        "amazon_reviews_text",
        "amazon_reviews_text",
        "Amazon reviews 2014 and 2023, samples",
        AMAZON,
        "reviews, headlines, ratings",
        amazon_reviews,
    ),
    Source(
        "catalogs",
        "catalogs",
        "goodbooks-10k; Amazon titles (clothing, games, gift cards, toys)",
        f"goodbooks-10k: CC BY-SA 4.0; the Amazon parts: {AMAZON}",
        f"titles of {', '.join(CATALOGUES)}",
        catalogs,
    ),
    Source(
        "online_retail",
        "online_retail",
        "UCI Online Retail and Online Retail II",
        "CC BY 4.0",
        "events of the train part of the temporal split, and the items sold in it",
        online_retail,
    ),
    Source(
        "xrec",
        "xrec",
        "HKUDS/XRec (texts written by a language model from Amazon books and Yelp reviews)",
        "Apache-2.0",
        "explanations of the train part",
        xrec,
    ),
    Source("redial", "redial", "ReDial", "CC BY 4.0", "dialogues of the valid part", redial),
    Source(
        "sgd",
        "sgd",
        "Schema-Guided Dialogue (DSTC8)",
        "CC BY-SA 4.0",
        "dialogues of the train part",
        sgd,
    ),
)


def known_sources(names: Iterable[str]) -> list[Source]:
    """Sources by name, in their own order."""
    wanted = set(names)
    return [source for source in SOURCES if source.name in wanted]
