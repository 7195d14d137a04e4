"""Dialogues of dialogs.jsonl: read, cut by dialogue, and turned into replies that are to be given.

What a turn says of its items (`liked`, `seen`) was often written down when the dialogue was over,
so it tells what is still to be said: nothing here hands it on. Who likes what is read from the
words (tasks/dialogue_state.py).
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import polars as pl

from m6rec.data.dialogs import dialog_wrongs
from m6rec.data.files import Broken
from m6rec.data.passages import FIELD, Cutting, Passage, WritingSplit, some
from m6rec.data.published import Line, read_lines
from m6rec.data.schema import SPLIT_SYNONYMS, SPLITS, DataError
from m6rec.data.tables import Dataset
from m6rec.records import Event, ProtocolCard

log = logging.getLogger(__name__)

Role = Literal["user", "system"]
Part = Literal["train", "valid", "test"]
NEW, OLD = "@item", "@same"
"""Stand in a written reply for an item that was not named before, and for one that was."""
LONGEST_TURN = 2000
"""Characters of a turn that are read."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side says. item_ids, titles: what is named in it, in order."""

    role: Role
    text: str
    item_ids: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Talk:
    """One dialogue, its turns in order."""

    dialog_id: str
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """A reply that is to be given: what was said before, and what the person said then.

    For a question to a model `reply` is None.
    """

    dialog_id: str
    before: tuple[Turn, ...]
    reply: Turn | None = None

    @property
    def mentioned(self) -> tuple[str, ...]:
        """Ids of what was named before, in order, each once."""
        return tuple(dict.fromkeys(i for turn in self.before for i in turn.item_ids))


@dataclass(frozen=True)
class TalkSplit:
    """Dialogues to learn from, to choose by and to judge by. Row order of items is item order."""

    train: tuple[Talk, ...]
    valid: tuple[Talk, ...]
    test: tuple[Talk, ...]
    items: pl.DataFrame
    card: ProtocolCard
    limits: Cutting

    def asks(self, part: Part) -> list[Ask]:
        """Every reply of a part, at most `max_train` or `max_eval` of them, drawn by seed.

        Raises DataError where there is none.
        """
        talks: tuple[Talk, ...] = getattr(self, part)
        found = [ask for talk in talks for ask in asks_of(talk)]
        if not found:
            raise DataError(f"the {part} part of {self.card.dataset!r} has no reply to give")
        most = self.limits.max_train if part == "train" else self.limits.max_eval
        return list(some(found, most, self.limits.seed))

    @cached_property
    def counts(self) -> np.ndarray:
        """How often the system named each item in train: int64 [I]."""
        place = {item_id: row for row, item_id in enumerate(self.items["item_id"])}
        named = [i for talk in self.train for t in talk.turns if t.role == "system"
                 for i in t.item_ids]  # fmt: skip
        return np.bincount([place[i] for i in named if i in place], minlength=len(place))


def talk_split(dataset: Dataset, **cutting: Any) -> TalkSplit:
    """Cuts the dialogues of a data set.

    By their `split`; where that has no train part, nine tenths of valid are train; where there is
    none at all, by hash of the dialogue. cutting: limits and shares (`Cutting`). The catalogue is
    the table items, with what only dialogues name behind it. Raises DataError where there are no
    dialogues, or nothing to learn from.
    """
    if dataset.dialogs is None:
        raise DataError(f"{dataset.name}: conversation needs a file dialogs.jsonl")
    limits = Cutting.of(cutting, by="user")
    read = list(read_lines(dataset.dialogs))
    lines = list(sound_dialogs(read))
    unsound = len(read) - len(lines)
    if unsound:
        log.warning(
            "%s: %d of %d lines left out, which are no sound dialogues; `m6rec check` shows them",
            dataset.dialogs,
            unsound,
            len(read),
        )
    talks = [_talk(line) for line in lines]
    part, rule = dialog_parts(lines, limits)
    parts = {
        name: tuple(t for t, p in zip(talks, part.to_list(), strict=True) if p == name)
        for name in SPLITS
    }
    if not parts["train"]:
        raise DataError(f"{dataset.name}: no dialogue of dialogs.jsonl belongs to train or valid")
    items, added = _catalogue(dataset.items, talks)
    card = _card(dataset.name, rule, limits, parts, items.height, added, unsound)
    return TalkSplit(**parts, items=items, card=card, limits=limits)


def asks_of(talk: Talk) -> Iterator[Ask]:
    """What the system says, each with what was said before; a first word is no reply."""
    for place, turn in enumerate(talk.turns):
        if place and turn.role == "system" and turn.text:
            yield Ask(talk.dialog_id, talk.turns[:place], turn)


def reply_passages(split: TalkSplit) -> WritingSplit:
    """The same as passages: turns are events, items of a reply are slots (NEW, OLD)."""
    parts = {name: _passages(split, name) for name in SPLITS}
    return WritingSplit("chat", **parts, items=split.items, users=None, features=(),
                        card=split.card)  # fmt: skip


def passage_of(ask: Ask) -> Passage:
    """A reply to be written; its references are what the person said, with slots."""
    history = tuple(Event(turn.role, text=turn.text) for turn in ask.before)
    return Passage(history=history, references=() if ask.reply is None else (slotted(ask),))


