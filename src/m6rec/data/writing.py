"""Reviews, purchases and queries of a data set → passages to be written.

explain: a user, an item and their history → why the user may like it (table reviews).
title: a user or a group → the title of what they choose next (events; without events, what is found
by a search; without searches, what the catalogue says of an item beside its title).
chat: a dialogue → the reply (dialogs.jsonl; data/talks.py).
query: an item → a search that it should be found by, or a user → what they search next (queries).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any, Literal

import polars as pl

from m6rec.data.passages import (
    Cutting,
    Histories,
    Passage,
    WritingSplit,
    WritingTask,
    finish,
    make_card,
    with_history,
)
from m6rec.data.schema import DataError
from m6rec.data.tables import Dataset
from m6rec.data.talks import reply_passages, talk_split
from m6rec.data.verdicts import standing
from m6rec.records import Event

RELEVANT = 0.8
"""A query counts as one for an item from this share of the highest relevance on."""
PRAISE = 0.6
"""A review praises what it names from this share of the highest rating on."""
TITLES_PER_USER = 10
REVIEWS_SHOWN = 20
"""Most reviews of a user, and of an item, that a passage holds: the newest."""
QueryFrom = Literal["item", "user"]


def writing_split(
    dataset: Dataset,
    task: WritingTask,
    *,
    max_history: int = 20,
    query_from: QueryFrom = "item",
    **cutting: Any,
) -> WritingSplit:
    """Cuts a data set into passages of a task.

    max_history: newest events told. query_from: whether queries are written for an item or for a
    user. cutting: see `Cutting`; by default queries for items are cut by item, all else by user.
    Raises DataError where the data have nothing to write.
    """
    if task == "explain":
        return _explanations(dataset, max_history, cutting)
    if task == "title":
        return _titles(dataset, max_history, cutting)
    if task == "chat":
        return reply_passages(talk_split(dataset, **cutting))
    if query_from == "user":
        return _user_queries(dataset, max_history, cutting)
    return _item_queries(dataset, max_history, cutting)


def _explanations(dataset: Dataset, most: int, options: dict[str, Any]) -> WritingSplit:
    reviews = dataset.reviews
    if reviews is None:
        raise DataError(f"{dataset.name}: explanations need a table `reviews`")
    names = [name for name in ("explanation", "text") if _has(reviews, name)]
    if not names:
        raise DataError(f"{dataset.name}: reviews need a column `explanation` or `text`")
    column = names[0]
    cutting = Cutting.of(options, by="user")
    given = reviews["split"] if _has(reviews, "split") else None
    reviews = _with_columns(reviews.with_columns(cutting.parts(reviews["user_id"], given)))
    told = reviews.filter(pl.col(column).str.strip_chars().str.len_chars() > 0)
    histories = Histories(dataset.events, told["user_id"], most)
    memory = _Reviews(reviews, column)

    def read(rows: pl.DataFrame) -> list[Passage]:
        found = []
        for row in rows.iter_rows(named=True):
            passage = Passage(
                user_id=row["user_id"],
                item_id=row["item_id"],
                references=(row[column].strip(),),
                feature=row["feature"],
                timestamp=row["timestamp"],
            )
            own, others = memory.around(passage)
            found.append(replace(with_history(passage, histories), own=own, others=others))
        return found

    parts = finish(told, cutting, read)
    features = tuple(reviews["feature"].drop_nulls().unique().sort())
    timed = _has(reviews, "timestamp")
    notes = ["histories end before the review" if timed else "reviews have no time: all events"]
    notes.append("histories leave out events with the item itself")
    card = make_card(
        dataset, "explain", cutting, given is not None, parts, most,
        (f"rows with {column!r}",), notes,
    )  # fmt: skip
    return WritingSplit(
        "explain", **parts, items=dataset.items, users=dataset.users, features=features, card=card
    )


def known_reviews(
    dataset: Dataset | None, user_id: str | None, item_id: str | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a user wrote, and what others praise in an item, as `Passage.own` and `others`.

    For answers rather than splits: all reviews count.
    """
    if dataset is None or dataset.reviews is None or (user_id is None and item_id is None):
        return (), ()
    asked = {"user_id": user_id, "item_id": item_id}
    about = [pl.col(name) == key for name, key in asked.items() if key is not None]
    some = _with_columns(dataset.reviews.filter(pl.any_horizontal(about).fill_null(False)))
    some = some.with_columns(part=pl.lit("train"))
    written = "explanation" if _has(dataset.reviews, "explanation") else "text"
    return _Reviews(some, written).around(Passage(user_id, item_id, timestamp=float("inf")))


