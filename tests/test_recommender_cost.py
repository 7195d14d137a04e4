"""What a call costs, counted in operations: none grows with the catalogue or the log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from rich.console import Console

import tiny
from m6rec import M6Rec
from m6rec.text import templates
from m6rec.text.tokenizer import Tokenizer

MORE_ITEMS = 400
LONG = 300
"""Rows of no table that a question of a few histories needs; catalogue and log have more."""
READS = ("filter", "join", "group_by", "sort", "unique", "with_columns", "rows")
COLUMN_READS = ("to_list", "__iter__", "is_in", "rle", "arg_sort")


@pytest.fixture(scope="module")
def rec() -> M6Rec:
    data = tiny.shop(users=60)
    more = [
        {"item_id": f"m{n}", "title": f"green hat {n}", "category": "hat"}
        for n in range(MORE_ITEMS)
    ]
    data = replace(data, items=pl.concat([data.items, pl.DataFrame(more)]))
    assert data.events is not None
    assert min(data.items.height, data.events.height) > LONG
    face = M6Rec(*tiny.backbone())
    face.fit("rank", data, split="temporal", train={"epochs": 1}, console=Console(quiet=True))
    return face.use(data)


class Count:
    """Templates compiled, texts encoded, and the longest table that was gone through."""

    def __init__(self) -> None:
        self.compiled, self.encoded, self.longest = 0, 0, 0


@contextmanager
def counting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Count]:
    count = Count()
    compile_template, encode_batch = templates.compile_template, Tokenizer.encode_batch

    def compiling(*told: Any) -> Any:
        count.compiled += 1
        return compile_template(*told)

    def encoding(self: Tokenizer, texts: Any, budgets: Any) -> Any:
        count.encoded += len(texts)
        return encode_batch(self, texts, budgets)

    def reading(kind: type, name: str) -> Callable[..., Any]:
        before = getattr(kind, name)

        def read(self: Any, *told: Any, **named: Any) -> Any:
            count.longest = max(count.longest, len(self))
            return before(self, *told, **named)

        return read

    with monkeypatch.context() as patch:
        patch.setattr(templates, "compile_template", compiling)
        patch.setattr(Tokenizer, "encode_batch", encoding)
        for kind, names in ((pl.DataFrame, READS), (pl.Series, COLUMN_READS)):
            for name in names:
                patch.setattr(kind, name, reading(kind, name))
        yield count


TOLD = ["bought: red shoe", "rated 4/5: blue lamp", "green tent"]
USERS: list[str | None] = [f"u{n}" for n in range(20)]
CALLS: dict[str, Callable[[M6Rec], object]] = {
    "recommend": lambda rec: rec.recommend(TOLD, k=3),
    "recommend a user": lambda rec: rec.recommend(user_id="u3", k=3),
    "recommend a newcomer": lambda rec: rec.recommend(user_id="nobody", k=3),
    "recommend_batch": lambda rec: rec.recommend_batch([TOLD] * 40),
    "recommend_batch of users": lambda rec: rec.recommend_batch([()] * 20, user_ids=USERS),
    "rank": lambda rec: rec.rank(TOLD, ["blue tent", "red hat"]),
    "rank for a user": lambda rec: rec.rank((), {"red-hat": "red hat"}, user_id="u1"),
    "score": lambda rec: rec.score(TOLD, ["blue tent", "red hat"]),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_second_call_compiles_nothing_encodes_nothing_and_goes_through_no_long_table(
    rec: M6Rec, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    first = CALLS[name](rec)
    with counting(monkeypatch) as count:
        second = CALLS[name](rec)
    assert second == first
    assert (count.compiled, count.encoded) == (0, 0)
    assert count.longest < LONG


def test_the_counter_sees_what_it_counts(rec: M6Rec, monkeypatch: pytest.MonkeyPatch) -> None:
    with counting(monkeypatch) as count:
        rec.use(replace(rec.dataset, name="the same, opened anew"))  # type: ignore[type-var]
        rec.recommend(["bought: a thing that nobody named"], k=3)
    assert count.encoded >= 1
    assert count.longest > LONG
    templates._compiled_once.cache_clear()
    with counting(monkeypatch) as count:
        templates.Templates.load()
    assert count.compiled > 10


def test_a_batch_of_users_and_of_histories_keeps_their_order(rec: M6Rec) -> None:
    histories: list[Any] = [(), TOLD, (), ["bought: green hat"], ()]
    users = ["u1", None, "nobody", "u2", "u2"]
    together = rec.recommend_batch(histories, user_ids=users, k=5)
    alone = [
        rec.recommend(history, user_id=user, k=5)
        for history, user in zip(histories, users, strict=True)
    ]
    for many, one in zip(together, alone, strict=True):
        assert [found.item_id for found in many] == [found.item_id for found in one]
        assert [found.score for found in many] == pytest.approx([f.score for f in one], abs=1e-5)
