"""A user's own sources → a corpus folder: found by their form, reused while unchanged."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from m6rec.data.files import FORMATS
from m6rec.data.labels import LabelRule
from m6rec.data.options import Method
from m6rec.data.schema import TABLES
from m6rec.data.tables import dataset_files
from m6rec.training.corpus.build import HELD_OUT, taken
from m6rec.training.corpus.documents import (
    DOCUMENTS,
    MANIFEST,
    CorpusError,
    Document,
    write_corpus,
)
from m6rec.training.corpus.folder import DataFolder
from m6rec.training.corpus.plaintext import text_documents

VERSION = 2
"""Goes up when the same sources give other documents."""
MADE_FROM = "made_from"
NOT_STATED = "not stated"
RIGHT = (
    "right is a data folder (items, events, reviews or queries as "
    f"{', '.join('.' + kind for kind in FORMATS)}; dialogs.jsonl), a .txt file, or a folder of them"
)


@dataclass(frozen=True)
class OwnSource:
    """files: all that documents are made of, in order."""

    name: str
    path: Path
    form: Literal["data", "text"]
    files: tuple[Path, ...]


@dataclass(frozen=True)
class OwnOptions:
    """licence: of all sources (None: not stated). method, label: how the data will be judged."""

    licence: str | None = None
    method: Method = "auto"
    label: LabelRule | None = None
    heldout: float = HELD_OUT


def find_sources(paths: Sequence[Path]) -> list[OwnSource]:
    """The sources at some paths, with names of their own. CorpusError says what a path lacks."""
    found: list[OwnSource] = []
    for path in paths:
        source = _source(path)
        there = {other.name for other in found}
        others = (f"{source.name}-{n}" for n in itertools.count(2))
        name = next(n for n in itertools.chain([source.name], others) if n not in there)
        if any(other.path.resolve() == path.resolve() for other in found):
            raise CorpusError(f"{path} is given twice; give each source once")
        found.append(OwnSource(name, path, source.form, source.files))
    return found


def _source(path: Path) -> OwnSource:
    name = path.resolve().name
    if path.is_file():
        if path.suffix.lower() != ".txt":
            raise CorpusError(f"{path} is no source of texts; {RIGHT}")
        return OwnSource(name, path, "text", (path,))
    if not path.is_dir():
        raise CorpusError(f"{path} is not there; {RIGHT}")
    if _holds_tables(path):
        there = dataset_files(path)
        files = [*there.tables.values(), *there.requests.values()]
        files += [extra for extra in (there.dialogs, there.templates) if extra is not None]
        return OwnSource(name, path, "data", tuple(sorted(files)))
    texts = tuple(sorted(p for p in path.rglob("*.txt") if p.is_file()))
    if not texts:
        raise CorpusError(f"{path} holds neither tables nor .txt files; {RIGHT}")
    return OwnSource(name, path, "text", texts)


def _holds_tables(folder: Path) -> bool:
    names = [f"{table}.{kind}" for table in TABLES for kind in FORMATS]
    there = any((folder / name).is_file() for name in [*names, "dialogs.jsonl"])
    return there or any(folder.glob("requests.*.jsonl"))


def own_corpus(
    paths: Sequence[Path],
    out: Path,
    options: OwnOptions = OwnOptions(),
    in_use: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """The manifest of the corpus of some sources in folder `out`: built, or found there unchanged.

    in_use: an unfinished run learns from what lies in `out`, so that other sources are an error.
    Raises CorpusError, or DataError for tables that can not be used.
    """
    sources = find_sources(paths)
    made_from = _digest(sources, options)
    old = _manifest(out)
    if old is not None and old.get(MADE_FROM) == made_from:
        say(f"the corpus in {out} is of these sources as they are now: used again")
        return _with_licence(old, out, options)
    if in_use or (old is not None and MADE_FROM not in old):
        raise CorpusError(
            f"{out} is of other sources, of these before they changed, or cut in another way; give "
            "another --out (its --start may be the checkpoint of this one), or delete this one"
        )
    documents, body = _read(sources, options, say)
    if not documents:
        gone: Counter[str] = Counter()
        for entry in body["sources"].values():
            gone.update(entry["dropped"])
            gone.update({f"{k}, not of train": n for k, n in entry.get("left_out", {}).items()})
        why = ", ".join(f"{cause}: {count}" for cause, count in gone.items()) or "no texts there"
        raise CorpusError(
            f"no text is left of {', '.join(str(path) for path in paths)} ({why}); English texts "
            "of a few words or more are kept, and of data the train rows"
        )
    fresh = out.with_name(out.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    write_corpus(fresh, documents, {**body, MADE_FROM: made_from})
    shutil.rmtree(out, ignore_errors=True)
    fresh.rename(out)
    manifest = _manifest(out)
    assert manifest is not None
    return manifest


def _read(
    sources: Sequence[OwnSource], options: OwnOptions, say: Callable[[str], None]
) -> tuple[list[Document], dict[str, Any]]:
    documents: list[Document] = []
    body: dict[str, Any] = {"held_out_share": options.heldout, "sources": {}, "missing": []}
    for source in sources:
        said: dict[str, Any] = {"takes": f"{len(source.files)} text files"}
        found: Iterator[Document]
        if source.form == "text":
            found = text_documents(source.name, list(source.files))
            kept, entry = taken(found, options.heldout)
        else:
            data = DataFolder(source.name, source.path, options.method, options.label)
            kept, entry = taken(data.documents(), options.heldout)
            said = {
                "takes": "items, and rows of train of the other tables",
                "rules": data.rules,
                "left_out": dict(data.left_out),
            }
        documents += kept
        licence = options.licence or NOT_STATED
        body["sources"][source.name] = {
            "origin": source.path.name, "licence": licence, **said, **entry
        }  # fmt: skip
        say(f"{source.name}: {len(kept)} documents, dropped {entry['dropped']}")
        for rule in said.get("rules", ()):
            say(f"  {rule}")
    return documents, body


def _digest(sources: Sequence[OwnSource], options: OwnOptions) -> str:
    """Names what a corpus is made of: contents of files and the way they are cut, no licence."""
    label = None if options.label is None else options.label.to_dict()
    how = [VERSION, options.method, label, options.heldout]
    digest = hashlib.sha256(json.dumps(how).encode())
    for source in sources:
        for path in source.files:
            where = path.name if source.path == path else path.relative_to(source.path).as_posix()
            digest.update(json.dumps([source.name, source.form, where]).encode())
            try:
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
            except OSError as error:
                raise CorpusError(f"{path}: can not be read ({error.strerror})") from None
    return digest.hexdigest()[:32]


def _manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a whole corpus folder, None where there is none."""
    try:
        body = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return body if isinstance(body, dict) and (folder / DOCUMENTS).is_file() else None


def _with_licence(manifest: dict[str, Any], folder: Path, options: OwnOptions) -> dict[str, Any]:
    """The manifest with the licence that is given now, if one is; written where it is another."""
    entries = manifest["sources"].values()
    if options.licence and any(entry["licence"] != options.licence for entry in entries):
        for entry in entries:
            entry["licence"] = options.licence
        text = json.dumps(manifest, indent=2, ensure_ascii=False)
        (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return manifest