def _with_columns(reviews: pl.DataFrame) -> pl.DataFrame:
    """Reviews with every column that is read, null where the table lacks it."""
    kinds = {"feature": pl.String, "text": pl.String, "rating": pl.Float64, "timestamp": pl.Float64}
    missing = {name: kind for name, kind in kinds.items() if name not in reviews.columns}
    return reviews.with_columns(pl.lit(None, kind).alias(name) for name, kind in missing.items())


class _Reviews:
    """What users wrote before, and what others praise in an item, of reviews with a time or none.

    A user's own reviews count from before the passage only, with their time known. Reviews of an
    item count where they are of the train part and somebody else's.
    """

    def __init__(self, reviews: pl.DataFrame, written: str) -> None:
        highest = reviews["rating"].max()
        praise = PRAISE * float(highest) if isinstance(highest, float) else None
        self._of_user: defaultdict[str, list[tuple[float, str]]] = defaultdict(list)
        self._of_item: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        for row in reviews.iter_rows(named=True):
            words = ": ".join(part for part in (row["feature"], row["text"]) if part)
            if not words:
                continue
            if row["timestamp"] is not None:
                self._of_user[row["user_id"]].append((row["timestamp"], words))
            praises = praise is None or row["rating"] is None or row["rating"] >= praise
            if row["part"] == "train" and praises and written != "text":
                self._of_item[row["item_id"]].append((row["user_id"], words))

    def around(self, passage: Passage) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The user's earlier reviews, and others' of the item."""
        moment = passage.timestamp
        mine = sorted(self._of_user.get(passage.user_id or "", ()))
        own = [words for time, words in mine if moment is not None and time < moment]
        others = [
            words
            for user, words in self._of_item.get(passage.item_id or "", ())
            if user != passage.user_id
        ]
        return tuple(own[-REVIEWS_SHOWN:]), tuple(others[-REVIEWS_SHOWN:])


def _titles(dataset: Dataset, most: int, options: dict[str, Any]) -> WritingSplit:
    if not dataset.items.height:
        raise DataError(f"{dataset.name}: titles need a table `items`")
    if dataset.events is not None and dataset.events.height:
        return _chosen_titles(dataset, dataset.events, most, options)
    if dataset.queries is not None and dataset.queries.height:
        return _searched_titles(dataset, dataset.queries, most, options)
    return _catalogue_titles(dataset, most, options)


def _chosen_titles(
    dataset: Dataset, events: pl.DataFrame, most: int, options: dict[str, Any]
) -> WritingSplit:
    cutting = Cutting.of(options, by="user")
    titles = dataset.items.select("item_id", "title")
    choices = standing(events)
    purchases = choices.filter(pl.col("event") == "purchase")
    kinds = "purchases" if purchases.height else "choices"
    chosen = purchases if purchases.height else choices
    chosen = (
        chosen.join(titles, on="item_id", how="inner", maintain_order="left")
        .unique(["user_id", "item_id"], keep="first", maintain_order=True)
        .group_by("user_id", maintain_order=True)
        .tail(TITLES_PER_USER)
    )
    chosen = chosen.with_columns(cutting.parts(chosen["user_id"], None))
    histories = Histories(events, chosen["user_id"], most)

    def read(rows: pl.DataFrame) -> list[Passage]:
        names = ("user_id", "item_id", "title", "timestamp")
        return [
            with_history(Passage(user, item, (title,), timestamp=time), histories)
            for user, item, title, time in rows.select(names).iter_rows()
        ]

    words = (f"the last {TITLES_PER_USER} {kinds} of each user, each item once",)
    return _of_titles(dataset, cutting, finish(chosen, cutting, read), most, words)


def _searched_titles(
    dataset: Dataset, queries: pl.DataFrame, most: int, options: dict[str, Any]
) -> WritingSplit:
    cutting = Cutting.of(options, by="item")
    found = _relevant(queries).join(
        dataset.items.select("item_id", "title"), on="item_id", how="inner", maintain_order="left"
    )
    found = found.with_columns(cutting.parts(found["query"], None))

    def read(rows: pl.DataFrame) -> list[Passage]:
        return [
            Passage(None, item, (title,), (Event("search", query=query),))
            for query, item, title in rows.select("query", "item_id", "title").iter_rows()
        ]

    words = ("the group is those who search a query; cut by query, not by item",)
    return _of_titles(dataset, cutting, finish(found, cutting, read), most, words)


def _catalogue_titles(dataset: Dataset, most: int, options: dict[str, Any]) -> WritingSplit:
    cutting = Cutting.of(options, by="item")
    items = dataset.items.unique("title", keep="first", maintain_order=True)
    items = items.with_columns(cutting.parts(items["title"].str.to_lowercase(), None))
    details = [name for name in ("brand", "category", "attributes") if _has(items, name)]

    def read(rows: pl.DataFrame) -> list[Passage]:
        return [
            Passage(
                None,
                row["item_id"],
                (row["title"],),
                profile=", ".join(str(row[name]) for name in details if row[name]) or None,
            )
            for row in rows.iter_rows(named=True)
        ]

    words = ("each title once; the group is told by what the catalogue says beside the title",)
    return _of_titles(dataset, cutting, finish(items, cutting, read), most, words)


def _of_titles(
    dataset: Dataset,
    cutting: Cutting,
    parts: dict[str, tuple[Passage, ...]],
    most: int,
    filters: tuple[str, ...],
) -> WritingSplit:
    card = make_card(dataset, "title", cutting, False, parts, most, filters)
    return WritingSplit(
        "title", **parts, items=dataset.items, users=dataset.users, features=(), card=card
    )


def _item_queries(dataset: Dataset, most: int, options: dict[str, Any]) -> WritingSplit:
    """Train has a passage for each query; the other parts one for each item, with all of its."""
    queries = _queries(dataset)
    cutting = Cutting.of(options, by="item")
    known = dataset.items.select("item_id")
    found = _relevant(queries).join(known, on="item_id", how="semi", maintain_order="left")
    given = found["split"] if _has(found, "split") else None
    found = found.with_columns(cutting.parts(found["item_id"], given))

    def read(rows: pl.DataFrame) -> list[Passage]:
        if rows["part"].head(1).to_list() == ["train"]:
            return [
                Passage(None, item, (query,))
                for item, query in rows.select("item_id", "query").iter_rows()
            ]
        grouped = rows.group_by("item_id", maintain_order=True).agg(pl.col("query"))
        return [Passage(None, item, tuple(of)) for item, of in grouped.iter_rows()]

    parts = finish(found, cutting, read)
    words = f"queries of at least {RELEVANT:g} of the highest relevance; each once for an item"
    card = make_card(dataset, "query", cutting, given is not None, parts, most, (words,))
    return WritingSplit(
        "query", **parts, items=dataset.items, users=dataset.users, features=(), card=card
    )


def _user_queries(dataset: Dataset, most: int, options: dict[str, Any]) -> WritingSplit:
    queries = _queries(dataset)
    if not (_has(queries, "user_id") and _has(queries, "timestamp")):
        raise DataError(
            f"{dataset.name}: queries for users need the columns `user_id` and `timestamp`; "
            "without them, write queries for items (query_from=item)"
        )
    cutting = Cutting.of(options, by="user")
    asked = queries.filter(pl.col("user_id").is_not_null() & pl.col("timestamp").is_not_null())
    asked = asked.unique(["user_id", "timestamp", "query"], keep="first", maintain_order=True)
    given = asked["split"] if _has(asked, "split") else None
    asked = asked.with_columns(cutting.parts(asked["user_id"], given))
    histories = Histories(dataset.events, asked["user_id"], most)

    def read(rows: pl.DataFrame) -> list[Passage]:
        return [
            with_history(Passage(user, None, (query,), timestamp=time), histories)
            for user, time, query in rows.select("user_id", "timestamp", "query").iter_rows()
        ]

    parts = finish(asked, cutting, read)
    card = make_card(
        dataset, "query", cutting, given is not None, parts, most,
        ("searches of users, with what they did before",),
    )  # fmt: skip
    return WritingSplit(
        "query", **parts, items=dataset.items, users=dataset.users, features=(), card=card
    )


def _queries(dataset: Dataset) -> pl.DataFrame:
    if dataset.queries is None:
        raise DataError(f"{dataset.name}: the task query needs a table `queries`")
    return dataset.queries


def _relevant(queries: pl.DataFrame) -> pl.DataFrame:
    """Distinct pairs of query and item, those that are judged highly where they are judged."""
    if _has(queries, "relevance"):
        highest = float(queries["relevance"].cast(pl.Float64).max() or 0.0)  # type: ignore[arg-type]
        judged = pl.col("relevance")
        queries = queries.filter(judged.is_null() | (judged >= RELEVANT * highest))
    stripped = queries.with_columns(pl.col("query").str.strip_chars())
    return stripped.filter(pl.col("query").str.len_chars() > 0).unique(
        ["query", "item_id"], keep="first", maintain_order=True
    )


def _has(frame: pl.DataFrame, column: str) -> bool:
    return column in frame.columns and frame[column].null_count() < frame.height
