"""Dialogues as replies to be given: parts, slots, the catalogue, nothing of what comes later."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from m6rec.data import tables
from m6rec.data.schema import DataError
from m6rec.data.tables import Dataset
from m6rec.data.talks import NEW, OLD, Ask, Turn, question, reply_passages, slotted, talk_split
from m6rec.training.corpus.asked import train_dialogs
from talk_worlds import dataset, dialog, parts


def test_parts_are_those_that_the_dialogues_name(tmp_path: Path) -> None:
    split = talk_split(dataset(tmp_path, split=parts))
    assert [t.dialog_id for t in split.test] == [f"d{n}" for n in range(20, 30)]
    assert dict(split.card.counts) == {"train": 10, "valid": 10, "test": 10}


def test_without_a_train_part_nine_tenths_of_valid_are_train(tmp_path: Path) -> None:
    data = dataset(tmp_path, 100, lambda n: "test" if n % 2 else "valid")
    split = talk_split(data)
    assert len(split.test) == 50 and len(split.train) + len(split.valid) == 50
    assert 1 <= len(split.valid) <= 12
    assert "train is its valid part" in split.card.split


def test_without_any_split_the_hash_of_the_dialogue_decides_as_in_pretraining(
    tmp_path: Path,
) -> None:
    split = talk_split(dataset(tmp_path, 60))
    ids = [f"d{n}" for n in range(60)]
    kept, _ = train_dialogs([{"dialog_id": i} for i in ids])
    assert [t.dialog_id for t in split.train] == [i for i, k in zip(ids, kept, strict=True) if k]


def test_replies_of_a_dialogue_see_only_what_was_said_before(tmp_path: Path) -> None:
    split = talk_split(dataset(tmp_path, split=parts))
    asks = split.asks("test")
    assert len(asks) == 30
    offer = asks[1]
    assert offer.reply is not None and offer.reply.item_ids == ("green-tent",)
    assert [t.role for t in offer.before] == ["user", "system", "user"]
    assert offer.mentioned == ("green-shoe",)
    assert question(offer).reply is None


def test_a_reply_has_slots_for_new_items_and_for_known_ones(tmp_path: Path) -> None:
    split = talk_split(dataset(tmp_path, split=parts))
    texts = [slotted(ask) for ask in split.asks("test")[:3]]
    assert texts == ["what are you looking for?", f"if you love the {OLD} get a {NEW}",
                     f"then a {NEW}"]  # fmt: skip


def test_the_longest_title_takes_the_slot_and_parts_of_words_take_none() -> None:
    reply = Turn("system", "Lampoon or lamp or Lamp Two", ("1", "2"), ("Lamp", "Lamp Two"))
    assert slotted(Ask("d", (), reply)) == f"Lampoon or {NEW} or {NEW}"


def test_labels_of_items_are_not_handed_on(tmp_path: Path) -> None:
    data = dataset(tmp_path, split=parts)
    line = dialog(0, "train")
    bare = json.dumps(line).replace(', "liked": true', "")
    other = tmp_path / "bare.jsonl"
    other.write_text(bare + "\n")
    assert talk_split(replace(data, dialogs=other)).train == talk_split(data).train[:1]


def test_passages_are_turns_as_events_and_the_slotted_reply(tmp_path: Path) -> None:
    passages = reply_passages(talk_split(dataset(tmp_path, split=parts))).test
    assert passages[1].references == (f"if you love the {OLD} get a {NEW}",)
    assert [(e.event, e.text) for e in passages[1].history][1:] == [
        ("system", "what are you looking for?"),
        ("user", "something green"),
    ]


def test_items_that_only_dialogues_name_stand_behind_the_table(tmp_path: Path) -> None:
    data = dataset(tmp_path, split=parts)
    split = talk_split(replace(data, items=data.items.head(4)))
    assert split.items["item_id"].to_list()[:4] == data.items["item_id"].to_list()[:4]
    assert sorted(split.items["item_id"]) == sorted(data.items["item_id"])
    assert split.items["title"].null_count() == 0
    assert "5 of them known from dialogues alone" in split.card.notes[1]


def test_counts_are_of_train_and_of_what_the_system_names(tmp_path: Path) -> None:
    split = talk_split(dataset(tmp_path, split=parts))
    named = dict(zip(split.items["item_id"], split.counts.tolist(), strict=True))
    # Ten dialogues of train: 0, 3, 6, 9 are red; the tent and the lamp are offered, not the shoe.
    assert named["red-tent"] == 4 and named["red-shoe"] == 0 and sum(named.values()) == 20


def test_limits_are_on_the_card(tmp_path: Path) -> None:
    split = talk_split(dataset(tmp_path, split=parts), max_eval=7)
    assert len(split.asks("test")) == 7
    assert "at most 7 replies of a judged part (seed 0)" in split.card.filters


def test_what_can_not_be_talked_about_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"needs a file dialogs\.jsonl"):
        talk_split(Dataset(name="none"))
    with pytest.raises(DataError, match="belongs to train or valid"):
        talk_split(dataset(tmp_path, split=lambda n: "test"))
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"dialog_id": "a", "turns": []}\nnot json\n')
    with pytest.raises(DataError):
        talk_split(Dataset(name="broken", dialogs=broken))


def test_redial_is_learned_from_its_valid_part(shared_data: Callable[[str], Path]) -> None:
    split = talk_split(tables.load(shared_data("redial")))
    assert dict(split.card.counts) == {"train": 810, "valid": 91, "test": 1342}
    assert split.items.height == 2934
