"""Examples → tensors: padded targets, sources under one of the plans, pairs for retrieval.

Batches hold examples of about the same length, so little is padding, and each example has rows of
its own, so nothing attends across documents. Legend: B examples, S segments, N tokens of a segment,
R rows of a source, T tokens of a target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from m6rec.config import SpecialIds
from m6rec.model import plans
from m6rec.model.language import SourceRows
from m6rec.model.plans import Packed, SegmentTokens
from m6rec.training.objectives import Example, Pair

ReadPlan = Literal["full", "late", "summary"]
"""full, late with every state of a segment, late with one summary vector of each (k = 1)."""
NO_LABEL = -100
SHORTER = 0.7
"""Segments shorter than this share of the longest of a group begin a new group."""
Ids = tuple[int, ...]
BatchT = TypeVar("BatchT", bound="WritingBatch | PairBatch")


@dataclass(frozen=True)
class WritingBatch:
    """Texts to write. segments: groups of equal padding (none under the full plan).

    target_BT begins with [BOS]; label_BT is what each row foretells, NO_LABEL for padding.
    """

    plan: ReadPlan
    segments: tuple[SegmentTokens, ...]
    source: SourceRows
    target_BT: Tensor
    valid_BT: Tensor
    label_BT: Tensor
    tokens: int
    target_bytes: int


@dataclass(frozen=True)
class PairBatch:
    """Users (or texts) and their items over one set of segments.

    item_B: which item of the batch a row is about, so that equal items are no negatives.
    """

    segments: tuple[SegmentTokens, ...]
    users: Packed
    items: Packed
    item_B: Tensor
    tokens: int


class SegmentSet:
    """Distinct segments, sorted into groups of about the same length.

    sink: the network keeps no state of a segment's first token (`ModelConfig.sink`).
    """

    def __init__(self, special: SpecialIds, sink: bool = False) -> None:
        self._special, self._sink = special, sink
        self._number: dict[Ids, int] = {}
        self._rows: list[Ids] = []
        self.read_source = self._add((special.eos_source,))
        self.read_target = self._add((special.eos,))

    def add(self, ids: Ids) -> int:
        """Number of the segment `[BOS'] ids [EOS']`."""
        return self._add((self._special.bos_source, *ids, self._special.eos_source))

    def _add(self, row: Ids) -> int:
        if row not in self._number:
            self._number[row] = len(self._rows)
            self._rows.append(row)
        return self._number[row]

    def states(self, number: int) -> int:
        """States that are kept of a segment: one for each token, brackets included, but a sink."""
        tokens = len(self._rows[number])
        return tokens - 1 if self._sink and tokens > 1 else tokens

    @property
    def tokens(self) -> int:
        """Tokens of all segments."""
        return sum(len(row) for row in self._rows)

    def groups(self) -> tuple[tuple[SegmentTokens, ...], np.ndarray, np.ndarray]:
        """Groups; where each segment's states begin when all are laid flat; its place in order."""
        order = sorted(range(len(self._rows)), key=lambda n: -len(self._rows[n]))
        cut: list[list[int]] = []
        for number in order:
            if not cut or len(self._rows[number]) < SHORTER * len(self._rows[cut[-1][0]]):
                cut.append([])
            cut[-1].append(number)
        first, place = np.zeros(len(order), np.int64), np.zeros(len(order), np.int64)
        place[order] = np.arange(len(order))
        groups, offset = [], 0
        for numbers in cut:
            width = len(self._rows[numbers[0]])
            ids_SN = _padded([self._rows[n] for n in numbers], width, self._special.pad)
            lengths = np.array([len(self._rows[n]) for n in numbers])
            valid_SN = np.arange(width) < lengths[:, None]
            groups.append(SegmentTokens(torch.from_numpy(ids_SN), torch.from_numpy(valid_SN)))
            first[numbers] = offset + width * np.arange(len(numbers))
            offset += width * len(numbers)
        return tuple(groups), first, place


def collate_writing(
    examples: Sequence[Example], plan: ReadPlan, special: SpecialIds, sink: bool = False
) -> WritingBatch:
    """Examples as one batch under a plan, for a network with a sink or without."""
    rows = [_full_row(e, special, sink) for e in examples]
    segments: tuple[SegmentTokens, ...] = ()
    tokens = sum(len(row) for row in rows)
    if plan != "full":
        chosen = SegmentSet(special, sink)
        numbers = [[chosen.add(ids) for _, ids in e.source] for e in examples]
        segments, first, place = chosen.groups()
        rows = [
            _late_row(e, own, chosen, first if plan == "late" else None, place)
            for e, own in zip(examples, numbers, strict=True)
        ]
        tokens = chosen.tokens
    target_BT = _padded([(special.bos, *e.target) for e in examples], None, special.pad)
    label_BT = _padded([(*e.target, special.eos) for e in examples], None, NO_LABEL)
    return WritingBatch(
        plan,
        segments,
        _source(rows),
        torch.from_numpy(target_BT),
        torch.from_numpy(label_BT != NO_LABEL),
        torch.from_numpy(label_BT),
        tokens + sum(len(e.target) + 1 for e in examples),
        sum(e.target_bytes for e in examples),
    )


