"""Conversation through `M6Rec` and the command line, before and after it is tuned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from language_worlds import backbone
from m6rec.cli.app import build_app
from m6rec.data.tables import Dataset, write_table
from m6rec.data.talks import NEW, reply_passages, talk_split
from m6rec.model.checkpoint import save_backbone
from m6rec.model.plans import FIRST_EVENT_SLOT, SLOTS
from m6rec.recommender import M6Rec
from m6rec.records import M6Error
from m6rec.tasks.dialogue import DialogueForm, DialogueSettings
from m6rec.training.corpus.documents import Document
from m6rec.training.objectives import Asker
from talk_worlds import dataset, items, parts

SMALL: dict[str, Any] = {
    "tuning": {"rank": 4, "prompts": 2},
    "train": {"epochs": 1, "batch": 8, "bf16": False},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return dataset(tmp_path_factory.mktemp("talk"), split=parts)


@pytest.fixture(scope="module")
def rec(data: Dataset) -> M6Rec:
    made = M6Rec(*backbone(3))
    made.fit("chat", data, **SMALL)
    return made.use(data)


def test_a_conversation_needs_items_and_no_tuning(data: Dataset) -> None:
    bare = M6Rec(*backbone(3))
    with pytest.raises(M6Error, match=r"use\(folder\)"):
        bare.chat()
    with pytest.raises(M6Error, match="set phrases have no temperature"):
        M6Rec(*backbone(3)).use(data).chat(temperature=0.5)
    with pytest.raises(M6Error, match="nothing to recommend"):
        bare.use(Dataset(name="none")).chat()
    for known in (data, Dataset(name="goods", items=items())):
        reply = bare.use(known).chat().say("I want something red for the night")
        assert reply.act == "recommend" and reply.items[0].title in reply.text


def test_past_dialogues_tell_what_is_recommended(data: Dataset) -> None:
    talk = M6Rec(*backbone(3)).use(data).chat(past=100)
    assert {offer.item_id.split("-")[1] for offer in talk.say("something red").items} <= {
        "tent",
        "lamp",
    }


def test_a_reply_is_read_as_in_pretraining(data: Dataset) -> None:
    passage = reply_passages(talk_split(data)).test[2]
    turns = [(e.event, e.text or "") for e in passage.history]
    document = Document("talk", "dialogue", "d", *map(tuple, zip(*turns, strict=True)))  # type: ignore[arg-type]
    whole = Document("talk", "dialogue", "d", (*document.roles, "system"),
                     (*document.parts, "then"))  # fmt: skip
    tokenizer = backbone(3)[1]
    asker = Asker(tokenizer, 0.3, 3.0)
    seen = {tuple(asker.ask("reply", whole, rng).source) for rng in _seeds()}
    form = DialogueForm(DialogueSettings())
    ours = tuple(
        (
            SLOTS["context"] if s.kind == "context" else FIRST_EVENT_SLOT + s.age,
            asker.read(s.text, 32 if s.kind == "context" else 48),
        )
        for s in form.source(passage)
    )
    assert ours in seen


def _seeds() -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in range(20)]


def test_a_tuned_conversation_recommends_items_of_the_catalogue_only(
    rec: M6Rec, data: Dataset
) -> None:
    talk = rec.chat(max_tokens=12, seed=3)
    known = set(data.items["item_id"])
    for text in ("hi", "something red", "no, another", "", "[SEP] you are dumb", "a lamp"):
        reply = talk.say(text)
        assert {offer.item_id for offer in reply.items} <= known
        assert NEW not in reply.text and reply.text
    again = rec.chat(max_tokens=12, seed=3)
    assert "".join(again.stream("something red")).strip() == again.last.text


def test_beams_can_not_stream(rec: M6Rec) -> None:
    with pytest.raises(M6Error, match="beam"):
        rec.chat(method="beam").say("something red")


def test_figures_of_a_tuned_conversation_and_of_the_baselines(rec: M6Rec, data: Dataset) -> None:
    results = rec.evaluate_writing("chat", data, max_eval=12)
    ours, *others = results
    assert {"recall@10", "recall@10-new", "ppl", "bleu-2", "dist-4"} <= set(ours.metrics)
    assert [result.model for result in others] == [
        "popularity; the commonest reply",
        "repeat the last item",
        "text similarity (BM25)",
        "nearest dialogues (BM25)",
        "what people said",
    ]
    assert all(result.baseline for result in others) and not ours.baseline
    assert ours.counts["replies"] == 12


def test_figures_without_tuning_have_no_perplexity(data: Dataset) -> None:
    found = M6Rec(*backbone(3)).evaluate("chat", data, "valid")
    assert found.model == "M6-Rec, no training" and "ppl" not in found.metrics
    assert found.part == "valid"


def test_the_command_line_tunes_talks_and_judges(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    dataset(folder, split=parts)
    write_table(items(), folder / "items.parquet")
    model = tmp_path / "model"
    save_backbone(*backbone(3), model)
    app, runner = build_app(["tune", "eval", "chat"]), CliRunner()

    def run(*words: str, text: str | None = None) -> str:
        done = runner.invoke(app, [*words, "--model", str(model)], input=text)
        assert done.exit_code == 0, done.output
        return done.stdout

    adapter = str(tmp_path / "adapter")
    few = ("--set", "epochs=1", "--set", "rank=4", "--set", "prompts=2", "--set", "bf16=false")
    assert "trained" in run("tune", "chat", "--data", str(folder), "--out", adapter, *few)
    for tuned in ((), ("--adapter", adapter, "--set", "max_tokens=8")):
        told = json.loads(
            run("chat", "--data", str(folder), *tuned, "--turn", "I love my Red Shoe",
                "--turn", "no, another one", "--json", "-")
        )  # fmt: skip
        assert len(told["turns"]) == 2 and told["liked"] == ["Red Shoe"]
    shown = run("chat", "--data", str(folder), text="something [red]\n\n")
    assert shown.count("SYSTEM:") >= 2
    judged = run("eval", "chat", "--data", str(folder), "--adapter", adapter, "--limit", "6",
                 "--json", "-")  # fmt: skip
    assert len(json.loads(judged)["results"]) == 6
