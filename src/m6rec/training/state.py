"""The state of a run on disk: enough to go on as if it had never been killed. No pickle.

`state.safetensors` holds the trainable parameters, what optimizers remember of their gradients,
what the run keeps beside them (their means, the best ones so far) and the random generator;
`state.json` the counters and the history. Both are written to a new folder that replaces the old
one in a single rename, so a kill at any moment leaves a whole state behind.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from m6rec.model.checkpoint import CheckpointError, read_tensors
from m6rec.training.optimizers import Optimizers

Parameters = Mapping[str, torch.nn.Parameter]


@dataclass
class Progress:
    """Counters of a run. `best_score` is the highest validation score, seen after `best_epoch`."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    best_score: float = float("-inf")
    best_epoch: int = -1
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)


def save_state(
    folder: Path,
    settings: Mapping[str, Any],
    progress: Progress,
    parameters: Parameters,
    kept: Mapping[str, Tensor],
    optimizer: Optimizers,
) -> None:
    """Writes the state of a run, replacing an older one atomically."""
    tensors: dict[str, Tensor] = {"random": torch.get_rng_state()}
    for name, parameter in parameters.items():
        tensors[f"now.{name}"] = parameter.detach().contiguous().clone()
        for key, value in optimizer.moments(parameter).items():
            tensors[f"adam.{key}.{name}"] = value.detach().contiguous().clone()
    tensors |= {f"kept.{name}": tensor.contiguous() for name, tensor in kept.items()}
    fresh, old = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    save_file(tensors, fresh / "state.safetensors")
    body = json.dumps({"settings": dict(settings), "progress": asdict(progress)})
    (fresh / "state.json").write_text(body, encoding="utf-8")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def load_state(
    folder: Path,
    settings: Mapping[str, Any],
    parameters: Parameters,
    optimizer: Optimizers,
    kind: type[Progress] = Progress,
) -> tuple[Progress, dict[str, Tensor]] | None:
    """Restores a run in place; returns its counters and what it kept, or None.

    kind: the class of the counters. Raises CheckpointError when the folder holds a run with other
    settings.
    """
    old = folder.with_name(folder.name + ".old")
    if not folder.exists() and old.exists():
        old.rename(folder)  # killed between the two renames
    if not (folder / "state.json").is_file():
        return None
    body = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    wanted = json.loads(json.dumps(dict(settings)))
    if body["settings"] != wanted:
        changed = sorted(
            key
            for key in set(body["settings"]) | set(wanted)
            if body["settings"].get(key) != wanted.get(key)
        )
        raise CheckpointError(
            f"{folder} holds an unfinished run with other settings ({', '.join(changed)}); "
            "finish it with the same ones, or delete the folder to start anew"
        )
    tensors, _ = read_tensors(folder / "state.safetensors")
    _restore(tensors, parameters, optimizer)
    kept = {name[5:]: tensor for name, tensor in tensors.items() if name.startswith("kept.")}
    return kind(**body["progress"]), kept


def _restore(tensors: Mapping[str, Tensor], parameters: Parameters, optimizer: Optimizers) -> None:
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[f"now.{name}"])
            moments = {
                key.split(".")[1]: tensor
                for key, tensor in tensors.items()
                if key.startswith("adam.") and key.split(".", 2)[2] == name
            }
            if moments:
                optimizer.remember(parameter, moments)
    torch.set_rng_state(tensors["random"])
