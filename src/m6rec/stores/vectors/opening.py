"""Which index: one of this process or of a Qdrant server, new or as a snapshot tells."""

from __future__ import annotations

from pathlib import Path

from m6rec.stores.vectors.base import VectorError, VectorIndex
from m6rec.stores.vectors.local import LocalIndex
from m6rec.stores.vectors.qdrant import COLLECTION, QdrantIndex
from m6rec.stores.vectors.qdrant import KIND as QDRANT
from m6rec.stores.vectors.snapshot import SnapshotReader


def new_index(
    dim: int, expected: int = 0, where: str | None = None, collection: str = COLLECTION
) -> VectorIndex:
    """An index to be filled. expected: how many vectors it will hold, roughly.

    where: the address of a Qdrant server, and the name of the collection there; None: in this
    process.
    """
    if where is not None:
        return QdrantIndex(where, dim, collection)
    return LocalIndex(dim, expected=expected)


def open_index(
    folder: str | Path, journal: str | None = None, last: int | None = None
) -> tuple[VectorIndex, int]:
    """An index from its snapshot, and the number of the last journal entry that it holds.

    journal: name of the journal that it should follow; None: whichever. last: number of that
    journal's last entry. Raises VectorError where there is no snapshot, it is not whole, it follows
    another journal, or is ahead of it (an older copy was put back): then make the index anew.
    """
    reader = SnapshotReader(Path(folder))
    about = reader.about
    if journal is not None and about["journal"] != journal:
        raise VectorError(f"{folder} follows another journal; make the index anew")
    if last is not None and int(about["journal_number"]) > last:
        raise VectorError(f"{folder} is ahead of the journal; make the index anew")
    if about["kind"] == QDRANT:
        return QdrantIndex.restored(reader), int(about["journal_number"])
    return LocalIndex.restored(reader), int(about["journal_number"])
