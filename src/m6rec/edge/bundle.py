"""A bundle: one folder that a device needs and nothing else, every file with its hash.

    encode.onnx, user.onnx, item.onnx   the parts (edge/graphs.py);  model.onnx: all in one
    weights.bin       what the graphs share
    model.pte         instead of these, a program of ExecuTorch (edge/program.py)
    tokenizer.json    the words;  bundle.json: settings
    catalogue.json    ids, titles, texts of items, texts of events, priors
    vectors.bin       float32 scale of each item, then int8 vectors
    rank_encode.onnx, rank.onnx, states.bin   a ranking, where there is one: its parts, and the
                      state of each item's text in float16 [I, D]
    LICENSE, NOTICE   Apache-2.0, and where the weights come from
    manifest.json     bytes and sha256 of each file, and of the whole

Legend: I items, K projection width, S texts, N tokens.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from m6rec.config import Settings, SpecialIds
from m6rec.edge.graph import WEIGHTS, EdgeError, need
from m6rec.edge.runners import PROGRAM, open_runner
from m6rec.text.tokenizer import Tokenizer

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


class RankConfig(Settings):
    """The ranking of a bundle. parity: share of requests with PyTorch's first ten; off: the largest
    difference of a chance among them."""

    name: str
    max_history: int
    parity: float
    requests: int
    off: float


class BundleConfig(Settings):
    """What a device has to know beside the files.

    runtime: what runs it. budgets are in tokens, between the brackets. event: what choosing an item
    is called. parity: share of generated requests for which it gave the same first ten as PyTorch.
    """

    format: Literal[1] = 1
    runtime: Literal["onnx", "executorch"] = "onnx"
    name: str
    backbone: str
    precision: Literal["int8", "w8a8", "fp32"]
    layers: int
    lower: int
    width: int
    projection: int
    special: SpecialIds
    item_budget: int
    event_budget: int
    max_history: int
    event: str
    parity: float
    requests: int
    rank: RankConfig | None = None


@dataclass(frozen=True)
class Shelf:
    """The catalogue as a device has it, by position: vectors_IK is int8, scale_I float32."""

    ids: list[str]
    titles: list[str]
    texts: list[str]
    events: list[str]
    prior_I: np.ndarray
    vectors_IK: np.ndarray
    scale_I: np.ndarray

    def to_json(self) -> str:
        """All but the vectors. A text that is the title, and priors of zero, are left out."""
        told: dict[str, Any] = {"ids": self.ids, "titles": self.titles, "events": self.events}
        told["texts"] = [
            None if text == title else text
            for text, title in zip(self.texts, self.titles, strict=True)
        ]
        told["prior"] = (
            [float(f"{value:.9g}") for value in self.prior_I] if self.prior_I.any() else []
        )
        return json.dumps(told, ensure_ascii=False, separators=(",", ":"))

    def packed_vectors(self) -> bytes:
        """vectors.bin."""
        return self.scale_I.astype("<f4").tobytes() + self.vectors_IK.tobytes()

    @classmethod
    def read(cls, folder: Path) -> Shelf:
        """From a bundle's files."""
        told = json.loads((folder / CATALOGUE).read_text(encoding="utf-8"))
        count = len(told["ids"])
        body = (folder / VECTORS).read_bytes()
        texts = [t or title for t, title in zip(told["texts"], told["titles"], strict=True)]
        prior = told["prior"] or [0.0] * count
        return cls(
            told["ids"],
            told["titles"],
            texts,
            told["events"],
            np.array(prior, np.float64),
            np.frombuffer(body, np.int8, offset=4 * count).reshape(count, -1),
            np.frombuffer(body, "<f4", count),
        )


@dataclass(frozen=True)
class Ranked:
    """One item of an answer. because: position in the history of the event nearest to it."""

    item_id: str
    title: str
    score: float
    because: int


