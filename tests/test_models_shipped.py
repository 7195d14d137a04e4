"""The checkpoint that comes with the package: whole, small enough, of sources that may be in it."""

from __future__ import annotations

import json
import re

import pytest
import torch

from m6rec import M6Rec
from m6rec.model.checkpoint import read_tensors
from m6rec.model.hf import MODELS, load_start, shipped
from m6rec.training.corpus.sources import SOURCES

FOLDER = MODELS / "m6-small"
MOST_BYTES = 50_000_000
FORBIDDEN = ("h&m", "instacart", "kaggle", "mind", "movielens")


def test_it_is_there_under_its_name_and_below_fifty_megabytes() -> None:
    assert "m6-small" in shipped()
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < MOST_BYTES
    tensors, _ = read_tensors(FOLDER / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}


def test_it_says_what_it_was_trained_on_and_the_card_names_every_source() -> None:
    told = json.loads((FOLDER / "pretraining.json").read_text(encoding="utf-8"))
    sources = told["corpus"]["sources"]
    assert set(sources) == {source.name for source in SOURCES}
    for name, source in sources.items():
        assert source["licence"], name
        assert not any(word in source["origin"].lower() for word in FORBIDDEN), name
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for source in sources.values():
        documents = sum(kind["train"] for kind in source["documents"].values())
        assert f"{documents:,}" in card
    assert not re.search("@[A-Z]+@", card), "a figure is missing"
    assert f"{told['steps']:,}" in card or str(told["steps"]) in card


def test_it_reads_and_writes_what_people_say() -> None:
    rec = M6Rec.from_pretrained("m6-small")
    first = rec.recommend(
        history=["clicked: trail running shoes"],
        items=["Espresso beans, dark roast", "Running vest with two flasks", "Cast-iron casserole"],
        k=1,
    )[0]
    assert first.title == "Running vest with two flasks"
    scores = rec.score(["bought: hiking shoes"], ["trekking poles", "xqzv jjkw qqpt"])
    assert scores[0].title == "trekking poles"


@pytest.mark.parametrize("text", ['Non-Slip 3/4" Hose, WiFi', "TWO CAPS and  spaces"])
def test_its_tokenizer_gives_every_text_back(text: str) -> None:
    _, tokenizer = load_start("m6-small")
    assert tokenizer.decode(tokenizer.write(text)) == text
