"""A folder of canonical tables → documents: of every table the rows that no evaluation asks for."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl

from m6rec.data import tables
from m6rec.data.kinds import Verdict, kind_of
from m6rec.data.labels import LabelRule, default_rule
from m6rec.data.options import Method
from m6rec.data.published import read_lines, read_requests
from m6rec.data.schema import DataError
from m6rec.data.tables import Dataset
from m6rec.data.talks import sound_dialogs
from m6rec.records import Request
from m6rec.text.templates import Templates
from m6rec.text.verbalize import Verbalizer
from m6rec.training.corpus import asked
from m6rec.training.corpus.cleaning import clean_part
from m6rec.training.corpus.documents import Document
from m6rec.training.corpus.sources import (
    EVENTS_OF_A_DOCUMENT,
    behaviour_documents,
    dialogue_documents,
    document_of,
    item_documents,
)

JUDGEMENTS = 6
"""Items of a part that says what a user liked and disliked."""
FREE = "\x1f"
"""Before the text of an event whose item has no row, where ids stand."""
HISTORY: dict[str, pl.DataType] = {
    "user_id": pl.String(),
    "item_id": pl.String(),
    "event": pl.String(),
    "value": pl.Float64(),
    "text": pl.String(),
}


class DataFolder:
    """One data set as a source. `rules` and `left_out` fill while documents are taken."""

    def __init__(
        self, name: str, folder: Path, method: Method = "auto", label: LabelRule | None = None
    ) -> None:
        self.name, self.label = name, label
        self.dataset: Dataset = tables.load(folder)
        self.templates = Templates.load(self.dataset.templates)
        items = self.dataset.items
        self.words = Verbalizer(self.templates, items, self.dataset.users)
        self.titles = {i: clean_part(title) for i, title in items.select("item_id", "title").rows()}
        self.rules: list[str] = []
        self.left_out: Counter[str] = Counter()
        self.train = asked.train_events(self.dataset, method, label)
        self.rules += self.train.rules

    def documents(self) -> Iterator[Document]:
        """All documents, table by table. Raises DataError for a file that is not sound."""
        if self.dataset.items.height:
            yield from self._items()
        if self.dataset.reviews is not None:
            yield from self._reviews(self.dataset.reviews)
        if self.dataset.queries is not None and self.dataset.items.height:
            yield from self._queries(self.dataset.queries)
        if self.dataset.dialogs is not None:
            yield from self._dialogues(self.dataset.dialogs)
        if self.dataset.events is not None:
            known = 0 if self.train.events is None else self.train.events.height
            self._leave("events", self.dataset.events.height - known)
        if self.train.events is not None:
            yield from self._behaviour(self.train.events)
        if "train" in self.dataset.requests:
            yield from self._behaviour(self._histories(self.dataset.requests["train"]))

    def _leave(self, what: str, count: int) -> None:
        if count:
            self.left_out[what] += count

    def _items(self) -> Iterator[Document]:
        items = self.dataset.items
        hidden = asked.asked_titles(self.dataset)
        if hidden:
            self.rules.append("items: without those whose titles are to be written")
            items = items.filter(~pl.col("title").is_in(list(hidden)))
        self._leave("items", self.dataset.items.height - items.height)
        texts = [c for c in ("attributes",) if c in items.columns and items[c].dtype != pl.String]
        listed = [c for c in ("category",) if c in items.columns]
        items = items.drop(texts).with_columns(
            pl.col(listed).str.replace_all("|", ", ", literal=True)
        )
        yield from item_documents(self.name, items)

    def _reviews(self, table: pl.DataFrame) -> Iterator[Document]:
        rows = asked.train_reviews(self.dataset, self.train.held)
        self.rules.append("reviews: train part of explanations, without pairs of other parts")
        self._leave("reviews", table.height - rows.height)
        highest = table["rating"].max() if "rating" in table.columns else None
        scale = next((n for n in (5, 10, 100) if isinstance(highest, float) and highest <= n), None)
        for row in rows.iter_rows(named=True):
            yield from self._review(row, scale)

    def _review(self, row: Mapping[str, object], scale: int | None) -> Iterator[Document]:
        rating, item = row.get("rating"), self.titles.get(str(row["item_id"]), "")
        stars = f"rated {rating:g}" if isinstance(rating, float) else ""
        stars += f" of {scale}" if stars and scale else ""
        about = _word(row, "feature")
        text, why = _word(row, "text"), _word(row, "explanation")
        parts = {
            "item": item,
            "rating": ", ".join(part for part in (stars, about) if part),
            "summary": _word(row, "summary"),
            "review": text,
        }
        if text and text != why:
            yield document_of(self.name, "review", text, parts)
        if why:
            user = str(row["user_id"])
            told = [_word(row, "user_summary") or self._profile(user), about]
            parts = {
                "profile": ", ".join(part for part in told if part),
                "item": ". ".join(part for part in (item, _word(row, "item_summary")) if part),
                "explanation": why,
            }
            yield document_of(self.name, "explanation", f"{self.name} {user}", parts)

    def _profile(self, user: str) -> str:
        segment = self.words.profile(user)
        return "" if segment is None else segment.text

    def _queries(self, table: pl.DataFrame) -> Iterator[Document]:
        rows = asked.train_queries(self.dataset, self.train.held)
        self.rules.append("queries: relevant pairs of the train part, by item and by user")
        self._leave("queries", table.height - rows.height)
        for query, item in rows.iter_rows():
            text = f"{self.words.query(clean_part(query)).text}. {self.titles.get(item, '')}"
            yield Document(self.name, "query", f"{self.name} {item}", ("query",), (text,))

    def _dialogues(self, path: Path) -> Iterator[Document]:
        lines = list(read_lines(path))
        sound = list(sound_dialogs(lines))
        train, rule = asked.train_dialogs(sound)
        self.rules.append(f"dialogues: train part of conversation, {rule}")
        self._leave("dialogues", len(lines) - sum(train))
        for dialog in itertools.compress(sound, train):
            key = f"{self.name} {dialog['dialog_id']}"
            documents = list(dialogue_documents(self.name, key, dialog))
            self._leave("dialogues without two turns of words", not documents)
            yield from documents

    def _histories(self, path: Path) -> pl.DataFrame:
        """What published train requests show of users: the longest history of each, and its target.

        The candidates of ranking are left out: what their labels mean is not said.
        """
        longest: dict[str, Request] = {}
        for number, request in enumerate(read_requests(path, EVENTS_OF_A_DOCUMENT)):
            user = request.user_id or f"request {number}"
            if user not in longest or len(request.history) >= len(longest[user].history):
                longest[user] = request
        rows = []
        for user, request in longest.items():
            events = [(user, e.item_id, e.event, e.value, e.text) for e in request.history]
            kinds = Counter(
                kind for _, _, kind, _, _ in events if kind_of(kind).verdict == Verdict.YES
            )
            if request.target is not None and kinds:
                events.append((user, request.target, kinds.most_common(1)[0][0], None, None))
            rows += events
        self.rules.append("requests.train.jsonl: the longest history of each user")
        told = pl.DataFrame(rows, schema=HISTORY, orient="row")
        return told.join(self.train.held, on=asked.PAIR, how="anti", maintain_order="left")

    def _behaviour(self, events: pl.DataFrame) -> Iterator[Document]:
        """Choices, one document for each verb of a user; then judgements, where there are both."""
        events, titles, texts = self._named(events)
        events = self._with_verbs(events)
        for verb in events["verb"].drop_nulls().unique(maintain_order=True):
            chosen = events.filter(pl.col("verb") == verb)
            yield from behaviour_documents(self.name, chosen, verb, titles, texts)
        disliked = self.templates.verb("dislike")
        judged = events.filter(pl.col("judged").is_not_null())
        unhappy = judged.filter(pl.col("judged") == disliked)["user_id"].unique()
        judged = judged.filter(pl.col("user_id").is_in(unhappy.implode()))
        for (user,), mine in judged.group_by(["user_id"], maintain_order=True):
            pairs = mine.select("judged", "item_id").unique(maintain_order=True).iter_rows()
            told = [f"{verb}: {titles[item]}" for verb, item in pairs if titles.get(item)]
            firsts = range(0, len(told), JUDGEMENTS)
            parts = tuple(". ".join(told[first : first + JUDGEMENTS]) for first in firsts)
            if parts:
                roles = ("judgement",) * len(parts)
                yield Document(self.name, "judgement", f"{self.name} {user}", roles, parts)

    def _named(self, events: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, str], dict[str, str]]:
        """Events with an id each, and short and whole text by id (told by the event or a row)."""
        items = self.dataset.items
        titles = dict(self.titles)
        texts = dict(zip(items["item_id"].to_list(), self.words.item_texts(), strict=True))
        if "text" in events.columns:
            known = pl.col("item_id").is_in(items["item_id"].implode()).fill_null(False)
            free = pl.concat_str(pl.lit(FREE), "text")
            events = events.with_columns(
                pl.when(known | pl.col("text").is_null())
                .then("item_id")
                .otherwise(free)
                .alias("item_id")
            )
            for name in events["item_id"].drop_nulls().unique():
                if name.startswith(FREE):
                    titles[name] = texts[name] = clean_part(name[1:])
        return events, titles, texts

    def _with_verbs(self, events: pl.DataFrame) -> pl.DataFrame:
        """Adds `verb`, null for what is no choice, and `judged`, null for what is no judgement."""
        verb = self.templates.verb
        kinds = events["event"].unique().to_list()
        said = {kind: kind_of(kind) for kind in kinds}
        verbs = {
            kind: verb(kind) if says.verdict == Verdict.YES and not says.rated else None
            for kind, says in said.items()
        }
        kind, like, dislike = pl.col("event"), pl.lit(verb("like")), pl.lit(verb("dislike"))
        rule = self._rating_rule(events)
        is_like, is_dislike = kind == "like", kind == "dislike"
        if rule is not None:
            rated = (kind == rule.event) & pl.col("value").is_not_null()
            is_like |= rated & (pl.col("value") >= rule.threshold)
            is_dislike |= rated & (pl.col("value") < rule.threshold)
        told = events.with_columns(
            pl.when(is_like)
            .then(like)
            .when(is_dislike)
            .then(None)
            .otherwise(kind.replace_strict(verbs, default=None, return_dtype=pl.String))
            .alias("verb"),
            pl.when(is_like).then(like).when(is_dislike).then(dislike).alias("judged"),
        )
        untold = told.filter(pl.col("verb").is_null())
        for name, count in untold["event"].value_counts(sort=True).iter_rows():
            self._leave(f"train events as a choice: {name}", count)
        return told

    def _rating_rule(self, events: pl.DataFrame) -> LabelRule | None:
        """From which value on a rating is told as liked; None where nothing says so."""
        if self.label is not None and self.label.by_value:
            return self.label
        ratings = events.filter(pl.col("event") == "rating")
        if ratings.is_empty():
            return None
        try:
            rule = default_rule(ratings)
        except DataError:
            self.rules.append("ratings: not told, since none has a value")
            return None
        self.rules.append(f"ratings: told as liked from {rule.threshold:g} on, else as disliked")
        return rule


def _word(row: Mapping[str, object], name: str) -> str:
    value = row.get(name)
    return clean_part(value) if isinstance(value, str) else ""
