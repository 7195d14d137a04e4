"""The checkpoints that come with the package: whole, small, of sources that may be in them."""

from __future__ import annotations

import json
import re

import pytest
import torch

from m6rec import M6Rec
from m6rec.model.checkpoint import read_tensors
from m6rec.model.hf import MODELS, load_start, shipped
from m6rec.model.sparse import BITS, SHAPE, nonzero
from m6rec.training.corpus.sources import SOURCES

MOST_BYTES = {"m6-small": 50_000_000, "m6-edge-2m": 4_000_000}
FORBIDDEN = ("h&m", "instacart", "kaggle", "mind", "movielens")
NAMES = sorted(MOST_BYTES)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_there_under_its_name_and_small_enough(name: str) -> None:
    assert shipped() == sorted(MOST_BYTES)
    assert sum(path.stat().st_size for path in (MODELS / name).iterdir()) < MOST_BYTES[name]
    tensors, _ = read_tensors(MODELS / name / "model.safetensors")
    kept = {t.dtype for key, t in tensors.items() if not key.endswith((BITS, SHAPE))}
    assert kept == {torch.bfloat16}


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_was_trained_on_and_the_card_names_every_source(name: str) -> None:
    told = json.loads((MODELS / name / "pretraining.json").read_text(encoding="utf-8"))
    sources = told["corpus"]["sources"]
    assert set(sources) == {source.name for source in SOURCES}
    for key, source in sources.items():
        assert source["licence"], key
        assert not any(word in source["origin"].lower() for word in FORBIDDEN), key
    card = (MODELS / name / "README.md").read_text(encoding="utf-8")
    for source in sources.values():
        documents = sum(kind["train"] for kind in source["documents"].values())
        assert f"{documents:,}" in card
    assert not re.search("@[A-Z]+@", card), "a figure is missing"
    assert f"{told['steps']:,}" in card or str(told["steps"]) in card


def test_the_edge_has_as_many_weights_as_its_card_says() -> None:
    model, _ = load_start("m6-edge-2m")
    card = (MODELS / "m6-edge-2m" / "README.md").read_text(encoding="utf-8")
    assert nonzero(model) < 2.2e6
    assert f"{nonzero(model) / 1e6:.2f} million weights that are not zero" in card


@pytest.mark.parametrize("name", NAMES)
def test_it_knows_what_goes_together(name: str) -> None:
    first = M6Rec.from_pretrained(name).recommend(
        history=["clicked: trail running shoes"],
        items=["Espresso beans, dark roast", "Running vest with two flasks", "Cast-iron casserole"],
        k=1,
    )[0]
    assert first.title == "Running vest with two flasks"


def test_it_finds_words_that_people_say_more_likely() -> None:
    rec = M6Rec.from_pretrained("m6-small")
    scores = rec.score(["bought: hiking shoes"], ["trekking poles", "xqzv jjkw qqpt"])
    assert scores[0].title == "trekking poles"


@pytest.mark.parametrize("text", ['Non-Slip 3/4" Hose, WiFi', "TWO CAPS and  spaces"])
def test_its_tokenizer_gives_every_text_back(text: str) -> None:
    _, tokenizer = load_start("m6-small")
    assert tokenizer.decode(tokenizer.write(text)) == text
