"""Which rows of a data set no evaluation asks for: what a corpus may be made of.

Rows are cut as `m6rec eval` cuts them by default, for every task at once, and a row enters only
where it is a train row of each of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl

from m6rec.data.labels import LabelRule
from m6rec.data.options import Method, SplitOptions, Task
from m6rec.data.passages import Cutting, Passage, WritingTask
from m6rec.data.published import Line, read_requests
from m6rec.data.schema import SPLITS, DataError
from m6rec.data.splits import Split, make_split
from m6rec.data.tables import Dataset
from m6rec.data.talks import dialog_parts
from m6rec.data.writing import QueryFrom, writing_split

ROW = "#row"
TASKS: tuple[Task, ...] = ("retrieve", "rank")
PAIR = ("user_id", "item_id")
NO_PAIRS = pl.DataFrame(schema=dict.fromkeys(PAIR, pl.String))


@dataclass(frozen=True)
class TrainEvents:
    """events: rows to learn from, in the order of the data set (None: no table, or no way to cut).

    held: user_id, item_id of what is asked for, so that other tables do not tell it either. rules:
    how the events were cut, in words.
    """

    events: pl.DataFrame | None
    held: pl.DataFrame
    rules: tuple[str, ...]


def train_events(
    dataset: Dataset, method: Method = "auto", label: LabelRule | None = None
) -> TrainEvents:
    """Events of the train part of retrieval and of ranking that no title is asked of either.

    Raises DataError where a requests file is not sound.
    """
    asked = pl.concat([_published_pairs(dataset), _title_pairs(dataset)]).unique()
    if dataset.events is None:
        return TrainEvents(None, asked, ())
    tagged = dataset.events.with_row_index(ROW)
    splits, why = _splits(replace(dataset, events=tagged), method, label)
    if not splits:
        held = pl.concat([asked, tagged.select(PAIR)]).unique()
        return TrainEvents(None, held, (f"events: none, since they can not be cut ({why})",))
    allowed, told = tagged, True
    for split in splits:
        if ROW in split.train_events.columns:
            allowed = allowed.filter(pl.col(ROW).is_in(split.train_events[ROW].implode()))
        else:  # a requests file is what train is: the events are not cut
            told = False
    if "split" in tagged.columns:
        other = pl.col("split").is_in([name for name in SPLITS if name != "train"])
        allowed = allowed.filter(~other.fill_null(False))
    allowed = allowed.join(asked, on=PAIR, how="anti", maintain_order="left")
    left = tagged.join(allowed.select(ROW), on=ROW, how="anti").select(PAIR)
    held = pl.concat([asked, left]).unique()
    if not told:
        return TrainEvents(None, held, ("events: none, since requests.train.jsonl is train",))
    rules = [f"events, {split.card.task}: train part of {split.card.split}" for split in splits]
    if asked.height:
        rules.append(f"events: without {asked.height} of users and items whose title is asked for")
    return TrainEvents(allowed.drop(ROW), held, tuple(rules))


def _splits(dataset: Dataset, method: Method, label: LabelRule | None) -> tuple[list[Split], str]:
    """The split of every task that the events allow, or why there is none."""
    found, why = [], ""
    methods: tuple[Method, ...] = ("auto", "leave-one-out") if method == "auto" else (method,)
    for task in TASKS:
        for one in methods:
            try:
                found.append(
                    make_split(dataset, task, one, label=label if task == "rank" else None)
                )
                break
            except DataError as error:
                why = why or str(error)
    return found, why


def _published_pairs(dataset: Dataset) -> pl.DataFrame:
    """Users and items of published valid and test requests."""
    pairs = [NO_PAIRS]
    for name, path in dataset.requests.items():
        if name != "train":
            rows = read_requests(path, SplitOptions().max_history).rows
            pairs.append(rows.select("user_id", item_id="target"))
            pairs.append(rows.select("user_id", item_id="item_ids").explode("item_id"))
    return pl.concat(pairs).drop_nulls()


def _title_pairs(dataset: Dataset) -> pl.DataFrame:
    """Users and items whose titles are to be written after a user's history."""
    pairs = [(p.user_id, p.item_id) for p in _asked(dataset, "title") if p.user_id is not None]
    return pl.DataFrame(pairs, schema=NO_PAIRS.schema, orient="row")


def asked_titles(dataset: Dataset) -> frozenset[str]:
    """Titles that are to be written of a catalogue without users: such items are not told."""
    if dataset.events is not None or dataset.queries is not None:
        return frozenset()
    return frozenset(text for p in _asked(dataset, "title") for text in p.references)


def _asked(
    dataset: Dataset, task: WritingTask, query_from: QueryFrom = "item"
) -> Iterator[Passage]:
    """Valid and test passages of a writing task; none where the data have nothing for it."""
    try:
        split = writing_split(dataset, task, max_history=0, max_eval=None, query_from=query_from)
    except DataError:
        return
    yield from split.valid
    yield from split.test


def train_reviews(dataset: Dataset, held: pl.DataFrame) -> pl.DataFrame:
    """Reviews of the train part of explanations, without those of a held pair.

    Raises DataError for a split that is none.
    """
    assert dataset.reviews is not None
    part = Cutting(by="user").parts(dataset.reviews["user_id"], _given(dataset.reviews))
    known = dataset.reviews.filter(part == "train")
    return known.join(held, on=PAIR, how="anti", maintain_order="left")


def train_queries(dataset: Dataset, held: pl.DataFrame) -> pl.DataFrame:
    """query, item_id: relevant pairs that belong to train by item and, where known, by user.

    Raises DataError for a split that is none.
    """
    assert dataset.queries is not None
    names = ("item_id", "query")
    train = writing_split(dataset, "query", max_history=0).train
    told = pl.DataFrame(
        [(p.item_id, p.references[0]) for p in train], schema=dict.fromkeys(names, pl.String),
        orient="row",
    )  # fmt: skip
    rows = dataset.queries.with_columns(pl.col("query").str.strip_chars())
    rows = rows.join(told, on=names, how="semi", maintain_order="left")
    if "user_id" in rows.columns:
        by_user = [(p.user_id, p.references[0]) for p in _asked_of_users(dataset)]
        schema = {"user_id": pl.String, "query": pl.String}
        asked = pl.DataFrame(by_user, schema=schema, orient="row")
        rows = rows.join(asked, on=("user_id", "query"), how="anti", maintain_order="left")
        rows = rows.join(held, on=PAIR, how="anti", maintain_order="left")
    if dataset.events is None:  # then a search is the history that a title is written for
        searched = [e.query for p in _asked(dataset, "title") for e in p.history]
        rows = rows.filter(~pl.col("query").is_in(searched))
    return rows.select("query", "item_id").unique(maintain_order=True)


def _asked_of_users(dataset: Dataset) -> Iterator[Passage]:
    return _asked(dataset, "query", query_from="user")


def train_dialogs(dialogs: Sequence[Line]) -> tuple[list[bool], str]:
    """Whether each (sound) dialogue is of the train part of conversation, and the rule in words.

    Raises DataError for a split that is none.
    """
    parts, rule = dialog_parts(dialogs, Cutting(by="user"))
    return (parts == "train").to_list(), rule


def _given(frame: pl.DataFrame) -> pl.Series | None:
    has = "split" in frame.columns and frame["split"].null_count() < frame.height
    return frame["split"] if has else None
