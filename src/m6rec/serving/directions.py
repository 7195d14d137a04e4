"""Directions of untrained retrieval on disk: what a model projects texts to before it is tuned.

They are found from the catalogue at a server's first start, and every vector of the index depends
on them; so a later start takes the same ones.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from m6rec.model.checkpoint import fingerprint
from m6rec.model.m6 import M6

log = logging.getLogger(__name__)

PROJECTIONS = ("project_user", "project_item")
FILE = "projections.safetensors"


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


def write_directions(model: M6, folder: Path, items: int) -> None:
    """Keeps them in a folder. items: how many items they were found from."""
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / "projections.unfinished"
    told = {"items": str(items), "key": directions_key(model)}
    unfinished.write_bytes(save(directions(model), told))
    unfinished.replace(folder / FILE)


@torch.no_grad()
def read_directions(model: M6, folder: Path) -> int:
    """Takes those of an earlier start; returns from how many items they were found (0: none)."""
    path = folder / FILE
    if not path.is_file():
        return 0
    try:
        with safe_open(path, "pt") as file:
            told = file.metadata()
            items = int(told["items"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if told.get("key") not in (None, fingerprint(tensors)[:16]):  # earlier files have none
            raise ValueError("its numbers are not those that were written")
    except (SafetensorError, OSError, LookupError, ValueError) as error:
        log.warning("%s can not be read (%s); it is made anew", path, error)
        return 0
    model.read_token.zero_()
    for name, tensor in tensors.items():
        target: Any = model
        for part in name.split("."):
            target = getattr(target, part)
        target.copy_(tensor)
    return max(1, items)
