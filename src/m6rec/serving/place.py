"""Where a server's things are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

STATE = "server"
"""Folder in the data folder where a server keeps what it knows."""
MEMORY = "memory"
"""Address of a journal that is gone with its process."""
MODEL = "m6-small"


@dataclass(frozen=True)
class Place:
    """Where a server's things are. state: default DATA/server; journal: a folder (default
    STATE/journal) or postgresql://…; cache: a folder (default STATE/segments) or redis://…;
    index: a Qdrant server (default: vectors are in this process);
    models: folder of models and adapters that may be opened by name; text_only: retrieval goes by
    words alone, though the journal says what people chose next."""

    data: Path
    model: str = MODEL
    adapters: tuple[Path, ...] = ()
    state: Path | None = None
    journal: str | None = None
    cache: str | None = None
    models: Path | None = None
    index: str | None = None
    text_only: bool = False

    @property
    def state_folder(self) -> Path:
        """Where the server writes."""
        return self.state or self.data / STATE

    @property
    def journal_address(self) -> str | Path:
        """As `open_journal` takes it."""
        return self.journal or self.state_folder / "journal"

    @property
    def backups(self) -> Path:
        """Where snapshots of the journal are written while it is in use."""
        return self.state_folder / "backups"
