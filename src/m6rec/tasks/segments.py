"""Texts of a task as rows of one table: each is tokenised once and, below L', encoded once.

Legend: S segments, N tokens of a segment, K states kept, D width, B requests, G segments of each.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.nn import Module

from m6rec.config import SpecialIds
from m6rec.model import plans
from m6rec.model.m6 import M6
from m6rec.model.plans import Packed, SegmentStates, SegmentTokens
from m6rec.model.precision import autocast
from m6rec.stores.states.cache import SegmentCache
from m6rec.tasks.cached import keep, recall
from m6rec.text.tokenizer import Tokenizer

Plan = Literal["late", "full"]
TOKENS_PER_BATCH = 4096
SHOW_PROGRESS_FROM = 4000
GROWTH = 1.5
"""How much larger the buffer of states becomes when it is full."""
READ_ROWS = np.array([plans.READ_SOURCE, plans.READ_TARGET], dtype=np.int64)


class SegmentMemory:
    """Texts by row, and the states that were made of them; tasks of one backbone may share it.

    Grows with every new text until `clear`, which whoever serves calls now and then.

    ids: token ids of every row; rows 0 and 1 are the read tokens [EOS'] and [EOS]. rows: row of a
    text cut at a budget. states: as float16, of the rows that were encoded (others are empty); None
    before any was. cache: where states are looked up before they are computed, and kept
    (tasks/cached.py). lock: held while rows or states are put, never while any are computed, so
    that threads may share it; a row never changes. generation: how often states were dropped.
    """

    def __init__(self, special: SpecialIds, cache: SegmentCache | None = None) -> None:
        self.rows: dict[tuple[str, int], int] = {}
        self.ids: list[list[int]] = [[special.eos_source], [special.eos]]
        self.states: SegmentStates | None = None
        self.cache = cache
        self.lock = threading.RLock()
        self.generation = 0
        self._room: SegmentStates | None = None
        self._done_S = np.zeros(0, dtype=bool)
        self._encoded = 0

    def missing(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Those of some rows (None: all) that were not encoded, and of the read tokens."""
        if self._encoded == len(self.ids):
            return np.zeros(0, dtype=np.int64)
        done_S = np.zeros(len(self.ids), dtype=bool)
        done_S[: len(self._done_S)] = self._done_S
        if rows is None:
            return np.flatnonzero(~done_S)
        asked = np.unique(np.concatenate([READ_ROWS, rows.ravel().clip(0)]))
        found: np.ndarray = asked[~done_S[asked]]
        return found

    def put(self, rows: Sequence[int], fresh: SegmentStates) -> None:
        """Takes states of rows in; who was faster stays. The buffer has room to spare, so few of
        these copy what was there; what `states` was before stays as it is.
        """
        total = len(self.ids)
        self._make_room(total, fresh)
        row_N = np.array(rows, dtype=np.int64)
        new_N = ~self._done_S[row_N]
        room = self._room
        assert room is not None
        if new_N.any():
            some = torch.from_numpy(new_N).to(fresh.h_SKD.device)
            at, K = torch.from_numpy(row_N[new_N]).to(room.h_SKD.device), fresh.h_SKD.shape[1]
            room.h_SKD[at, :K] = fresh.h_SKD[some].to(room.h_SKD.dtype)
            room.valid_SK[at, :K] = fresh.valid_SK[some]
            self._done_S[row_N[new_N]] = True
            self._encoded += int(new_N.sum())
        self.states = SegmentStates(room.h_SKD[:total], room.valid_SK[:total])

    def _make_room(self, total: int, fresh: SegmentStates) -> None:
        if total > len(self._done_S):
            grown_S = np.zeros(total, dtype=bool)
            grown_S[: len(self._done_S)] = self._done_S
            self._done_S = grown_S
        room, width = self._room, fresh.h_SKD.shape[1]
        if room is not None and total <= len(room.h_SKD) and width <= room.h_SKD.shape[1]:
            return
        size = total if room is None else max(total, int(len(room.h_SKD) * GROWTH))
        width = width if room is None else max(width, room.h_SKD.shape[1])
        shape = (size, width, fresh.h_SKD.shape[2])
        h_SKD = torch.zeros(shape, dtype=torch.float16, device=fresh.h_SKD.device)
        grown = SegmentStates(h_SKD, fresh.valid_SK.new_zeros(shape[:2]))
        if room is not None:
            S, K = room.valid_SK.shape
            grown.h_SKD[:S, :K] = room.h_SKD
            grown.valid_SK[:S, :K] = room.valid_SK
        self._room = grown

    def forget_states(self) -> None:
        """Drops the states; the texts keep their rows."""
        with self.lock:
            self.states = self._room = None
            self._done_S, self._encoded = np.zeros(0, dtype=bool), 0
            self.generation += 1

    def clear(self) -> None:
        """Drops texts and states. Nobody may hold row numbers from before."""
        with self.lock:
            self.forget_states()
            self.rows.clear()
            del self.ids[2:]


class SegmentTable:
    """Texts → rows of a memory → states after layer L'.

    lower is L'. segment_states: k summary vectors, or "all" token states. The states are those of
    the backbone as it stands when they are first asked for; `forget_states` drops them.
    memory: shared with other tables of the same frozen layers, `lower` and `segment_states`.
    """

    def __init__(
        self,
        model: M6,
        tokenizer: Tokenizer,
        lower: int,
        segment_states: int | Literal["all"],
        memory: SegmentMemory | None = None,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.lower, self.segment_states = lower, segment_states
        self.memory = memory or SegmentMemory(tokenizer.special)

    def __len__(self) -> int:
        return len(self.memory.ids)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.model.read_token.device

    def add(self, texts: Sequence[str], budget: int) -> np.ndarray:
        """Rows of the texts, cut at `budget` tokens; int64 [len(texts)]."""
        rows_of, ids_of, lock = self.memory.rows, self.memory.ids, self.memory.lock
        with lock:
            fresh = [t for t in dict.fromkeys(texts) if (t, budget) not in rows_of]
        encoded = self.tokenizer.encode_batch(fresh, [budget] * len(fresh)) if fresh else []
        special = self.tokenizer.special
        with lock:
            for text, ids in zip(fresh, encoded, strict=True):
                if (text, budget) not in rows_of:  # else another thread was faster
                    rows_of[text, budget] = len(ids_of)
                    ids_of.append([special.bos_source, *ids, special.eos_source])
            return np.array([rows_of[text, budget] for text in texts], dtype=np.int64)

    def tells_nothing(self, rows: np.ndarray, besides: str = "") -> np.ndarray:
        """Which rows are of texts that the vocabulary can not read at all; bool [len(rows)].

        besides: words that every text has.
        """
        ids, tells_nothing = self.memory.ids, self.tokenizer.tells_nothing
        always = frozenset(self.tokenizer.encode(besides, len(besides)))
        found = [tells_nothing(ids[row][1:-1], always) for row in rows.tolist()]
        return np.array(found, dtype=bool)

    def tokens(self, rows: Sequence[int] | np.ndarray) -> SegmentTokens:
        """Token ids of some rows, padded to the longest."""
        ids = [self.memory.ids[row] for row in rows]
        width = max(len(row) for row in ids)
        pad = self.tokenizer.special.pad
        ids_SN = np.full((len(ids), width), pad, dtype=np.int64)
        valid_SN = np.zeros((len(ids), width), dtype=bool)
        for index, row in enumerate(ids):
            ids_SN[index, : len(row)] = row
            valid_SN[index, : len(row)] = True
        return SegmentTokens(
            torch.from_numpy(ids_SN).to(self.device), torch.from_numpy(valid_SN).to(self.device)
        )

    def states(self, rows: np.ndarray | None = None) -> SegmentStates:
        """States after layer L', as float16: of some rows at least (-1 is none), or of all.

        Only what is new is encoded, and while it is, others may ask: they wait for no rows but
        their own.
        """
        memory = self.memory
        while True:
            with memory.lock:
                generation, missing = memory.generation, memory.missing(rows)
                if memory.states is not None and not len(missing):
                    return memory.states
            # Training asks for states under autocast, which can not join tensors of float16.
            with torch.autocast(self.device.type, enabled=False):
                self._encode(missing.tolist(), generation)

    def forget_states(self) -> None:
        """Drops cached states, for a backbone that has changed below L'."""
        self.memory.forget_states()

    def live(self, rows: np.ndarray) -> SegmentStates:
        """States of some rows computed now, with a graph: for training below L'."""
        return self._summarise(plans.encode_segments(self.model, self.tokens(rows), self.lower))

    def _summarise(self, states: SegmentStates) -> SegmentStates:
        if self.segment_states == "all":
            return states
        return plans.summarise(states, self.segment_states)

    def _encode(self, rows: Sequence[int], generation: int) -> None:
        """Puts the states of some rows into the memory, if nobody dropped its states meanwhile."""
        ids, cache = self.memory.ids, self.memory.cache

        def place(found: Sequence[int], part: SegmentStates) -> None:
            if len(found):
                on_device = SegmentStates(
                    part.h_SKD.half().to(self.device), part.valid_SK.to(self.device)
                )
                with self.memory.lock:
                    if self.memory.generation == generation:
                        self.memory.put(found, on_device)

        fresh = list(rows) if cache is None else recall(cache, ids, rows, place)
        order = sorted(fresh, key=lambda row: len(ids[row]))
        batches = list(_batches(order, [len(ids[row]) for row in order])) if order else []
        shown: Iterable[list[int]] = batches
        if len(order) >= SHOW_PROGRESS_FROM:  # even a silent bar costs milliseconds
            text = f"encoding {len(order)} segments"
            shown = track(batches, text, console=Console(stderr=True), transient=True)
        with torch.no_grad(), autocast(self.device.type):
            for batch in shown:
                part = self.live(np.array(batch))
                place(batch, part if cache is None else keep(cache, ids, batch, part))


def _batches(order: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
    """Rows sorted by length, in batches of about the same number of tokens."""
    out: list[list[int]] = [[]]
    for row, length in zip(order, lengths, strict=True):
        if out[-1] and (len(out[-1]) + 1) * length > TOKENS_PER_BATCH:
            out.append([])
        out[-1].append(row)
    return out


def below_is_frozen(model: M6, lower: int) -> bool:
    """Whether nothing below layer L' + 1 is trained, so that cached states stay right."""
    below: list[Module] = [model.tokens, *(model.blocks[index] for index in range(lower))]
    while below:  # asked at every call, and `Module.parameters` looks for what is shared as well
        module = below.pop()
        if any(p is not None and p.requires_grad for p in module._parameters.values()):
            return False
        below += [inner for inner in module._modules.values() if inner is not None]
    return True


def read(
    table: SegmentTable,
    packed: Packed,
    plan: Plan,
    frozen: bool = True,
    residual_BGD: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """States at the read tokens of each request: [B, Q, D].

    frozen: layers 1…L' do not change, so the late plan reads the table's states (the cached plan).
    dropout: share of every cached state's entries set to zero, in training.
    """
    model, asked_BG = table.model, packed.index_BG  # before it moves: no device is waited for
    packed = packed.to(model.read_token.device)
    if plan == "late" and frozen:
        states = table.states(asked_BG.cpu().numpy())
        kept_SKD = states.h_SKD[packed.index_BG.clamp(min=0)].flatten(0, 1).float()
        valid_SK = states.valid_SK[packed.index_BG.clamp(min=0)].flatten(0, 1)
        if dropout:
            kept_SKD = torch.nn.functional.dropout(kept_SKD, dropout)
        own = torch.arange(packed.index_BG.numel(), device=packed.index_BG.device)
        index_BG = torch.where(packed.index_BG >= 0, own.view_as(packed.index_BG), -1)
        states, packed = SegmentStates(kept_SKD, valid_SK), replace(packed, index_BG=index_BG)
        return plans.late(model, states, packed, table.lower, residual_BGD)
    used, few = _only_used(packed)
    if plan == "full":
        return plans.full(model, table.tokens(used), few, table.lower, residual_BGD)
    return plans.late(model, table.live(used), few, table.lower, residual_BGD)


def _only_used(packed: Packed) -> tuple[np.ndarray, Packed]:
    """The table rows that a batch uses (the read tokens stay rows 0 and 1), and it over those."""
    index_BG = packed.index_BG.cpu().numpy()
    both = np.concatenate([[plans.READ_SOURCE, plans.READ_TARGET], index_BG.clip(0).ravel()])
    used, inverse = np.unique(both, return_inverse=True)
    few_BG = np.where(index_BG >= 0, inverse.ravel()[2:].reshape(index_BG.shape), -1)
    return used, replace(packed, index_BG=torch.from_numpy(few_BG).to(packed.index_BG.device))
