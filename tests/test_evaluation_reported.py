"""Figures of others are shown where the protocol is the same, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import pytest

import evaluation_worlds as worlds
from m6rec.config import ConfigError
from m6rec.evaluation.baselines.popularity import popularity
from m6rec.evaluation.report import minutes, report_html
from m6rec.evaluation.reported import parse_reported, reported_for
from m6rec.evaluation.result import Result
from m6rec.evaluation.retrieval import evaluate_retrieval
from m6rec.evaluation.summary import sections
from m6rec.metrics.bootstrap import Resampling

TEXT = """
[[protocol]]
dataset = "by hand"
split = "leave-one-out"
test = 7
items = 5
split_hash = "abc"

[[protocol.figure]]
model = "GRU"
who = "published"
metrics = { "hr@10" = 0.25 }
source = "a paper"
"""
CARD = replace(worlds.card(), counts={"test": 7, "items": 5}, split_hash="other")
AMAZON = replace(
    worlds.card(),
    dataset="amazon_industrial",
    split="published: requests.valid.jsonl and requests.test.jsonl as they stand",
    counts={"test": 4533, "items": 3686},
)


def models(**fields: object) -> list[str]:
    card = replace(CARD, **fields)  # type: ignore[arg-type]
    return [one.model for one in reported_for(card, parse_reported(TEXT, "by hand"))]


def test_the_same_requests_by_hash_or_the_same_data_split_and_sizes_match() -> None:
    assert models() == ["GRU"]
    assert models(dataset="my copy", split_hash="abc") == ["GRU"]


@pytest.mark.parametrize(
    "fields",
    [
        {"dataset": "another"},
        {"split": "temporal"},
        {"counts": {"test": 8, "items": 5}},
        {"counts": {"test": 7, "items": 6}},
        {"seen_items": "masked"},
        {"seen_items": "masked", "split_hash": "abc"},
    ],
)
def test_another_protocol_shows_nothing(fields: dict[str, object]) -> None:
    assert models(**fields) == []


def test_figures_without_the_items_of_the_history_stand_beside_such_results_alone() -> None:
    text = TEXT.replace('split_hash = "abc"', 'split_hash = "abc"\nseen_items = "masked"')
    protocols = parse_reported(text, "by hand")
    for seen, found in (("masked", 1), ("kept", 0)):
        for split_hash in ("abc", "other"):
            card = replace(CARD, seen_items=seen, split_hash=split_hash)  # type: ignore[arg-type]
            assert len(reported_for(card, protocols)) == found


def test_few_shots_have_figures_of_their_own() -> None:
    text = TEXT.replace('split_hash = "abc"', 'train = 16\nsplit_hash = "abc"')
    protocols = parse_reported(text, "by hand")
    for shots, found in ((16, 1), (64, 0)):
        card = replace(CARD, counts={**CARD.counts, "train": shots}, split_hash="abc")
        assert len(reported_for(card, protocols)) == found


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("items = 5", 'items = 5\nspilt_hash = "x"', "spilt_hash"),
        ('who = "published"', 'who = "heard"', "published"),
        ('source = "a paper"', "", "source"),
        ("[[protocol]]", "[protocol", "not valid TOML"),
    ],
)
def test_a_damaged_file_is_refused_by_name(old: str, new: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        parse_reported(TEXT.replace(old, new, 1), "figures.toml")
    assert "figures.toml" in str(error.value)


def test_shipped_figures_have_sources_and_are_shares() -> None:
    found = reported_for(AMAZON)
    assert {one.model for one in found} >= {"MiniOneRec", "SASRec", "TIGER"}
    for one in found:
        assert one.source and one.metrics
        assert all(0 < value < 1 for value in one.metrics.values())


def result() -> Result:
    split = worlds.split(["a", "b"], [("u", "a")], [{"history": ["a"], "target": "b"}])
    split = replace(split, card=AMAZON)
    found = evaluate_retrieval(popularity(split), split, resampling=Resampling(replicates=5))
    return replace(found, model="SASRec", baseline=True)


def test_the_report_keeps_published_and_retrained_apart_and_names_what_was_not_run() -> None:
    (section,) = sections([result()])
    assert section.of("SASRec").by("published") == ()
    assert section.of("SASRec").by("retrained")[0].metrics["hr@10"] == 0.1088
    mini = next(one for one in section.not_run if one.model == "MiniOneRec")
    assert [len(mini.by("published")), len(mini.by("retrained"))] == [1, 3]
    page = report_html([result()], "t")
    for words in ("as published", "retrained by others", "not run here", "HR@10 .1586", "HR@3"):
        assert words in page, words
    assert page.index("HR@10 .1088") < page.index("HR@10 .1586")


def test_a_valid_part_is_not_laid_beside_figures_of_the_test_part() -> None:
    (section,) = sections([replace(result(), part="valid")])
    assert section.others == ()
    assert "as published" not in report_html([replace(result(), part="valid")], "t")


def test_processor_time_is_told_in_minutes() -> None:
    assert [minutes(3), minutes(90), minutes(6000)] == ["0.05", "1.50", "100"]
