"""Models: opened beside the one that answers, swapped, taken back, shared between variants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from litestar import get, post
from litestar.params import JSONBody

from m6rec.serving.http.gate import needs
from m6rec.serving.http.problems import answers
from m6rec.serving.http.schemas import Experiment, OpenModel
from m6rec.serving.http.shared import The

ADMIN = [needs("admin")]


@dataclass(frozen=True)
class Opened:
    """An open model. entry: the last one of the journal that it knows."""

    name: str
    model: str
    tasks: list[str]
    items: int
    entry: int


@dataclass(frozen=True)
class Models:
    """current: the one that answers; previous: what a rollback brings back; shares: of variants."""

    current: str
    previous: str
    shares: dict[str, float]
    models: list[Opened]


@dataclass(frozen=True)
class Snapshot:
    """A copy of the journal. name: of its folder in STATE/backups; journal: name of the journal;
    last: number of the last entry in it."""

    name: str
    journal: str
    last: int


@get("/v1/admin/models", guards=ADMIN, responses=answers(), tags=["admin"])
async def show_models(service: The) -> Models:
    """Open models."""
    return _models(service)


@post("/v1/admin/models", guards=ADMIN, responses=answers(404), status_code=200, tags=["admin"])
async def open_model(data: JSONBody[OpenModel], service: The) -> Models:
    """Opens a model; answers come from the old one until it is ready, and never from both."""
    model = await service.opening(lambda: service.open_model(data.name, data.model, data.adapters))
    service.registry.add(model, data.activate)
    return _models(service)


@post(
    "/v1/admin/models/rollback",
    guards=ADMIN,
    responses=answers(404),
    status_code=200,
    tags=["admin"],
)
async def rollback(service: The) -> Models:
    """The model before answers again, at once."""
    service.registry.rollback()
    return _models(service)


@post("/v1/admin/experiment", guards=ADMIN, responses=answers(404), status_code=200, tags=["admin"])
async def experiment(data: JSONBody[Experiment], service: The) -> Models:
    """Divides users among open models; a user keeps their model."""
    service.registry.experiment(data.shares)
    return _models(service)


@post(
    "/v1/admin/journal/snapshot", guards=ADMIN, responses=answers(), status_code=200, tags=["admin"]
)
async def snapshot_journal(service: The) -> Snapshot:
    """Copies the journal as it is now into the server's folder of backups, while it runs."""
    name, manifest = await service.snapshot()
    return Snapshot(name, manifest["journal"], manifest["last"])


def _models(service: The) -> Models:
    registry = service.registry
    opened = [
        Opened(
            model.name,
            model.source.model.rsplit("/", 1)[-1],
            sorted(model.face.tasks),
            len(model.index),
            model.number,
        )
        for model in registry.models()
    ]
    return Models(registry.current.name, registry.previous, dict(registry.shares), opened)


ROUTES: list[Callable[..., Any]] = [
    show_models,
    open_model,
    rollback,
    experiment,
    snapshot_journal,
]