def collate_pairs(pairs: Sequence[Pair], special: SpecialIds) -> PairBatch:
    """Pairs as one batch; a text that occurs twice is encoded once."""
    chosen = SegmentSet(special)
    items = [chosen.add(pair.item) for pair in pairs]
    sources = [[(slot, chosen.add(ids)) for slot, ids in pair.source] for pair in pairs]
    segments, _, place = chosen.groups()
    B, G = len(pairs), max(len(source) for source in sources) + 1
    index_BG, slot_BG = np.full((B, G), -1), np.zeros((B, G), np.int64)
    for row, source in enumerate(sources):
        for column, (slot, number) in enumerate(source, start=G - 1 - len(source)):
            index_BG[row, column], slot_BG[row, column] = place[number], slot
    index_BG[:, -1], slot_BG[:, -1] = place[chosen.read_source], plans.READ_SOURCE_SLOT
    item_B2 = np.stack([place[items], np.full(B, place[chosen.read_target])], 1)
    slot_2 = np.array([plans.SLOTS["item"], plans.READ_TARGET_SLOT])
    return PairBatch(
        segments,
        _packed(index_BG, slot_BG, 0),
        _packed(item_B2, np.tile(slot_2, (B, 1)), 1),
        torch.tensor(items),
        chosen.tokens,
    )


def _packed(index_BG: np.ndarray, slot_BG: np.ndarray, group: int) -> Packed:
    index = torch.from_numpy(index_BG)
    read = torch.full((len(index), 1), index.shape[1] - 1)
    group_BG, code_BG = torch.full_like(index, group), torch.full_like(index, -1)
    return Packed(index, torch.from_numpy(slot_BG), group_BG, read, code_BG)


def to_device(batch: BatchT, device: torch.device) -> BatchT:
    """The same batch with all its tensors on a device."""
    moved: BatchT = batch if device.type == "cpu" else _moved(batch, device)
    return moved


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, tuple):
        return tuple(_moved(one, device) for one in value)
    if is_dataclass(value) and not isinstance(value, type):
        return type(value)(
            **{f.name: _moved(getattr(value, f.name), device) for f in fields(value)}
        )
    return value


Row = tuple[int, int, int]
"""Index, slot and segment of one source row; the last one of a source is [EOS']."""


def _full_row(example: Example, special: SpecialIds, separates: bool) -> list[Row]:
    slot = example.source[0][0] if example.source else plans.READ_SOURCE_SLOT
    rows = [(special.bos_source, slot, 0)]
    for number, (slot, ids) in enumerate(example.source):
        last = number + 1 == len(example.source)
        own = (*ids, special.eos_source) if separates and not last else ids
        rows += [(token, slot, number) for token in own]
    return [*rows, (special.eos_source, plans.READ_SOURCE_SLOT, len(example.source))]


def _late_row(
    example: Example,
    numbers: Sequence[int],
    chosen: SegmentSet,
    first: np.ndarray | None,
    place: np.ndarray,
) -> list[Row]:
    """Every state of each segment, or (first is None) its summary."""
    rows: list[Row] = []
    for column, (number, (slot, _)) in enumerate(zip(numbers, example.source, strict=True)):
        if first is None:
            rows.append((int(place[number]), slot, column))
        else:
            start = int(first[number])
            rows += [(start + n, slot, column) for n in range(chosen.states(number))]
    states = place if first is None else first
    read = int(states[chosen.read_source])
    return [*rows, (read, plans.READ_SOURCE_SLOT, len(example.source))]


def _source(rows: Sequence[list[Row]]) -> SourceRows:
    width = max(len(row) for row in rows)
    filled = np.zeros((len(rows), width, 3), dtype=np.int64)
    for number, row in enumerate(rows):
        filled[number, : len(row)] = row
    lengths = np.array([len(row) for row in rows])
    index, slot, segment = (torch.from_numpy(filled[..., i].copy()) for i in range(3))
    valid = torch.from_numpy(np.arange(width) < lengths[:, None])
    return SourceRows(index, valid, slot, segment, torch.from_numpy(lengths - 1)[:, None])


def _padded(rows: Sequence[Ids], width: int | None, value: int) -> np.ndarray:
    """int64 [len(rows), longest]."""
    width = max(len(row) for row in rows) if width is None else width
    out = np.full((len(rows), width), value, dtype=np.int64)
    for number, row in enumerate(rows):
        out[number, : len(row)] = row
    return out
