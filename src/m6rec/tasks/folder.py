"""A tuned task on disk: only what was trained, the words it was trained on, whose backbone it is.

task.json: spec, backbone fingerprint, templates, label rule, ids of known items, and how it was
measured. task.safetensors: the trained tensors (model/checkpoint.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from m6rec.collaborative.head import Head
from m6rec.collaborative.settings import ScoreSettings
from m6rec.config import Settings
from m6rec.model import checkpoint
from m6rec.model.checkpoint import CheckpointError
from m6rec.records import M6Error
from m6rec.tasks.build import TaskSpec
from m6rec.tasks.ranking import Ranker
from m6rec.tasks.retrieval import Retriever
from m6rec.tasks.writing import Author

FORMAT = 1
Task = Retriever | Ranker | Author
SettingsT = TypeVar("SettingsT", bound=Settings)


class NotTunedError(M6Error):
    """A task that has to be tuned first."""

    def __init__(self, task: str, problem: str | None = None) -> None:
        self.task = task
        self.problem = problem or f"{task} is not tuned yet"
        super().__init__(f"{self.problem}: call fit({task!r}, data), or load_adapter(folder)")

    @property
    def at_command_line(self) -> str:
        """The command that tunes it."""
        tune = f"m6rec tune {self.task} --data DATA --out ADAPTER"
        return f"{self.problem}: right is `{tune}`, then this command with --adapter ADAPTER"

    @property
    def at_server(self) -> str:
        """How a server gets it."""
        return f"{self.problem}: the server needs a task of it (`m6rec serve … --adapter ADAPTER`)"


@dataclass(frozen=True)
class TaskFolder:
    """What a task folder says, weights included.

    rule: the label rule of ranking as keywords; known: ids of the items that training knew, in the
    order of the residual, if there is one; new_item_boost: what retrieval by words alone adds for
    other items; score_settings, head: of what people chose next (collaborative/);
    aspects: what explanations may be about; trained_on: protocol card, figures and settings of the
    run, for people.
    """

    spec: TaskSpec
    backbone: str
    templates: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    rule: Mapping[str, Any] | None = None
    known: Sequence[str] = ()
    new_item_boost: float = 0.0
    score_settings: ScoreSettings | None = None
    head: Head | None = None
    aspects: Sequence[str] = ()
    trained_on: Mapping[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Writes the folder (created if missing)."""
        body = {
            "format": FORMAT,
            "spec": self.spec.model_dump(),
            "backbone": self.backbone,
            "templates": dict(self.templates),
            "rule": None if self.rule is None else dict(self.rule),
            "known": list(self.known),
            "new_item_boost": self.new_item_boost,
            "collaborative": _dumped(self.score_settings),
            "head": _dumped(self.head),
            "aspects": list(self.aspects),
            "trained_on": dict(self.trained_on),
        }
        checkpoint.save_task(folder, body, self.tensors)

    @classmethod
    def read(cls, folder: Path) -> TaskFolder:
        """Reads a folder; CheckpointError says what is wrong with it."""
        body, tensors = checkpoint.load_task(folder)
        where = folder / checkpoint.TASK_CONFIG
        if body.get("format") != FORMAT:
            raise CheckpointError(
                f"{where}: format {body.get('format')!r}; this version reads format {FORMAT}"
            )
        try:
            return cls(
                spec=TaskSpec.parse(body["spec"], f"{where}, spec"),
                backbone=body["backbone"],
                templates=body["templates"],
                tensors=tensors,
                rule=body["rule"],
                known=body["known"],
                new_item_boost=body["new_item_boost"],
                score_settings=_settings(ScoreSettings, body, "collaborative", where),
                head=_settings(Head, body, "head", where),
                aspects=body.get("aspects", []),
                trained_on=body["trained_on"],
            )
        except KeyError as error:
            raise CheckpointError(f"{where} lacks {error.args[0]!r}") from None

    def check_backbone(self, backbone: str, where: Path) -> None:
        """Raises CheckpointError where the task was tuned on another backbone."""
        if self.backbone != backbone:
            raise CheckpointError(
                f"{where} was tuned on another backbone ({self.backbone[:8]}…, this one is "
                f"{backbone[:8]}…); open it beside its own, or tune it again"
            )

    def fill(self, task: Task, backbone: str, where: Path) -> None:
        """Puts the trained tensors into a task built from `spec`.

        Raises CheckpointError where it was tuned on another backbone or names do not fit.
        """
        self.check_backbone(backbone, where)
        wanted = trained(task)
        missing, unknown = set(wanted) - set(self.tensors), set(self.tensors) - set(wanted)
        if missing or unknown:
            raise CheckpointError(
                f"{where}: missing tensors {sorted(missing)[:3]}, unknown {sorted(unknown)[:3]}"
            )
        with torch.no_grad():
            for name, parameter in wanted.items():
                tensor = self.tensors[name]
                if tensor.shape != parameter.shape:
                    raise CheckpointError(
                        f"{where}: {name!r} has shape {tuple(tensor.shape)}, but its spec says "
                        f"{tuple(parameter.shape)}; tune it again with this version"
                    )
                parameter.copy_(tensor)


def _dumped(settings: Settings | None) -> dict[str, Any] | None:
    return None if settings is None else settings.model_dump()


def _settings(
    kind: type[SettingsT], body: Mapping[str, Any], key: str, where: Path
) -> SettingsT | None:
    """Settings that a folder may lack, as those of earlier versions do."""
    raw = body.get(key)
    return None if raw is None else kind.parse(raw, f"{where}, {key}")


def trained(task: Task) -> dict[str, nn.Parameter]:
    """What the task trains, by name; what stands beside the network begins with its place."""
    return {
        name if place == "model" else f"{place}.{name}": parameter
        for place, module in modules_of(task).items()
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }


def modules_of(task: Task) -> Mapping[str, nn.Module]:
    """The network ("model") and what stands beside it, by name."""
    evidence = task.evidence if isinstance(task, Ranker) else None
    places = {"model": task.model, "residual": task.residual, "evidence": evidence}
    return {place: module for place, module in places.items() if module is not None}
