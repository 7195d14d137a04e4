"""How likely written texts are after sources: many pairs of both, each source read once.

Works on rows of a segment table and on written ids; what they say is settled elsewhere
(zero_shot.py). Memory is bounded by `rows_at_once`, whatever is asked.

Legend: P distinct pairs of source and target, S table rows in use, K states kept of a segment,
M = S·K, B sources, R rows of a source, C targets, T tokens of a target, N judged tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from m6rec.config import ConfigError, SpecialIds
from m6rec.model import plans
from m6rec.model.language import SourceRows
from m6rec.model.m6 import M6
from m6rec.model.precision import autocast
from m6rec.model.prefix import Prefix, full_prefix, late_prefix, write_full, write_late
from m6rec.tasks.segments import Plan, SegmentTable

LOGIT_ROWS = 1024
"""Rows whose logits are held at once: 125 MB over 30,522 wordpieces."""

Source = tuple[tuple[int, int], ...]
"""(row of the segment embedding, row of the segment table) of each segment, oldest event first."""


@dataclass(frozen=True, slots=True)
class Target:
    """Written ids without brackets; the first `told` of them are given, not judged."""

    ids: tuple[int, ...]
    told: int = 0

    @property
    def judged(self) -> int:
        """Tokens whose likelihood counts, [EOS] among them."""
        return len(self.ids) + 1 - self.told


class Questions:
    """Distinct pairs of a source and a target; each is answered once."""

    def __init__(self) -> None:
        self.sources: dict[Source, int] = {}
        self.targets: dict[Target, int] = {}
        self.pairs: dict[tuple[int, int], int] = {}

    def add(self, source: Source, target: Target) -> int:
        """Number of the pair."""
        pair = (
            self.sources.setdefault(source, len(self.sources)),
            self.targets.setdefault(target, len(self.targets)),
        )
        return self.pairs.setdefault(pair, len(self.pairs))


@dataclass(frozen=True)
class Reading:
    """How sources are read.

    cached: whether the late plan reads remembered states of half precision. bf16: whether all is
    computed in bfloat16. rows_at_once: states held at once, of sources and of targets with their
    sources.
    """

    plan: Plan = "late"
    cached: bool = True
    bf16: bool = False
    rows_at_once: int = 16_384


@torch.no_grad()
def log_likelihoods(table: SegmentTable, questions: Questions, reading: Reading) -> np.ndarray:
    """Sum of log p over each pair's judged tokens, in nats: float64 [P].

    Raises ConfigError where a source and its target outgrow the positions of the full plan.
    """
    sources, targets = list(questions.sources), list(questions.targets)
    pairs_P2 = np.array(list(questions.pairs), dtype=np.int64).reshape(-1, 2)
    lengths = np.array([len(target.ids) + 1 for target in targets], dtype=np.int64)
    sums_P = np.zeros(len(pairs_P2))
    order = np.lexsort((pairs_P2[:, 1], lengths[pairs_P2[:, 1]]))
    sizes = _sizes(table, sources, reading.plan)
    if reading.plan == "full":
        _check_room(table.model, int(sizes.max(initial=0) + lengths.max(initial=0)))
    by_size = np.argsort(sizes, kind="stable")
    for block in _chunks(by_size, sizes[by_size], reading.rows_at_once):
        with _precision(table.model, reading):
            prefix = _prefix(table, [sources[number] for number in block], reading)
        place_of = np.full(len(sources), -1)
        place_of[block] = np.arange(len(block))
        mine = order[place_of[pairs_P2[order, 0]] >= 0]
        rows = lengths[pairs_P2[mine, 1]] + prefix.valid_BR.shape[1]
        for chunk in _chunks(mine, rows, reading.rows_at_once):
            written = [targets[number] for number in pairs_P2[chunk, 1]]
            owner_C = place_of[pairs_P2[chunk, 0]]
            with _precision(table.model, reading):
                sums_P[chunk] = _sums(table.model, prefix, owner_C, written, reading.plan)
    return sums_P


def _precision(model: M6, reading: Reading) -> torch.autocast:
    return autocast(model.read_token.device.type, reading.bf16)


def _used(sources: Sequence[Source]) -> np.ndarray:
    """Table rows that some sources need, [EOS'] among them."""
    return np.unique([plans.READ_SOURCE, *(row for source in sources for _, row in source)])


def _sizes(table: SegmentTable, sources: Sequence[Source], plan: Plan) -> np.ndarray:
    """Rows of each source: int64 [len(sources)]."""
    used = _used(sources)
    counts_S = table.tokens(used).valid_SN.sum(1).cpu().numpy()
    if plan == "full":  # brackets stand around the whole source
        counts_S = counts_S - (1 if table.model.config.separates else 2)
    elif table.segment_states != "all":
        counts_S = counts_S.clip(max=table.segment_states)
    count_of = dict(zip(used.tolist(), counts_S.tolist(), strict=True))
    ends = 2 if plan == "full" else 1
    return np.array([sum(count_of[row] for _, row in s) + ends for s in sources], dtype=np.int64)


def _check_room(model: M6, longest: int) -> None:
    room = model.config.max_positions
    if model.config.position == "learned" and longest > room:
        raise ConfigError(
            f"a history and a candidate of {longest} tokens do not fit the {room} positions of the "
            "full plan; lower max_history or budget, or use plan = 'late'"
        )


def _prefix(table: SegmentTable, sources: Sequence[Source], reading: Reading) -> Prefix:
    device = table.model.read_token.device
    if reading.plan == "full":
        return full_prefix(table.model, padded_rows(full_rows(table, sources), device), table.lower)
    kept_MD, rows = late_rows(table, sources, reading.cached)
    return late_prefix(table.model, kept_MD, padded_rows(rows, device), table.lower)


def late_rows(
    table: SegmentTable, sources: Sequence[Source], cached: bool
) -> tuple[Tensor, list[np.ndarray]]:
    """Kept states [M, D] of the segments in use, and which of them are each source's rows."""
    used = _used(sources)
    if cached:
        states = table.states(used)
        place = torch.from_numpy(used).to(states.h_SKD.device)
        h_SKD, valid_SK = states.h_SKD[place].float(), states.valid_SK[place]
    else:
        live = table.live(used)
        h_SKD, valid_SK = live.h_SKD, live.valid_SK
    K, counts_S = h_SKD.shape[1], valid_SK.sum(1).cpu().numpy()
    own = {int(row): np.arange(s * K, s * K + counts_S[s]) for s, row in enumerate(used)}
    end = (plans.READ_SOURCE_SLOT, plans.READ_SOURCE)
    rows = [_rows([(slot, own[row]) for slot, row in (*source, end)]) for source in sources]
    return h_SKD.flatten(0, 1), rows


def full_rows(table: SegmentTable, sources: Sequence[Source]) -> list[np.ndarray]:
    """Token ids of each source, one bracket at each end of the whole, and an [EOS'] between
    segments where the network separates them."""
    special, used = table.tokenizer.special, _used(sources)
    tokens = table.tokens(used)
    ids_SN, counts_S = tokens.ids_SN.cpu().numpy(), tokens.valid_SN.sum(1).cpu().numpy()
    open_ends = {int(row): ids_SN[s, 1 : counts_S[s] - 1] for s, row in enumerate(used)}
    separated = {int(row): ids_SN[s, 1 : counts_S[s]] for s, row in enumerate(used)}
    inner = separated if table.model.config.separates else open_ends
    closing = (plans.READ_SOURCE_SLOT, np.array([special.eos_source]))
    found = []
    for source in sources:
        parts = [(slot, inner[row]) for slot, row in source[:-1]]
        parts += [(slot, open_ends[row]) for slot, row in source[-1:]]
        slot = source[0][0] if source else plans.READ_SOURCE_SLOT
        opening = (slot, np.array([special.bos_source]))
        found.append(_rows([opening, *parts, closing]))
    return found


def padded_rows(rows: Sequence[np.ndarray], device: torch.device) -> SourceRows:
    width = max(len(row) for row in rows)
    filled = np.zeros((len(rows), width, 3), dtype=np.int64)
    for number, row in enumerate(rows):
        filled[number, : len(row)] = row
    lengths = torch.tensor([len(row) for row in rows], device=device)
    index, slot, segment = (torch.from_numpy(filled[..., i].copy()).to(device) for i in range(3))
    valid = torch.arange(width, device=device) < lengths[:, None]
    return SourceRows(index, valid, slot, segment, lengths[:, None] - 1)


def _sums(
    model: M6, prefix: Prefix, owner_C: np.ndarray, targets: Sequence[Target], plan: Plan
) -> np.ndarray:
    """Sum of log p over the judged tokens of each target: float64 [C]."""
    special, device = model.config.special, model.read_token.device
    ids_CT, label_CT, valid_CT = written_rows([target.ids for target in targets], special)
    told_C = np.array([target.told for target in targets])
    judged_CT = valid_CT & (np.arange(valid_CT.shape[1]) >= told_C[:, None])
    write = write_full if plan == "full" else write_late
    ids, valid, owner = (torch.from_numpy(x).to(device) for x in (ids_CT, valid_CT, owner_C))
    h_CTD = write(model, prefix, owner, ids, valid)
    h_ND, label_N = h_CTD[torch.from_numpy(judged_CT).to(device)], label_CT[judged_CT]
    logs_N = log_likelihood_of(model, h_ND, torch.from_numpy(label_N).to(device))
    return np.bincount(np.nonzero(judged_CT)[0], logs_N, minlength=len(targets))


def written_rows(
    targets: Sequence[Sequence[int]], special: SpecialIds
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids from [BOS] on, the token that each foretells ([EOS] the last), where there are some.

    int64, int64 and bool, [C, T] each.
    """
    lengths_C = np.array([len(ids) + 1 for ids in targets])
    valid_CT = np.arange(lengths_C.max()) < lengths_C[:, None]
    ids_CT, label_CT = np.full((2, *valid_CT.shape), special.pad, dtype=np.int64)
    for c, ids in enumerate(targets):
        ids_CT[c, : lengths_C[c]] = (special.bos, *ids)
        label_CT[c, : lengths_C[c]] = (*ids, special.eos)
    return ids_CT, label_CT, valid_CT


def log_likelihood_of(model: M6, h_ND: Tensor, label_N: Tensor) -> np.ndarray:
    """log p of each label from the state that foretells it, over the whole vocabulary: [N]."""
    parts = [
        -F.cross_entropy(model.lm_head(h).float(), label, reduction="none")
        for h, label in zip(
            torch.split(h_ND, LOGIT_ROWS), torch.split(label_N, LOGIT_ROWS), strict=True
        )
    ]
    found: np.ndarray = torch.cat(parts).double().cpu().numpy()
    return found


def _rows(parts: Sequence[tuple[int, np.ndarray]]) -> np.ndarray:
    """Index, slot and segment of the rows of one source: int64 [R, 3]."""
    columns = [
        np.stack([index, np.full(len(index), slot), np.full(len(index), number)], 1)
        for number, (slot, index) in enumerate(parts)
    ]
    return np.concatenate(columns).astype(np.int64)


def _chunks(order: np.ndarray, sizes: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """`order` cut where count times the largest size would pass `most`; at least one in each.

    sizes: of the entries of `order`, never falling.
    """
    first = 0
    for last in range(1, len(order) + 1):
        if last == len(order) or (last + 1 - first) * sizes[last] > most:
            yield order[first:last]
            first = last
