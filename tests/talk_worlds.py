"""Dialogues about nine goods ("red shoe" … "green lamp"), small enough to work figures by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from m6rec.data.tables import Dataset

COLOURS, THINGS = ("red", "blue", "green"), ("shoe", "tent", "lamp")


def items() -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"item_id": f"{colour}-{thing}", "title": f"{colour} {thing}".title()}
            for colour in COLOURS
            for thing in THINGS
        ]
    )


def turn(role: str, text: str, *titles: str, **labels: Any) -> dict[str, Any]:
    named = [{"id": t.lower().replace(" ", "-"), "title": t, **labels} for t in titles]
    return {"role": role, "text": text, "items": named}


def dialog(number: int, split: str | None = None) -> dict[str, Any]:
    """Somebody likes one thing of a colour, is offered another, says no, and gets the third."""
    colour = COLOURS[number % 3].title()
    turns = [
        turn("USER", f"hi i love my {colour} Shoe", f"{colour} Shoe", liked=True),
        turn("SYSTEM", "what are you looking for?"),
        turn("USER", f"something {colour.lower()}"),
        turn("SYSTEM", f"if you love the {colour} Shoe get a {colour} Tent", f"{colour} Tent"),
        turn("USER", "no, i hate it"),
        turn("SYSTEM", f"then a {colour} Lamp", f"{colour} Lamp"),
    ]
    return {"dialog_id": f"d{number}", "turns": turns} | ({"split": split} if split else {})


def dataset(folder: Path, count: int = 30, split: Any = lambda n: None) -> Dataset:
    """The goods, with a file of dialogues in `folder`; split: number → part, or None."""
    path = folder / "dialogs.jsonl"
    lines = [json.dumps(dialog(n, split(n))) for n in range(count)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Dataset(name="talk", items=items(), dialogs=path)


def parts(number: int) -> str:
    """Ten of thirty dialogues to judge by, ten to choose by."""
    return ("train", "valid", "test")[number // 10 % 3]
