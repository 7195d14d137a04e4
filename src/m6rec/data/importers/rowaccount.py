"""An account of the rows of source files: each is in a table, set aside, or in a note."""

from __future__ import annotations

import numpy as np

from m6rec.data.batches import ROW
from m6rec.data.importers.pieces import Piece
from m6rec.data.schema import DataError


class RowAccount:
    """Which rows of each source file were handed over; one bit a row."""

    def __init__(self) -> None:
        self._seen: dict[str, np.ndarray] = {}
        self._read: dict[str, int] = {}

    def add(self, piece: Piece) -> None:
        """Puts down the rows of a piece: usable, broken, and left out with a note."""
        there = [piece.frame[ROW].to_numpy(), np.array([line.row for line in piece.broken])]
        rows = np.concatenate([*there, np.array(piece.noted)]).astype(np.int64)
        seen = self._seen.get(piece.name, np.zeros(0, dtype=bool))
        last = max(int(rows.max(initial=0)), piece.read)
        if last > len(seen):
            seen = np.concatenate([seen, np.zeros(max(last - len(seen), len(seen)), dtype=bool)])
        seen[rows - 1] = True
        self._seen[piece.name] = seen
        self._read[piece.name] = max(self._read.get(piece.name, 0), piece.read)

    def settle(self) -> None:
        """Raises DataError for the first row of a file that is in no table, reject or note."""
        for name, seen in self._seen.items():
            lost = np.flatnonzero(~seen[: self._read[name]])
            if len(lost):
                raise DataError(
                    f"{name}: {len(lost)} of {self._read[name]} rows are in no table, reject or "
                    f"note, the first is row {lost[0] + 1}: they would be lost, so nothing is "
                    "written; this is a fault of the importer, please report it"
                )