class EdgeBundle:
    """A bundle opened with the runtime it is for: what a device does, in Python."""

    def __init__(self, folder: Path, config: BundleConfig, threads: int = 1) -> None:
        self.folder, self.config = folder, config
        self.tokenizer = Tokenizer.load(folder / TOKENIZER, config.special)
        self.shelf = Shelf.read(folder)
        self._place = {item_id: place for place, item_id in enumerate(self.shelf.ids)}
        self._runner = open_runner(folder, threads)

    @classmethod
    def open(cls, folder: str | Path, threads: int = 1) -> EdgeBundle:
        """Opens a folder. Raises EdgeError for what is no bundle, or is damaged."""
        path = Path(folder)
        check(path)
        return cls(path, BundleConfig.read(path / CONFIG), threads)

    def run(self, graph: str, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """The one output of a part (encode, user, item; of ONNX bundles model as well)."""
        return self._runner.run(graph, inputs)

    def encode(self, texts: Sequence[str], budget: int) -> np.ndarray:
        """States of texts: float32 [S, D]."""
        ids_SN, _ = self.tokenizer.segments(texts, [budget] * len(texts))
        return self.run("encode", {"ids": ids_SN.astype(np.int32)})

    def rerank(
        self,
        history: Sequence[str],
        k: int = 10,
        candidates: Sequence[str] | None = None,
        exclude_seen: bool = True,
        bend: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> list[Ranked]:
        """The k best items for a history (oldest first) of item ids and of free texts.

        candidates: ids of items; None: the whole catalogue. bend: changes the user vector (float64
        [K]) before items are scored (edge/personal.py). Raises EdgeError for an empty history, or a
        candidate that the catalogue has not.
        """
        user_K = self.user_vector(history)
        user_K = user_K if bend is None else bend(user_K)
        shelf, asked = self.shelf, self._asked(candidates, history if exclude_seen else ())
        vectors_NK = shelf.vectors_IK[asked].astype(np.float64)
        score_N = (vectors_NK @ user_K) * shelf.scale_I[asked] + shelf.prior_I[asked]
        return self._best(history, asked, score_N, k)

    def rank(
        self,
        history: Sequence[str],
        k: int = 10,
        candidates: Sequence[str] | None = None,
        exclude_seen: bool = True,
    ) -> list[Ranked]:
        """The k items that a yes is likeliest for; the score is its chance. Arguments as `rerank`.

        Raises EdgeError, also for a bundle without a ranking.
        """
        if self.config.rank is None:
            raise EdgeError("the bundle has no ranking; export it with --rank ADAPTER")
        if not history:
            raise EdgeError("the history is empty; right is at least one item id or text")
        asked = self._asked(candidates, history if exclude_seen else ())
        if not len(asked):
            return []
        texts, budget = self._told(history, self.config.rank.max_history), self.config.event_budget
        ids_GN, _ = self.tokenizer.segments(texts, [budget] * len(texts))
        states_GD = self.run("rank_encode", {"ids": ids_GN.astype(np.int32)})
        states_ID = self._item_states[asked].astype(np.float32)
        chance_N = self.run("rank", {"history": states_GD, "items": states_ID})
        return self._best(history, asked, chance_N, k)

    @cached_property
    def _item_states(self) -> np.ndarray:
        body = (self.folder / STATES).read_bytes()
        return np.frombuffer(body, "<f2").reshape(len(self.shelf.ids), -1)

    def _best(
        self, history: Sequence[str], asked: np.ndarray, score_N: np.ndarray, k: int
    ) -> list[Ranked]:
        shelf, places = self.shelf, [self._place.get(entry) for entry in history]
        best = np.argsort(-score_N, kind="stable")[:k]
        why = self._because(history, places, shelf.vectors_IK[asked[best]].astype(np.float64))
        return [
            Ranked(shelf.ids[asked[n]], shelf.titles[asked[n]], float(score_N[n]), because)
            for n, because in zip(best.tolist(), why, strict=True)
        ]

    def user_vector(self, history: Sequence[str]) -> np.ndarray:
        """The unit vector of a history, oldest first: float64 [K]. EdgeError for an empty one."""
        if not history:
            raise EdgeError("the history is empty; right is at least one item id or text")
        texts = self._told(history, self.config.max_history)
        states_GD = self.encode(texts, self.config.event_budget)
        return self.run("user", {"states": states_GD}).astype(np.float64)

    def _told(self, history: Sequence[str], most: int) -> list[str]:
        """The newest events in words."""
        newest = history[max(0, len(history) - most) :]
        places = [self._place.get(entry) for entry in newest]
        return [
            entry if place is None else self.shelf.events[place]
            for entry, place in zip(newest, places, strict=True)
        ]

    def _asked(self, candidates: Sequence[str] | None, without: Sequence[str]) -> np.ndarray:
        """Positions of the candidates (None: of all items), `without` left out."""
        names = self.shelf.ids if candidates is None else candidates
        unknown = [name for name in names if name not in self._place]
        if unknown:
            raise EdgeError(f"the bundle's catalogue has no item {unknown[0]!r}")
        left = set(without)
        return np.array([self._place[name] for name in names if name not in left], dtype=np.int64)

    def _because(
        self, history: Sequence[str], places: Sequence[int | None], found_NK: np.ndarray
    ) -> list[int]:
        """For each item the event whose thing is nearest to it; of equals the newest."""
        free = [entry for entry, place in zip(history, places, strict=True) if place is None]
        told = iter(self.item_vectors(free)) if free else iter(())
        rows = []
        for place in places:
            if place is None:
                rows.append(next(told).astype(np.float64))
            else:
                rows.append(self.shelf.vectors_IK[place] * float(self.shelf.scale_I[place]))
        likeness_NG = found_NK @ np.stack(rows).T
        last = likeness_NG.shape[1] - 1
        return [last - int(row[::-1].argmax()) for row in likeness_NG]

    def item_vectors(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors of free texts, read as items: float32 [S, K]."""
        return self.run("item", {"states": self.encode(texts, self.config.item_budget)})


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
    if PROGRAM in names:
        return PROGRAM_FILES
    return (*FILES, *RANK_FILES) if any(name in names for name in RANK_FILES) else FILES


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
