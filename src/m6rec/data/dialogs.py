"""What makes a line of dialogs.jsonl wrong: {"dialog_id", "turns": [{"role", "text", "items"}]}."""

from __future__ import annotations

from collections.abc import Iterator

from m6rec.data.published import Line, Wrong, is_word

ROLES = ("USER", "SYSTEM")


def dialog_wrongs(dialog: Line, seen: set[str]) -> Iterator[Wrong]:
    """Everything wrong with one dialogue. seen: ids of earlier ones; this id is added."""
    name = dialog.get("dialog_id")
    if not is_word(name):
        yield Wrong("dialog_id", name, "empty", "an id in every line")
    elif str(name) in seen:
        yield Wrong("dialog_id", name, "repeated", "one line for each id")
    else:
        seen.add(str(name))
    turns = dialog.get("turns")
    if not isinstance(turns, list) or not turns:
        yield Wrong("turns", turns, "no turns", "a list with at least one turn")
        return
    for i, turn in enumerate(turns):
        yield from _turn_wrongs(f"turns[{i}]", turn)


def _turn_wrongs(key: str, turn: object) -> Iterator[Wrong]:
    if not isinstance(turn, dict):
        yield Wrong(key, turn, "no object", "an object with role, text and items")
        return
    if turn.get("role") not in ROLES:
        yield Wrong(f"{key}.role", turn.get("role"), "unknown role", " or ".join(ROLES))
    if not isinstance(turn.get("text"), str):
        yield Wrong(f"{key}.text", turn.get("text"), "no text", "what was said, as a string")
    items = turn.get("items", [])
    if not isinstance(items, list):
        yield Wrong(f"{key}.items", items, "no list", "a list of items; [] for none")
        return
    for i, item in enumerate(items):
        named = isinstance(item, dict) and (is_word(item.get("id")) or is_word(item.get("title")))
        if not named:
            yield Wrong(f"{key}.items[{i}]", item, "no item", "an object with id or title")
