"""A network of a few thousand weights and a tokenizer that spells, for tests of whole ways."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import torch

from m6rec.config import ModelConfig, SpecialIds
from m6rec.data.tables import Dataset, sort_events, write_table
from m6rec.model.checkpoint import save_backbone
from m6rec.model.m6 import M6
from m6rec.text.tokenizer import Tokenizer

SPECIAL = SpecialIds(pad=0, bos_source=1, eos_source=2, bos=3, eos=4, mask=5)
COLOURS = ("red", "blue", "green")
THINGS = ("shoe", "tent", "lamp", "hat", "boot")
WORDS = (*COLOURS, *THINGS, "bought", "clicked", "no", "yes")


def tokenizer() -> Tokenizer:
    """Lower-case wordpieces: the words above, letters and digits, "[UNK]" for the rest."""
    letters = [chr(code) for code in range(33, 127)]
    pieces = [*(f"[s{i}]" for i in range(6)), "[UNK]", *WORDS, *letters]
    pieces += [f"##{letter}" for letter in letters]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    definition = {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "vocab": vocabulary,
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
        },
    }
    return Tokenizer(json.dumps(definition), SPECIAL)


def backbone(layers: int = 2, seed: int = 0) -> tuple[M6, Tokenizer]:
    """Random weights, the same for the same seed."""
    words = tokenizer()
    config = ModelConfig(
        vocab_size=words.vocab_size,
        d_model=16,
        layers=layers,
        heads=2,
        kv_heads=2,
        head_dim=8,
        d_ff=32,
        max_positions=64,
        special=SPECIAL,
        projection=8,
        segment_slots=24,
    )
    torch.manual_seed(seed)
    model = M6(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(10)  # so that texts differ after a layer or two
    return model.eval(), words


def write_backbone(folder: Path) -> Path:
    """A checkpoint folder of it."""
    model, words = backbone()
    save_backbone(model, words, folder)
    return folder


def shop(users: int = 24) -> Dataset:
    """Fifteen items, "red shoe" to "green boot"; every user keeps to one colour.

    Each user buys the five things of a colour, from another one on, with one day between them, and
    is shown each thing in another colour without taking it.
    """
    items = pl.DataFrame(
        [
            {"item_id": f"{colour}-{thing}", "title": f"{colour} {thing}", "category": thing}
            for colour in COLOURS
            for thing in THINGS
        ]
    )
    rows = []
    for user in range(users):
        colour, other = COLOURS[user % 3], COLOURS[(user + 1) % 3]
        things = [THINGS[(user + day) % 5] for day in range(5)]
        for day, thing in enumerate(things):
            rows.append((f"u{user}", f"{colour}-{thing}", "purchase", user + day, f"r{user}-{day}"))
            rows.append(
                (f"u{user}", f"{other}-{thing}", "impression", user + day, f"r{user}-{day}")
            )
    names = ("user_id", "item_id", "event", "timestamp", "request_id")
    events = pl.DataFrame(rows, schema=names, orient="row").with_columns(
        timestamp=pl.col("timestamp") * 86_400.0, value=pl.lit(None, dtype=pl.Float64)
    )
    return Dataset(name="tiny", items=items, events=sort_events(events))


def write_shop(folder: Path, users: int = 24) -> Path:
    """The same as a folder of tables."""
    folder.mkdir(parents=True, exist_ok=True)
    data = shop(users)
    write_table(data.items, folder / "items.parquet")
    assert data.events is not None
    write_table(data.events, folder / "events.parquet")
    return folder
