"""Splits of small logs, worked by hand: who is asked what, after which history."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

import data_worlds as worlds
from m6rec.data.labels import LabelRule
from m6rec.data.options import METHODS, SplitOptions
from m6rec.data.requests import Requests
from m6rec.data.schema import DataError
from m6rec.data.splits import few_shot, make_split
from m6rec.data.tables import Dataset, load


def told(requests: Requests) -> list[str]:
    """Each request as "user: history > target" or "user: history ? candidate=label"."""
    lines = []
    for request in requests:
        history = "".join(str(event.item_id) for event in request.history)
        asked = f"> {request.target}"
        if request.labels:
            asked = f"? {request.candidates[0].item_id}={request.labels[0]:g}"
        lines.append(f"{request.user_id}: {history} {asked}")
    return lines


def clicks(user: str, items: str, times: list[float]) -> list[worlds.EventRow]:
    return [(user, item, "click", time) for item, time in zip(items, times, strict=True)]


TWO_USERS = worlds.dataset(
    "abcde", clicks("u", "abcde", [0, 2, 4, 6, 8]) + clicks("v", "edcba", [1, 3, 5, 7, 9])
)


def test_temporal_split() -> None:
    split = make_split(TWO_USERS, method="temporal", valid_fraction=0.2, test_fraction=0.2)
    assert told(split.train) == ["u: a > b", "u: ab > c", "v: e > d", "v: ed > c"]
    assert told(split.valid) == ["u: abc > d", "v: edc > b"]
    assert told(split.test) == ["u: abcd > e", "v: edcb > a"]
    assert split.train_events["timestamp"].to_list() == [0, 2, 4, 1, 3, 5]
    assert split.train_item_ids == frozenset("abcde")
    card = split.card
    assert card.split.startswith("temporal: valid from 6 s (1970-01-01 00:00 UTC), test from 8 s")
    assert dict(card.counts) == {
        "train": 4,
        "valid": 2,
        "test": 2,
        "items": 5,
        "items_in_train": 5,
        "train_events": 6,
        "test_users": 2,
        "test_targets_not_in_train": 0,
    }
    assert card.candidates == "the whole catalogue" and card.seen_items == "kept"


def test_leave_one_out_split_tells_the_whole_past_and_notes_the_later_train() -> None:
    split = make_split(TWO_USERS, method="leave-one-out")
    assert told(split.valid) == ["u: abc > d", "v: edc > b"]
    assert told(split.test) == ["u: abcd > e", "v: edcb > a"]
    assert told(split.train) == ["u: a > b", "u: ab > c", "v: e > d", "v: ed > c"]
    assert any("later than some test requests" in note for note in split.card.notes)


def test_a_random_split_draws_one_event_of_each_user_for_test_and_one_for_valid() -> None:
    users = [f"u{n}" for n in range(200)]
    data = worlds.dataset("abcde", [(u, i, "click", None) for u in users for i in "abcde"])
    split = make_split(data, method="random", seed=3)
    assert split.card.split.startswith("random: of each user one event to judge is test")
    assert "seed 3" in split.card.split and any("no order" in note for note in split.card.notes)
    for past, requests in ((3, split.valid), (4, split.test)):
        for request in requests:
            known = [event.item_id for event in request.history]
            assert len(set(known)) == past and request.target not in known
    for part in (split.valid, split.test):  # any item alike, not the last rows of the file
        counts = part.rows["target"].value_counts()["count"]
        assert len(counts) == 5 and counts.min() > 20
    held = pl.concat([split.valid.rows, split.test.rows]).select("user_id", item_id="target")
    assert held.join(split.train_events, on=["user_id", "item_id"]).is_empty()
    assert split.train_events.height == 600
    again = make_split(data, method="random", seed=3)
    assert again.card.split_hash == split.card.split_hash
    assert make_split(data, method="random", seed=4).card.split_hash != split.card.split_hash


def test_a_log_with_an_order_is_not_split_at_random() -> None:
    with pytest.raises(DataError, match="use temporal or leave-one-out"):
        make_split(TWO_USERS, method="random")


def test_users_with_little_history_stay_in_train() -> None:
    rows = clicks("u", "abc", [1, 2, 3]) + clicks("v", "ab", [1, 2]) + clicks("w", "d", [1])
    split = make_split(worlds.dataset("abcd", rows), method="leave-one-out")
    assert told(split.test) == ["u: ab > c"] and told(split.valid) == ["u: a > b"]
    assert told(split.train) == ["v: a > b"]
    assert told(make_split(worlds.dataset("abcd", rows), min_history=0).train)[-1] == "w:  > d"


def test_split_by_column_hides_later_parts_from_train_histories() -> None:
    rows = clicks("u", "abcde", [1, 2, 3, 4, 5])
    parts = ["train", "test", "train", "valid", "later"]
    split = make_split(worlds.dataset("abcde", rows, split=parts), method="column")
    assert told(split.train) == ["u: a > c"]
    assert told(split.test) == ["u: a > b"]
    assert told(split.valid) == ["u: abc > d"]
    assert split.train_events["item_id"].to_list() == ["a", "c"]


def test_unseen_item_split_takes_items_out_of_train() -> None:
    rows = [row for user in "uvwxyz" for row in clicks(user, "abcdefghij", list(range(10)))]
    data = worlds.dataset("abcdefghij", rows)
    split = make_split(data, method="unseen-item", valid_fraction=0.2, test_fraction=0.2)
    targets = {
        name: set(getattr(split, name).rows["target"]) for name in ("train", "valid", "test")
    }
    assert len(targets["test"]) == 2 and len(targets["valid"]) == 2
    assert not targets["test"] & targets["valid"]
    held_out = targets["test"] | targets["valid"]
    assert not held_out & targets["train"] and not held_out & split.train_item_ids
    assert not held_out & set(split.train_events["item_id"])
    assert not held_out & set(split.train.pool["item_id"])
    assert split.card.counts["test_targets_not_in_train"] == len(split.test)


def test_baskets_do_not_tell_about_their_own_items() -> None:
    rows = clicks("u", "abcdef", [1, 1, 2, 2, 3, 3])
    data = worlds.dataset("abcdef", rows)
    shares = {"valid_fraction": 0.3, "test_fraction": 0.3}
    auto = make_split(data, method="temporal", **shares)  # type: ignore[arg-type]
    assert told(auto.test) == ["u: abcd > e", "u: abcd > f"]
    keep = make_split(data, method="temporal", same_time="keep", **shares)  # type: ignore[arg-type]
    assert told(keep.test) == ["u: abcd > e", "u: abcde > f"]
    assert auto.card.notes[0].endswith("exclude") and keep.card.notes[0].endswith("keep")
    assert auto.card.split_hash == keep.card.split_hash


def test_equal_times_keep_the_order_of_the_file() -> None:
    data = worlds.dataset("abc", clicks("u", "cab", [1, 1, 1]))
    assert told(make_split(data, method="leave-one-out").test) == ["u: ca > b"]


def test_impressions_are_in_no_history_unless_asked_for() -> None:
    rows: list[worlds.EventRow] = [
        ("u", "a", "click", 1.0),
        ("u", "b", "impression", 2.0),
        *clicks("u", "cd", [3, 4]),
    ]
    data = worlds.dataset("abcd", rows)
    assert told(make_split(data, method="leave-one-out").test) == ["u: ac > d"]
    shown = make_split(data, method="leave-one-out", history_without=frozenset())
    assert told(shown.test) == ["u: abc > d"]


def test_ranking_by_kinds_judges_what_was_shown() -> None:
    rows: list[worlds.EventRow] = [
        ("u", "a", "click", None),
        ("u", "b", "impression", 1.0),
        ("u", "c", "impression", 1.0),
        ("u", "c", "click", 2.0),
        ("u", "d", "impression", 3.0),
        ("u", "e", "impression", 5.0),
        ("u", "e", "click", 6.0),
    ]
    data = worlds.dataset("abcde", rows, request_id=[None, "1", "1", "1", "2", "3", "3"])
    split = make_split(data, "rank", "temporal", valid_fraction=0.25, test_fraction=0.25)
    assert told(split.train) == ["u: a ? b=0", "u: a ? c=1"]
    assert told(split.valid) == ["u: ac ? d=0"]
    assert told(split.test) == ["u: ac ? e=1"]
    assert split.card.counts["test_labels"] == split.card.counts["test_labels_positive"] == 1
    assert "events of unknown time are past only" in split.card.filters[0]


def test_ranking_by_value_judges_every_rating() -> None:
    rows: list[worlds.EventRow] = [
        ("u", i, "rating", t) for i, t in zip("abcd", range(4), strict=True)
    ]
    data = worlds.dataset("abcd", rows, value=[5.0, 1.0, 4.0, 3.0])
    rule = LabelRule(event="rating", threshold=4)
    split = make_split(data, "rank", "leave-one-out", label=rule)
    assert told(split.train) == ["u:  ? a=1", "u: a ? b=0"]
    assert told(split.valid) == ["u: ab ? c=1"] and told(split.test) == ["u: abc ? d=0"]
    assert split.card.filters[0] == "labels: rating >= 4"
    assert split.card.candidates == "those of the request"


def test_events_that_no_word_describes_are_left_out_and_counted() -> None:
    rows = clicks("u", "axbcd", [1, 2, 3, 4, 5])
    data = worlds.dataset("abcd", rows)
    split = make_split(data, method="leave-one-out")
    assert told(split.test) == ["u: abc > d"]
    assert any("1 event" in words for words in split.card.filters)
    texts = worlds.dataset("abcd", rows, text=[None, "a red hat", None, None, None])
    assert told(make_split(texts, method="leave-one-out").test) == ["u: axbc > d"]


def test_limits_are_kept_and_told() -> None:
    rows = [row for user in "uvw" for row in clicks(user, "abcde", [1, 2, 3, 4, 5])]
    data = worlds.dataset("abcde", rows)
    split = make_split(
        data,
        method="leave-one-out",
        max_history=2,
        max_train_per_user=1,
        max_eval=2,
        seed=5,
    )
    assert told(split.train) == ["u: ab > c", "v: ab > c", "w: ab > c"]
    assert len(split.test) == len(split.valid) == 2
    assert told(split.test)[0].endswith(": cd > e")
    assert "max_train_per_user 1 (newest)" in split.card.filters
    assert "max_eval 2 (seed 5)" in split.card.filters
    assert len(make_split(data, method="leave-one-out", max_train=4).train) == 4


def test_auto_takes_the_first_method_that_the_data_allow() -> None:
    untimed = [(u, i, "click", None) for u in "uv" for i in "abc"]
    parts = ["train", "valid", "test"] * 2
    cases = {
        "column": worlds.dataset("abc", untimed, split=parts),
        "leave-one-out": worlds.dataset("abc", untimed, position=[0, 1, 2] * 2),
        "random": worlds.dataset("abc", untimed),
        "temporal": TWO_USERS,
    }
    for method, data in cases.items():
        card = make_split(data, valid_fraction=0.2, test_fraction=0.2).card
        assert card.split.startswith(method)
        assert card.notes[-1] == "the method was chosen by 'auto'"


PAST = [{"event": "click", "item_id": "a"}, {"event": "click", "item_id": "gone"}]


def published(tmp_path: Path, **lines: list[dict[str, object]]) -> Dataset:
    """The events of TWO_USERS with requests files beside them."""
    assert TWO_USERS.events is not None
    TWO_USERS.items.write_csv(tmp_path / "items.csv")
    TWO_USERS.events.write_csv(tmp_path / "events.csv")
    for split, rows in lines.items():
        worlds.write(tmp_path, {f"requests.{split}.jsonl": worlds.jsonl(rows)})
    return load(tmp_path)


def test_published_requests_are_used_as_they_stand(tmp_path: Path) -> None:
    row = {"user_id": "u", "history": PAST, "target": "e", "timestamp": 6}
    data = published(tmp_path, valid=[row], test=[row | {"timestamp": 7}, row])
    split = make_split(data)
    assert split.card.split.startswith("published")
    assert told(split.valid) == ["u: a > e"] and told(split.test) == ["u: a > e"] * 2
    assert told(split.train) == ["u: a > b", "u: ab > c", "v: e > d", "v: ed > c"]
    assert split.train_events["timestamp"].max() == 5
    assert any("before the first published request (6 s)" in note for note in split.card.notes)


def test_limits_hold_for_published_requests(tmp_path: Path) -> None:
    row = {"user_id": "u", "history": PAST, "target": "e", "timestamp": 6}
    rows = [row | {"timestamp": time} for time in range(6, 16)]
    split = make_split(published(tmp_path, valid=rows, test=rows), max_eval=3, seed=1)
    assert len(split.valid) == len(split.test) == 3
    assert any("before the first published request (6 s)" in note for note in split.card.notes)
    assert "max_eval 3 (seed 1)" in split.card.filters
    data = published(tmp_path, train=rows, test=rows)
    assert len(make_split(data, max_train=4).train) == 4
    with pytest.raises(DataError, match=r"max_train_per_user .* use max_train"):
        make_split(data, max_train_per_user=2)


def test_published_requests_take_train_from_the_split_column(tmp_path: Path) -> None:
    data = published(tmp_path, test=[{"history": [], "target": "e"}])
    assert data.events is not None
    parts = pl.Series("split", ["train"] * 3 + ["test"] * 7)
    split = make_split(replace(data, events=data.events.with_columns(parts)))
    assert told(split.train) == ["u: a > b", "u: ab > c"] and len(split.valid) == 0


def test_published_requests_without_a_place_in_time_leave_train_empty(tmp_path: Path) -> None:
    split = make_split(published(tmp_path, test=[{"history": [], "target": "e"}]))
    assert len(split.train) == 0 and split.train_events.height == 0
    assert any(note.startswith("train is empty") for note in split.card.notes)


def test_few_shot_protocols_train_on_the_valid_file(tmp_path: Path) -> None:
    def row(label: int) -> dict[str, object]:
        past = [{"event": "like", "text": "b"}]
        return {"history": past, "candidates": [{"text": "x"}], "labels": [label]}

    rows = {"valid": [row(i % 2) for i in range(10)], "test": [row(1)]}
    files = {f"requests.{name}.jsonl": worlds.jsonl(lines) for name, lines in rows.items()}
    split = make_split(load(worlds.write(tmp_path, files)), "rank")
    assert (len(split.train), len(split.valid), len(split.test)) == (10, 0, 1)
    shots = few_shot(split, 4, seed=1)
    assert len(shots.train) == shots.card.counts["train"] == 4
    assert shots.card.notes[-1] == "train: 4 requests drawn with seed 1"
    assert shots.card.split_hash == split.card.split_hash


def test_published_items_without_words_are_refused(tmp_path: Path) -> None:
    data = published(tmp_path, test=[{"history": [], "target": "zzz"}])
    with pytest.raises(DataError, match=r"requests.test.jsonl, request 1: item 'zzz' has no row"):
        make_split(data)
    with pytest.raises(DataError, match=r"needs requests\.test\.jsonl with the key 'candidates'"):
        make_split(data, "rank", "published")


def labelled(positives: str, negatives: str) -> Dataset:
    """Ten ratings of one user to learn from, two of another to judge by."""
    letters = positives + negatives
    rows: list[worlds.EventRow] = [("u", i, "rating", 1.0 + t) for t, i in enumerate(letters)]
    rows += [("v", letters[0], "rating", 1.0), ("v", letters[-1], "rating", 2.0)]
    values = [5.0] * len(positives) + [1.0] * len(negatives) + [5.0, 1.0]
    return worlds.dataset("abcdefghij", rows, value=values, split=["train"] * 10 + ["test"] * 2)


def test_few_shots_have_every_class_and_repeat_with_their_seed() -> None:
    split = make_split(labelled("a", "bcdefghij"), "rank", "column")
    for seed in range(20):
        shots = few_shot(split, 2, seed)
        assert sorted(label for request in shots.train for label in request.labels) == [0.0, 1.0]
        assert told(few_shot(split, 2, seed).train) == told(shots.train)
    assert len({tuple(told(few_shot(split, 4, seed).train)) for seed in range(20)}) > 5
    for shots_asked in (1, 11):
        with pytest.raises(DataError, match=r"right is 2 \(one of each class\) to 10"):
            few_shot(split, shots_asked)


def test_a_catalogue_of_one_item_is_split_like_any_other() -> None:
    data = worlds.dataset("a", clicks("u", "aaa", [1, 2, 3]))
    assert told(make_split(data, method="leave-one-out").test) == ["u: aa > a"]
    with pytest.raises(DataError, match="1 items are too few"):
        make_split(data, method="unseen-item")


def test_logs_without_a_question_are_refused() -> None:
    with pytest.raises(DataError, match="no event can be foreseen"):
        make_split(worlds.dataset("a", [("u", "a", "impression", 1.0)]))
    with pytest.raises(DataError, match="no event can be foreseen"):
        make_split(worlds.dataset("", clicks("u", "abc", [1, 2, 3])))
    with pytest.raises(DataError, match="there is no events table"):
        make_split(Dataset("by hand", items=worlds.items("a")))
    with pytest.raises(DataError, match="all 3 labels are positive"):
        data = worlds.dataset("abc", clicks("u", "abc", [1, 2, 3]))
        make_split(data, "rank", label=LabelRule())
    with pytest.raises(DataError, match=r"no test request is left.*or min_history=0"):
        make_split(worlds.dataset("ab", clicks("u", "a", [1]) + clicks("v", "b", [1])))
    with pytest.raises(DataError, match="no column 'split'"):
        make_split(TWO_USERS, method="column")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_history": 0}, "max_history = 0: right is 1 or more"),
        ({"min_history": -1}, "min_history = -1: right is 0 or more"),
        ({"valid_fraction": 0.5, "test_fraction": 0.5}, "below 1 together"),
        ({"test_fraction": 0.0}, "above 0 each"),
    ],
)
def test_options_without_sense_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        SplitOptions(**options)  # type: ignore[arg-type]


def test_unknown_methods_are_refused_with_the_known_ones() -> None:
    with pytest.raises(DataError, match=f"right is auto, {', '.join(METHODS)}"):
        make_split(TWO_USERS, method="shuffled")  # type: ignore[arg-type]