def slotted(ask: Ask) -> str:
    """The reply with a slot in place of each item of the dialogue that it names."""
    assert ask.reply is not None
    known = {title: OLD for turn in ask.before for title in turn.titles}
    fresh = {title: NEW for title in ask.reply.titles if title not in known}
    text = ask.reply.text
    for title, slot in sorted({**known, **fresh}.items(), key=lambda pair: -len(pair[0])):
        if title:
            whole = rf"(?<!\w){re.escape(title)}(?!\w)"
            text = re.sub(whole, slot, text, flags=re.IGNORECASE)
    return text


def _passages(split: TalkSplit, part: str) -> tuple[Passage, ...]:
    if not getattr(split, part):
        return ()
    return tuple(passage_of(ask) for ask in split.asks(part))  # type: ignore[arg-type]


def sound_dialogs(lines: Iterable[tuple[int, Line | Broken]]) -> Iterator[Line]:
    """What of the lines of dialogs.jsonl (`read_lines`) is a dialogue with nothing wrong."""
    seen: set[str] = set()
    for _, line in lines:
        if isinstance(line, dict) and not any(dialog_wrongs(line, seen)):
            yield line


def dialog_parts(dialogs: Sequence[Line], limits: Cutting) -> tuple[pl.Series, str]:
    """train, valid or test for each sound dialogue, and the rule in words.

    Raises DataError for a split that is none.
    """
    given, rule = _given([line.get("split") for line in dialogs], limits)
    ids = pl.Series([str(line["dialog_id"]) for line in dialogs], dtype=pl.String)
    return limits.parts(ids, given), rule


def _talk(line: Line) -> Talk:
    turns = line["turns"]
    assert isinstance(turns, list)  # dialog_wrongs has seen to it
    found = []
    for turn in turns:
        named = turn.get("items") or []
        titles = tuple(_line(str(i.get("title") or "")) for i in named)
        ids = tuple(str(i.get("id") or title) for i, title in zip(named, titles, strict=True))
        text = _line(turn["text"])
        found.append(Turn(turn["role"].lower(), text, ids, titles))
    return Talk(str(line["dialog_id"]), tuple(found))


def _line(text: str) -> str:
    return " ".join(text.split())[:LONGEST_TURN].rstrip()


def _given(told: Sequence[object], limits: Cutting) -> tuple[pl.Series | None, str]:
    """The part that each line names (None: none does), and the rule in words."""
    names = [None if n is None else str(n).strip().lower() for n in told]
    names = [SPLIT_SYNONYMS.get(n, n) if n else None for n in names]
    there = set(names) - {None}
    if not there:
        shares = f"{limits.test_fraction:g} test, {limits.valid_fraction:g} valid"
        return None, f"by hash of the dialogue: {shares}"
    share = f"{limits.valid_fraction:g} of the dialogues of"
    if "train" not in there:
        names = ["train" if n == "valid" else n for n in names]
        rule = f"`split`, without a train part: train is its valid part, valid {share} that by hash"
    else:
        fresh = "" if "valid" in there else f"; valid is {share} train by hash"
        rule = f"`split` of the dialogue{fresh}"
    return pl.Series(names, dtype=pl.String), rule


def _catalogue(items: pl.DataFrame, talks: Sequence[Talk]) -> tuple[pl.DataFrame, int]:
    """The table with what else dialogues name, and how much that is."""
    known = set(items["item_id"]) if items.height else set()
    named = {
        item_id: title or item_id
        for talk in talks
        for turn in talk.turns
        for item_id, title in zip(turn.item_ids, turn.titles, strict=True)
        if item_id not in known
    }
    ids = sorted(named)
    more = pl.DataFrame(
        {"item_id": ids, "title": [named[i] for i in ids]},
        schema={"item_id": pl.String, "title": pl.String},
    )
    found = pl.concat([items, more], how="diagonal") if items.height else more
    if not found.height:
        raise DataError("there is nothing to recommend: no table items, and no dialogue names one")
    return found, len(ids)


def _card(
    name: str,
    rule: str,
    limits: Cutting,
    parts: dict[str, tuple[Talk, ...]],
    size: int,
    added: int,
    unsound: int,
) -> ProtocolCard:
    told = [
        f"at most {most} replies of {of} (seed {limits.seed})"
        for of, most in (("train", limits.max_train), ("a judged part", limits.max_eval))
        if most is not None
    ]
    notes: tuple[str, ...] = (
        "what turns say of items (liked, seen) is not read",
        f"catalogue: {size} items, {added} of them known from dialogues alone, of all parts",
        "recall: each item that the person names in a reply; new: without items named before, "
        "which no list holds either",
    )
    if unsound:
        notes += (f"{unsound} lines of dialogs.jsonl are left out: no sound dialogues",)
    digest = hashlib.sha256()
    for part in ("valid", "test"):
        for talk in parts[part]:
            line = FIELD.join((part, talk.dialog_id, *(turn.text for turn in talk.turns)))
            digest.update(line.encode() + b"\n")
    return ProtocolCard(
        dataset=name,
        task="chat",
        split=rule,
        sort="line of the file",
        filters=("replies: every turn of the system but a first one", *told),
        seen_items="kept",
        candidates=f"all {size} items",
        max_history=0,
        counts={part: len(talks) for part, talks in parts.items()},
        split_hash=digest.hexdigest(),
        notes=notes,
    )


def question(ask: Ask) -> Ask:
    """The same without its answer."""
    return replace(ask, reply=None)
