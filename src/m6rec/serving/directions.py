"""Directions of untrained retrieval on disk: what a model projects texts to before it is tuned.

They are found from the catalogue at a server's first start, and every vector of the index depends
on them; so a later start, and every other server of the journal, takes the same ones.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from m6rec.model.checkpoint import fingerprint
from m6rec.model.m6 import M6

log = logging.getLogger(__name__)

PROJECTIONS = ("project_user", "project_item")
FILE = "projections.safetensors"
HEAD = 8
"""Bytes that say how long the head of such a file is."""


def directions(model: M6) -> dict[str, torch.Tensor]:
    """The tensors, by their names in the network."""
    found = {
        f"{name}.{part}": getattr(getattr(model, name), part).detach().contiguous()
        for name in PROJECTIONS
        for part in ("weight", "bias")
    }
    return found | {name: getattr(model, name).detach() for name in ("read_gate", "recency")}


def directions_key(model: M6) -> str:
    """Names them: other ones make another index."""
    return fingerprint(directions(model))[:16]


def pack_directions(model: M6, items: int) -> bytes:
    """A file of them, with their key. items: how many items they were found from."""
    return save(directions(model), {"items": str(items), "key": directions_key(model)})


def write_directions(data: bytes, folder: Path) -> None:
    """Keeps a file of directions in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / "projections.unfinished"
    unfinished.write_bytes(data)
    unfinished.replace(folder / FILE)


def read_directions(folder: Path) -> bytes | None:
    """The file of an earlier start; None: there is none that can be read."""
    path = folder / FILE
    try:
        return path.read_bytes() if path.is_file() else None
    except OSError as error:
        log.warning("%s can not be read (%s); it is made anew", path, error)
        return None


@torch.no_grad()
def take_directions(model: M6, data: bytes) -> int:
    """Lets a model have the directions of a file; returns from how many items they were found (0:
    the file is damaged, and the model as it was)."""
    try:
        tensors = load(data)
        size = int.from_bytes(data[:HEAD], "little")
        told = json.loads(data[HEAD : HEAD + size])["__metadata__"]
        items = int(told["items"])
        if told.get("key") not in (None, fingerprint(tensors)[:16]):  # earlier files have none
            raise ValueError("its numbers are not those that were written")
    except (SafetensorError, LookupError, ValueError, TypeError) as error:
        log.warning("directions can not be read (%s); they are made anew", error)
        return 0
    model.read_token.zero_()
    for name, tensor in tensors.items():
        target: Any = model
        for part in name.split("."):
            target = getattr(target, part)
        target.copy_(tensor)
    return max(1, items)
