"""A corpus: documents made of named parts, some of them held out, and a manifest beside them.

Folder: documents.parquet (one row per document), manifest.json (sources, licences, counts).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import polars as pl

from m6rec.data.parquet import scan
from m6rec.records import M6Error

Kind = Literal[
    "item", "review", "dialogue", "explanation", "behaviour", "judgement", "query", "text"
]
DOCUMENTS, MANIFEST = "documents.parquet", "manifest.json"
SCHEMA: dict[str, Any] = {
    "source": pl.String,
    "kind": pl.String,
    "key": pl.String,
    "roles": pl.List(pl.String),
    "parts": pl.List(pl.String),
    "items": pl.List(pl.String),
    "heldout": pl.Boolean,
}


class CorpusError(M6Error):
    """A corpus, or a source of one, that can not be read."""


@dataclass(frozen=True, slots=True)
class Document:
    """One text with structure.

    roles name the parts: title, brand, category, description (item); item, rating, summary, review
    (review); user, system (dialogue, in order); profile, item, explanation (explanation); a verb
    such as "bought" for each event, oldest first (behaviour, where `items` holds the item's whole
    text beside each event's short one); judgement (what a user liked and disliked, in words), query
    (a search and what it found) and text (running text), of one part for each piece. key: what
    decides whether a document is held out, so that everything about one item, dialogue or user
    falls on one side.
    """

    source: str
    kind: Kind
    key: str
    roles: tuple[str, ...]
    parts: tuple[str, ...]
    items: tuple[str, ...] = ()
    heldout: bool = False

    def part(self, role: str) -> str:
        """The first part with a role, "" where there is none."""
        return self.parts[self.roles.index(role)] if role in self.roles else ""

    @property
    def text(self) -> str:
        """All parts in one string."""
        return " ".join(self.parts)


def is_held_out(key: str, share: float) -> bool:
    """Whether a document is kept from training: by the hash of its key alone."""
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2.0**64


@dataclass(frozen=True)
class Corpus:
    """Documents to train on, documents held out, and where they come from."""

    train: tuple[Document, ...]
    heldout: tuple[Document, ...]
    manifest: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """Names the documents; a run can only be resumed on the same ones."""
        return str(self.manifest["fingerprint"])


def write_corpus(folder: Path, documents: Iterable[Document], manifest: dict[str, Any]) -> None:
    """Writes documents and manifest (completed with the fingerprint of the documents)."""
    rows = [asdict(document) for document in documents]
    frame = pl.DataFrame(rows, schema=SCHEMA)
    folder.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(folder / DOCUMENTS, compression="zstd")
    body = {**manifest, "fingerprint": _fingerprint(rows)}
    text = json.dumps(body, indent=2, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def read_corpus(folder: Path) -> Corpus:
    """Reads a corpus folder; CorpusError says what is missing or damaged."""
    for name in (DOCUMENTS, MANIFEST):
        if not (folder / name).is_file():
            raise CorpusError(f"{folder / name} is missing; a corpus is written by build_corpus")
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        frame = scan(folder / DOCUMENTS).collect()
    except (json.JSONDecodeError, UnicodeDecodeError, pl.exceptions.PolarsError, OSError) as error:
        raise CorpusError(f"{folder} is damaged: {error}") from None
    if frame.schema != pl.Schema(SCHEMA):
        raise CorpusError(f"{folder / DOCUMENTS} has other columns than {', '.join(SCHEMA)}")
    documents = [_document(row) for row in frame.iter_rows(named=True)]
    return Corpus(
        tuple(d for d in documents if not d.heldout),
        tuple(d for d in documents if d.heldout),
        manifest,
    )


def _document(row: dict[str, Any]) -> Document:
    if row["kind"] not in get_args(Kind):
        raise CorpusError(f"kind {row['kind']!r}: right is {', '.join(get_args(Kind))}")
    lists = {name: tuple(row[name]) for name in ("roles", "parts", "items")}
    return Document(**{**row, **lists})


def _fingerprint(rows: list[dict[str, Any]]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True).encode())
    return digest.hexdigest()[:32]
