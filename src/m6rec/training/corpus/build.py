"""Sources → one corpus folder: filtered, without near duplicates, a share held out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from m6rec.training.corpus.cleaning import is_english
from m6rec.training.corpus.documents import (
    CorpusError,
    Document,
    Kind,
    is_held_out,
    write_corpus,
)
from m6rec.training.corpus.minhash import near_duplicates
from m6rec.training.corpus.sources import SOURCES, Source

HELD_OUT = 0.02
COMPARED_FROM = 20
"""Words from which on a document can be a near duplicate; shorter ones must be equal."""
SHORTEST: dict[Kind, int] = {
    "item": 1,
    "review": 5,
    "dialogue": 8,
    "explanation": 5,
    "behaviour": 2,
    "judgement": 4,
    "query": 4,
    "text": 5,
}
"""Fewest words of a document, by kind."""
OF_TITLES: frozenset[Kind] = frozenset({"behaviour", "judgement"})
"""Kinds made of items' titles: in no language, and alike where people are alike."""


def build_corpus(
    data: Path,
    out: Path,
    sources: Sequence[Source] = SOURCES,
    heldout: float = HELD_OUT,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Reads every source under the data root, writes the corpus folder, returns its manifest.

    A source whose folder is missing is left out and named in the manifest. Raises CorpusError
    where nothing is left.
    """
    documents: list[Document] = []
    body: dict[str, Any] = {"held_out_share": heldout, "sources": {}, "missing": []}
    for source in sources:
        folder = data / source.folder
        if not folder.is_dir():
            body["missing"].append(source.name)
            continue
        kept, entry = taken(source.read(folder), heldout)
        documents += kept
        body["sources"][source.name] = {
            "origin": source.origin,
            "licence": source.licence,
            "takes": source.takes,
            **entry,
        }
        say(f"{source.name}: {len(kept)} documents, dropped {entry['dropped']}")
    if not documents:
        raise CorpusError(f"{data} holds none of {', '.join(s.name for s in sources)}")
    write_corpus(out, documents, body)
    return body


def taken(
    documents: Iterable[Document], heldout: float
) -> tuple[list[Document], dict[str, dict[str, Any]]]:
    """What is kept of a source, a share of it held out, and its counts for the manifest."""
    kept, dropped = filtered(documents)
    kept = [replace(d, heldout=is_held_out(d.key, heldout)) for d in kept]
    return kept, {"documents": _counts(kept), "dropped": dict(dropped)}


def filtered(documents: Iterable[Document]) -> tuple[list[Document], Counter[str]]:
    """Documents that are English, long enough and no repeats; how many were dropped, and why."""
    dropped: Counter[str] = Counter()
    passed: list[Document] = []
    seen: set[tuple[str, ...]] = set()
    for document in documents:
        if not document.text.strip():
            dropped["nothing to read"] += 1
        elif document.kind not in OF_TITLES and not is_english(_judged(document)):
            dropped["language"] += 1
        elif len(document.text.split()) < SHORTEST[document.kind]:
            dropped["length"] += 1
        elif document.kind not in OF_TITLES and document.parts in seen:
            dropped["repeat"] += 1
        else:
            seen.add(document.parts)
            passed.append(document)
    compared = [i for i, d in enumerate(passed) if _is_compared(d)]
    repeats = near_duplicates([passed[i].text for i in compared])
    gone = {i for i, repeat in zip(compared, repeats, strict=True) if repeat}
    dropped["near duplicate"] += len(gone)
    return [d for i, d in enumerate(passed) if i not in gone], +dropped


def _judged(document: Document) -> str:
    """The text that tells the language: a title alone has too few common words for that."""
    if document.kind == "query":
        return document.text[:40]
    if document.kind != "item":
        return document.text
    return document.part("description") or document.part("title")[:40]


def _is_compared(document: Document) -> bool:
    return document.kind not in OF_TITLES and len(document.text.split()) >= COMPARED_FROM


def _counts(documents: Sequence[Document]) -> dict[str, dict[str, int]]:
    out: dict[str, dict[str, int]] = {}
    for document in documents:
        entry = out.setdefault(document.kind, {"train": 0, "heldout": 0, "characters": 0})
        entry["heldout" if document.heldout else "train"] += 1
        entry["characters"] += sum(len(part) for part in document.parts)
    return out
