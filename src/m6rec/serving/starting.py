"""A service from a data folder: journal, cache, model; its tables fill an empty journal."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from m6rec.data import tables
from m6rec.data.schema import TABLES
from m6rec.data.tables import EMPTY_ITEMS, Dataset
from m6rec.model.hf import shipped
from m6rec.records import M6Error
from m6rec.serving.keys import KeyRing
from m6rec.serving.live import LiveModel
from m6rec.serving.place import MEMORY, Place
from m6rec.serving.registry import Registry, RegistryError
from m6rec.serving.service import Service, ServiceSettings
from m6rec.serving.source import Source
from m6rec.serving.state import StateFolder, take_in
from m6rec.stores.journal.base import Journal
from m6rec.stores.journal.opening import open_journal
from m6rec.stores.states.opening import open_cache

__all__ = ["Place", "open_service"]

FIRST = "first"
"""Name of the model that the server was started with; another may be opened from the same."""
NOT_IN_JOURNAL = frozenset(TABLES) - {"items", "users", "events"}
"""Tables that are read from the data folder at every start."""


def open_service(place: Place, settings: ServiceSettings | None = None) -> Service:
    """Opens everything. Raises M6Error where something is not as it should be."""
    folder = place.state_folder
    folder.mkdir(parents=True, exist_ok=True)
    journal = open_journal(place.journal_address)
    try:
        state = None if place.journal == MEMORY else StateFolder(folder)
        if state is not None:
            state.check(journal)
        seed = journal.seed()
        seeded = bool(journal.last()) if seed is None else seed.whole
        base = _base(place.data, NOT_IN_JOURNAL if seeded else TABLES)
        if not seeded:
            take_in(journal, base, [] if state is None else state.erasures())
        if state is not None:
            state.keep(journal)
        cache = open_cache(place.cache or folder / "segments")
        first = Source(
            place.model,
            place.adapters,
            _without_journal(base),
            cache,
            folder / "vectors",
            index=place.index,
            text_only=place.text_only,
        )
        opening = _Opening(journal, first, place)
        model = LiveModel(FIRST, first, journal)
        keys = KeyRing(folder)
        return Service(journal, Registry(model), keys, opening, settings, place, state)
    except BaseException:
        journal.close()
        raise


class _Opening:
    """Opens a model by name, from those that ship and those in the folder of models."""

    def __init__(self, journal: Journal, first: Source, place: Place) -> None:
        self._journal, self._first, self._models = journal, first, place.models

    def __call__(self, name: str, model: str, adapters: Sequence[str]) -> LiveModel:
        """Raises RegistryError where there is none."""
        folders = tuple(self._folder(adapter) for adapter in adapters)
        if model == FIRST:
            source = replace(self._first, adapters=folders or self._first.adapters)
        else:
            source = replace(self._first, model=self._model(model), adapters=folders)
        return LiveModel(name, source, self._journal)

    def _model(self, name: str) -> str:
        return name if name in shipped() else str(self._folder(name))

    def _folder(self, name: str) -> Path:
        if self._models is None:
            raise RegistryError(f"no model {name!r}: the server was started without --models")
        root = self._models.resolve()
        path = (root / name).resolve()
        if path.parent != root or not path.is_dir():
            raise RegistryError(f"no model {name!r} in the server's folder of models")
        return path


def _base(folder: Path, names: Collection[str]) -> Dataset:
    """These tables of a folder; one that holds none yet is a shop that begins."""
    if folder.exists() and not folder.is_dir():
        raise M6Error(f"{folder} is a file; give the folder of the data")
    if folder.is_dir() and any(p.is_file() for p in folder.iterdir()):
        return tables.load(folder, names)
    return Dataset(name=folder.resolve().name, path=folder)


def _without_journal(base: Dataset) -> Dataset:
    """What of a data folder the journal does not keep."""
    return replace(base, items=EMPTY_ITEMS, events=None, users=None)
