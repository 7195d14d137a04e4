"""Where segment states are kept, as bytes by key: memory, LMDB, Redis behind one small interface.

A store may forget anything at any time: what it lacks is computed again. Whether a value is right
is not its business: codec.py tells a damaged value from a whole one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Self

from m6rec.records import M6Error


class StoreError(M6Error):
    """A store can not be opened, or holds something that is not ours."""


@dataclass(frozen=True)
class StoreInfo:
    """What is in a store. size and limit: bytes; limit None: whatever the server allows."""

    kind: str
    where: str
    entries: int
    size: int
    limit: int | None
    more: Mapping[str, object] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return asdict(self)


class StateStore(ABC):
    """Values by 16-byte key. Safe to use from several threads, and after a fork."""

    @abstractmethod
    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Values of a whole request in one transaction; None for what is not there.

        A store that can not be read just now has nothing: it warns, and never raises.
        """

    @abstractmethod
    def put(self, entries: Mapping[bytes, bytes]) -> None:
        """Keeps the values of a whole request in one transaction; older ones may have to go.

        A store that can not be written just now warns, and never raises.
        """

    @abstractmethod
    def info(self) -> StoreInfo:
        """What is in it. Raises StoreError when it can not be reached."""

    def size(self) -> tuple[int, int]:
        """Entries and bytes, at once: for figures that are read often. Raises StoreError."""
        info = self.info()
        return info.entries, info.size

    @abstractmethod
    def clear(self) -> None:
        """Forgets everything. Raises StoreError when it can not be reached."""

    def close(self) -> None:  # noqa: B027 - most stores have nothing to do here
        """Gives back files and connections; the store is not used afterwards."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()
