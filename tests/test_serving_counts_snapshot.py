"""Kept counts of what people chose next: a start from them is a start from nothing, and no more of
a user is on the disk than sums."""

from __future__ import annotations

import json
import logging
import random
from pathlib import Path

import pytest

from m6rec.collaborative.counts import DISTANCE, DISTANCE_BITS, LATER, ROW_SHIFT
from m6rec.collaborative.settings import ScoreSettings
from m6rec.offers import Offer
from m6rec.serving import chosen as chosen_module
from m6rec.serving.chosen import LiveChosen
from m6rec.serving.counts import LiveCounts
from m6rec.serving.known import Known
from m6rec.stores.journal.sqlite import SqliteJournal
from m6rec.stores.vectors.snapshot import CURRENT
from m6rec.tasks.shelf import Shelf

KINDS = ("click",) * 6 + ("purchase", "purchase", "refund", "dislike", "unlike", "like", "rating")
PEOPLE = [f"person {n}" for n in range(5)]


def opened(journal: SqliteJournal, folder: Path | None, items: str = "abcdef") -> LiveCounts:
    shelf, known = Shelf(), Known.read(journal)
    shelf.put(list(items), [Offer() for _ in items])
    chosen = LiveChosen(journal, known, shelf, ScoreSettings(best_per_item=3), folder)
    return LiveCounts(journal, known, shelf, None, chosen, folder)


def sums(live: LiveCounts) -> dict[tuple[str, str, int], int]:
    """By the names of the items."""
    assert live.chosen is not None
    names, counts = list(live.chosen.live.codes), live.chosen.live.counts()
    return {
        (names[key >> ROW_SHIFT], names[key >> DISTANCE_BITS & LATER], key & DISTANCE): times
        for key, times in zip(counts.key_P.tolist(), counts.count_P.tolist(), strict=True)
    }


def tell(journal: SqliteJournal, draw: random.Random, events: int, timed: bool = True) -> None:
    for step in range(events):
        kind = draw.choice(KINDS)
        body = {"user_id": draw.choice(PEOPLE), "event": kind, "item_id": draw.choice("abcdefgh")}
        if kind == "rating":
            body["value"] = draw.choice([1.0, 3.0, 5.0])
        if timed and draw.random() < 0.9:
            body["timestamp"] = float(draw.choice([step, draw.randrange(step + 1)]))
        journal.append("event", [body])


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_a_start_from_kept_counts_is_a_start_from_nothing(
    seed: int, timed: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    draw, journal = random.Random(seed), SqliteJournal()
    tell(journal, draw, 40, timed)
    live = opened(journal, tmp_path)
    for _ in range(4):
        tell(journal, draw, draw.randrange(12), timed)  # the server counts these live
        live.save()
        tell(journal, draw, draw.randrange(12), timed)  # and these came while it was closed
        live = opened(journal, tmp_path, items=draw.choice(["abcdef", "fxbaedc"]))
        assert sums(live) == sums(opened(journal, None))
    assert not caplog.records  # what was kept was taken over every time


def test_kept_counts_are_not_counted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = SqliteJournal()
    tell(journal, random.Random(1), 60)
    live = opened(journal, tmp_path)
    live.save()
    sizes: list[int] = []
    count = chosen_module.count

    def counted(blocks, items):  # type: ignore[no-untyped-def]
        held = list(blocks)
        sizes.extend(map(len, held))
        return count(held, items)

    monkeypatch.setattr(chosen_module, "count", counted)
    assert sums(opened(journal, tmp_path)) == sums(live) and sum(sizes) == 0


def test_an_erasure_leaves_nothing_of_it_on_the_disk(tmp_path: Path) -> None:
    journal = SqliteJournal()
    tell(journal, random.Random(2), 60)
    live = opened(journal, tmp_path)
    live.save()
    journal.erase_user(PEOPLE[0])
    live.catch_up()
    assert not (tmp_path / CURRENT).exists()
    live.save()
    journal.erase_user(PEOPLE[1])  # by another server, while this one is closed
    again = opened(journal, tmp_path)
    assert not (tmp_path / CURRENT).exists()
    assert sums(again) == sums(opened(journal, None))


def test_nobody_is_named_in_what_is_kept(tmp_path: Path) -> None:
    journal = SqliteJournal()
    tell(journal, random.Random(3), 60)
    opened(journal, tmp_path).save()
    held = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"person" not in held and held


def damage(folder: Path) -> None:
    keys = next(folder.rglob("keys.npy"))
    keys.write_bytes(keys.read_bytes()[:-3] + b"abc")


def shorten(folder: Path) -> None:
    next(folder.rglob("counts.npy")).unlink()


def test_damaged_and_foreign_counts_are_left_aside_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = SqliteJournal()
    tell(journal, random.Random(4), 60)
    for number, harm in enumerate((damage, shorten)):
        folder = tmp_path / str(number)
        opened(journal, folder).save()
        harm(folder)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert sums(opened(journal, folder)) == sums(opened(journal, None))
        assert "left aside" in caplog.text
    folder, other = tmp_path / "foreign", SqliteJournal()
    tell(other, random.Random(5), 90)
    opened(other, folder).save()
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert sums(opened(journal, folder)) == sums(opened(journal, None))
    assert "another journal" in caplog.text


def test_counts_from_beyond_the_journals_end_are_left_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    longer, shorter = SqliteJournal(), SqliteJournal()
    tell(longer, random.Random(6), 60)
    tell(shorter, random.Random(6), 30)
    monkeypatch.setattr(SqliteJournal, "name", "one and the same")
    opened(longer, tmp_path).save()
    with caplog.at_level(logging.WARNING):
        assert sums(opened(shorter, tmp_path)) == sums(opened(shorter, None))
    assert "beyond the journal's end" in caplog.text


def test_counts_that_do_not_fit_the_journal_are_left_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As those of a copy of the journal that went its own way."""
    journal, other = SqliteJournal(), SqliteJournal()
    tell(journal, random.Random(7), 60)
    live = opened(other, tmp_path)
    assert live.chosen is not None
    live.chosen._journal = journal  # it is named so, and holds nothing of it
    live.save()
    about = json.loads(next(tmp_path.rglob("manifest.json")).read_text())
    assert about["number"] == 0
    with caplog.at_level(logging.WARNING):
        assert sums(opened(journal, tmp_path)) == sums(opened(journal, None))
