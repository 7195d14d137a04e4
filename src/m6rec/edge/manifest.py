"""A bundle: one folder that a device needs and nothing else, every file with its hash.

    encode.onnx, user.onnx, item.onnx   the parts (edge/graphs.py);  model.onnx: all in one
    weights.bin       what the graphs share
    model.pte         instead of these, a program of ExecuTorch (edge/program.py)
    tokenizer.json    the words;  bundle.json: settings
    catalogue.json    ids, titles, texts of items, texts of events, priors
    vectors.bin       float32 scale of each item, then int8 vectors
    rank_encode.onnx, rank.onnx, states.bin   a ranking, where there is one: its parts, and the
                      state of each item's text in float16 [I, D]
    transitions.bin   what people chose next, where there is a log (edge/transitions.py)
    LICENSE, NOTICE   Apache-2.0, and where the weights come from
    manifest.json     bytes and sha256 of each file, and of the whole

Legend: I items, K projection width, D width.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from m6rec.edge.graph import WEIGHTS, EdgeError, need
from m6rec.edge.runners import PROGRAM
from m6rec.edge.transitions import TRANSITIONS

FORMAT = 1
CONFIG, CATALOGUE, VECTORS, MANIFEST = (
    "bundle.json",
    "catalogue.json",
    "vectors.bin",
    "manifest.json",
)
TOKENIZER, STATES = "tokenizer.json", "states.bin"
GRAPHS = ("encode.onnx", "user.onnx", "item.onnx", "model.onnx")
BESIDE = (TOKENIZER, CONFIG, CATALOGUE, VECTORS, "LICENSE", "NOTICE")
FILES = (*GRAPHS, WEIGHTS, *BESIDE)
PROGRAM_FILES = (PROGRAM, *BESIDE)
"""Files of a bundle for ExecuTorch; FILES are those of one for ONNX Runtime."""
RANK_FILES = ("rank_encode.onnx", "rank.onnx", STATES)
"""What a bundle with a ranking has more."""
NO_DATE = (1980, 1, 1, 0, 0, 0)
"""Dates are left out of the archive, so that the same bundle is the same bytes."""


def write_bundle(folder: Path, files: Mapping[str, bytes]) -> dict[str, Any]:
    """Writes the files and their manifest, which it returns."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, body in files.items():
        (folder / name).write_bytes(body)
    manifest = manifest_of(files)
    text = json.dumps(manifest, indent=1) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    return manifest


def manifest_of(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Bytes and hash of each file; the whole is the hash of the lines `HASH  NAME`, sorted."""
    told = {
        name: {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
        for name, body in sorted(files.items())
    }
    lines = "".join(f"{entry['sha256']}  {name}\n" for name, entry in told.items())
    whole = hashlib.sha256(lines.encode()).hexdigest()
    return {"format": FORMAT, "sha256": whole, "files": told}


def check(folder: Path) -> dict[str, Any]:
    """The manifest of a whole and undamaged bundle; EdgeError names the file that is not."""
    path = folder / MANIFEST
    if not path.is_file():
        raise EdgeError(f"{path} is missing; a bundle is a folder written by `m6rec edge export`")
    try:
        manifest = dict(json.loads(path.read_text(encoding="utf-8")))
        names = set(manifest["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise EdgeError(f"{path} is not a manifest: {error}") from None
    wanted = files_of(names)
    for name in wanted:
        if name not in names or not (folder / name).is_file():
            raise EdgeError(f"{folder / name} is missing; export the bundle again")
    there = {name: (folder / name).read_bytes() for name in wanted}
    found = manifest_of(there)
    for name, entry in found["files"].items():
        if entry != manifest["files"][name]:
            raise EdgeError(f"{folder / name} is damaged: its hash is not the manifest's")
    if found["sha256"] != manifest.get("sha256"):
        raise EdgeError(f"{path} is damaged: the hash of the whole is not that of its files")
    return manifest


def files_of(names: Collection[str]) -> tuple[str, ...]:
    """The files that a bundle with these names must have, the manifest apart."""
    more = (TRANSITIONS,) if TRANSITIONS in names else ()
    if PROGRAM in names:
        return (*PROGRAM_FILES, *more)
    ranked = RANK_FILES if any(name in names for name in RANK_FILES) else ()
    return (*FILES, *ranked, *more)


def parts_of(folder: Path) -> tuple[str, ...]:
    """The files of a bundle that is there, the manifest last."""
    return (*files_of({path.name for path in folder.iterdir()}), MANIFEST)


def write_zip(folder: Path, path: Path) -> None:
    """The bundle as one archive."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in parts_of(folder):
            entry = zipfile.ZipInfo(name, NO_DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, (folder / name).read_bytes())


def compressed(folder: Path, quality: int = 9) -> dict[str, int]:
    """Bytes of each file as a web server sends it (brotli; 11 takes many times as long as 9)."""
    brotli = need("brotli")
    return {
        name: len(brotli.compress((folder / name).read_bytes(), quality=quality, lgwin=24))
        for name in parts_of(folder)
    }
