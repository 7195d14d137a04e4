"""Which model answers: swapped in one step, taken back in one step, shared between variants.

A request holds the model that it began with until it is answered. The last model stays open and
follows the journal as well, so that a rollback is at once; the one before it is closed when nothing
is under way on it.
"""

from __future__ import annotations

import gc
import hashlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import final

from m6rec.records import M6Error
from m6rec.serving.live import LiveModel

log = logging.getLogger(__name__)

PAUSE = 0.5
"""Seconds after which the journal is looked at though nobody told of an entry."""
PATIENCE = 120.0
"""Seconds that a model which was replaced may still answer what began on it."""


class RegistryError(M6Error):
    """A model that is not there, or shares that do not add up."""


@final
class Registry:
    """Open models by name. A thread of its own lets all of them follow the journal."""

    def __init__(self, first: LiveModel) -> None:
        self._lock, self._told = threading.Lock(), threading.Event()
        self._models = {first.name: first}
        self._current, self._previous = first.name, ""
        self._shares: dict[str, float] = {}
        self._closed = False
        self.swaps = 0
        self._follower = threading.Thread(target=self._follow, name="m6rec-follower", daemon=True)
        self._follower.start()

    @property
    def current(self) -> LiveModel:
        """The model that answers where no variant is asked for."""
        with self._lock:
            return self._models[self._current]

    @property
    def previous(self) -> str:
        """Name of the model that a rollback brings back; "": none."""
        return self._previous

    @property
    def shares(self) -> Mapping[str, float]:
        """Share of the users by variant; empty: no experiment."""
        return dict(self._shares)

    def models(self) -> list[LiveModel]:
        """All that are open."""
        with self._lock:
            return list(self._models.values())

    @contextmanager
    def use(self, key: str, variant: str | None = None) -> Iterator[LiveModel]:
        """The model for a user (the same one each time), or the one that is asked for."""
        with self._lock:
            name = variant or self._assigned(key)
            if name not in self._models:
                raise RegistryError(f"no variant {name!r}; open are {', '.join(self._models)}")
            model = self._models[name].use()
        try:
            yield model
        finally:
            model.done()

    def add(self, model: LiveModel, activate: bool) -> None:
        """Takes in an opened model. activate: it answers from now on."""
        with self._lock:
            if model.name in self._models:
                model.close()
                raise RegistryError(f"a model {model.name!r} is open already; take another name")
            self._models[model.name] = model
        if activate:
            self.activate(model.name)
        self.notify()

    def activate(self, name: str) -> None:
        """Lets a model that is open answer from now on; ends an experiment."""
        with self._lock:
            if name not in self._models:
                raise RegistryError(f"no model {name!r}; open are {', '.join(self._models)}")
            if name == self._current:
                return
            self._previous, self._current = self._current, name
            self._shares = {}
            self.swaps += 1
            kept = {self._previous, self._current}
            gone = [model for model in self._models.values() if model.name not in kept]
            self._models = {name: self._models[name] for name in (self._current, self._previous)}
        if gone:
            threading.Thread(target=_retire, args=[gone], daemon=True).start()

    def rollback(self) -> str:
        """Brings the model before back; returns its name."""
        if not self._previous:
            raise RegistryError("there is no model before this one")
        self.activate(self._previous)
        return self._current

    def experiment(self, shares: Mapping[str, float]) -> None:
        """Divides users among models. shares: more than 0 each, 1 together; {}: no experiment."""
        with self._lock:
            unknown = [name for name in shares if name not in self._models]
            if unknown:
                raise RegistryError(f"no model {unknown[0]!r}; open are {', '.join(self._models)}")
            if shares and (min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-6):
                raise RegistryError("right are shares above 0 that are 1 together")
            self._shares = dict(shares)

    def notify(self, number: int = 0) -> None:
        """Says that the journal has something new, up to entry `number`."""
        for model in self.models():
            model.counts.tell(number)
        self._told.set()

    def close(self) -> None:
        """Ends the follower, keeps snapshots and closes all models."""
        self._closed = True
        self._told.set()
        self._follower.join()
        for model in self.models():
            _save(model)
            model.close()

    def _assigned(self, key: str) -> str:
        """The variant of a user: by a hash, so that it stays the same."""
        place = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) / (1 << 64)
        for name, share in self._shares.items():
            if place < share:
                return name
            place -= share
        return self._current

    def _follow(self) -> None:
        while not self._closed:
            self._told.wait(PAUSE)
            self._told.clear()
            for model in self.models():
                self._tell(model.catch_up)

    def _tell(self, catch_up: Callable[[], int]) -> None:
        try:
            catch_up()
        except Exception:  # a follower that ended would leave a server that learns nothing more
            log.exception("the journal could not be followed; it is tried again")


def _save(model: LiveModel) -> None:
    try:
        model.save()
    except M6Error as error:  # the next start makes the vectors anew
        log.warning("no snapshot of model %s: %s", model.name, error)


def _retire(gone: list[LiveModel]) -> None:
    """Closes models and takes them out of the list, so that nothing here holds them any longer."""
    while gone:
        model = gone.pop()
        if not model.wait_unused(PATIENCE):
            log.warning("model %s still answers after %.0f s and is closed", model.name, PATIENCE)
        _save(model)
        model.close()
        del model
    if gc.get_freeze_count():
        gc.unfreeze()
        settle()


def settle() -> None:
    """Frees what is garbage now and lets the collector pass over all the rest from here on.

    A whole collection stops every thread, for 150 ms where there are 2,000 items, and longer with
    more. What is passed over still goes when nothing refers to it; a model that is retired holds
    itself, so `_retire` thaws all and calls this again. For a process that serves, once it is open.
    Source: https://docs.python.org/3/library/gc.html#gc.freeze
    """
    gc.collect()
    gc.freeze()
