"""Which index: a new one by the number of items, or the one that a snapshot holds."""

from __future__ import annotations

from pathlib import Path

from m6rec.stores.vector_local import LocalIndex
from m6rec.stores.vector_snapshot import SnapshotReader
from m6rec.stores.vectors import VectorError, VectorIndex


def new_index(dim: int, expected: int = 0) -> VectorIndex:
    """An empty index. expected: how many vectors it will hold, roughly."""
    return LocalIndex(dim, expected=expected)


def open_index(folder: str | Path, journal: str | None = None) -> tuple[VectorIndex, int]:
    """An index from its snapshot, and the number of the last journal entry that it holds.

    journal: name of the journal that it should follow; None: whichever. Raises VectorError where
    there is no snapshot, it is not whole, or it follows another journal: then make the index anew.
    """
    reader = SnapshotReader(Path(folder))
    about = reader.about
    if journal is not None and about["journal"] != journal:
        raise VectorError(f"{folder} follows another journal; make the index anew")
    return LocalIndex.restored(reader), int(about["journal_number"])
