"""Execution plans: the same network over whole requests (full) or over cached segments (late).

Legend: S segments, N tokens of a segment, K states kept of a segment, B requests, G segments of a
request, R rows of a request after layer L', T tokens of a request, D width, P soft prompts,
Q read tokens: [EOS'] of the source, then one [EOS] for each candidate.

A request is a list of segments, source first; each region ends with its read token, a segment of
one token. After layer L' both plans do the same: the learned segment embedding is added, the read
tokens take in the mean of their region, and layers L'+1…L run under the UniLM mask. Below:

full    layers 1…L' under the UniLM mask over the whole request, positions running on
late    layers 1…L' inside each segment alone, positions starting again (paper section 3)
cached  late, with the states after L' read from a store
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from m6rec.config import ModelConfig
from m6rec.model.m6 import M6
from m6rec.model.masks import REQUEST, Layout, causal, text_mask
from m6rec.records import M6Error, SegmentKind

SLOTS: dict[SegmentKind, int] = {
    "prompt": 0,
    "context": 1,
    "profile": 2,
    "query": 3,
    "item": 4,
    "features": 5,
}
READ_SOURCE_SLOT, READ_TARGET_SLOT, FIRST_EVENT_SLOT = 6, 7, 8
READ_SOURCE, READ_TARGET = 0, 1
"""Rows 0 and 1 of every segment table are [EOS'] and [EOS] alone."""


class TooLongError(M6Error, ValueError):
    """A request that has more tokens than the full plan has positions."""


def slot(kind: SegmentKind, age: int, config: ModelConfig) -> int:
    """Row of the segment embedding: one for each kind, one for each age of an event."""
    if kind != "event":
        return SLOTS[kind]
    return min(FIRST_EVENT_SLOT + age, config.segment_slots - 1)


@dataclass(frozen=True)
class SegmentTokens:
    """Segments as token ids, each `[BOS'] text [EOS']`; ids_SN and valid_SN."""

    ids_SN: Tensor
    valid_SN: Tensor


@dataclass(frozen=True)
class SegmentStates:
    """States after layer L'. h_SKD with valid_SK; K = the longest segment, or `segment_states`."""

    h_SKD: Tensor
    valid_SK: Tensor


@dataclass(frozen=True)
class Packed:
    """Which segments make up each request; source before candidates, read tokens last in each.

    index_BG: row in the segment table, -1 for none. slot_BG: row of the segment embedding.
    group_BG: 0 for the source, c ≥ 1 for the segments of the c-th candidate.
    read_BQ: column of the read token of group q (a request with fewer candidates repeats one).
    code_BG: catalogue position of the item behind the segment, -1 for none (residual.py).
    """

    index_BG: Tensor
    slot_BG: Tensor
    group_BG: Tensor
    read_BQ: Tensor
    code_BG: Tensor

    def __post_init__(self) -> None:
        source_BG = self.group_BG == 0
        if bool((source_BG[:, 1:] & ~source_BG[:, :-1]).any()):
            raise ValueError("source segments must come before target segments")

    def rows(self, index: Tensor | slice) -> Packed:
        """The chosen requests."""
        return Packed(*(value[index] for value in vars(self).values()))

    def to(self, device: torch.device) -> Packed:
        """The same on a device."""
        if self.index_BG.device == device:
            return self
        return Packed(*(value.to(device) for value in vars(self).values()))


def positions_like(x_BT: Tensor) -> Tensor:
    """0, 1, 2 … in every row."""
    return torch.arange(x_BT.shape[1], device=x_BT.device).expand(x_BT.shape[:2])


def seen_positions(layout: Layout, mask_BRR: Tensor) -> Tensor:
    """A row's position is the number of earlier rows that it may attend to: [B, R].

    So padding takes no place, and every candidate starts where the source ends: an answer does not
    depend on what else is in the batch. 0 for padding.
    """
    R = mask_BRR.shape[-1]
    earlier_RR = torch.ones(R, R, dtype=torch.bool, device=mask_BRR.device).tril(-1)
    return (mask_BRR & earlier_RR).sum(-1).masked_fill(~layout.valid_BT, 0)


@dataclass(frozen=True)
class Texts:
    """Segments on their way through the lower layers, each alone: [S, M], M ≥ N. Where the network
    has an attention sink, M = N + 1: every segment begins with a token whose state is not kept."""

    position_SM: Tensor
    mask_SMM: Tensor
    valid_SN: Tensor
    sink: bool

    def states(self, h_SMD: Tensor) -> SegmentStates:
        """What is kept of the states after some layer."""
        return SegmentStates(h_SMD[:, 1:] if self.sink else h_SMD, self.valid_SN)


def begin_texts(model: M6, tokens: SegmentTokens) -> tuple[Tensor, Texts]:
    """Token embeddings of segments [S, M, D], and where they stand."""
    config, ids_SM, valid_SM = model.config, tokens.ids_SN, tokens.valid_SN
    if config.sink:
        # A read token stands alone: it gets a [BOS'] before it, where a text has one already.
        alone_S1 = tokens.valid_SN.sum(1, keepdim=True) == 1
        opened_SM = F.pad(ids_SM, (1, 0), value=config.special.bos_source)
        ids_SM = torch.where(alone_S1, opened_SM, F.pad(ids_SM, (0, 1), value=config.special.pad))
        opened_SM = F.pad(valid_SM, (1, 0), value=True)
        valid_SM = torch.where(alone_S1, opened_SM, F.pad(valid_SM, (0, 1), value=False))
    position_SM = positions_like(ids_SM)
    mask_SMM = text_mask(valid_SM, config.source)
    texts = Texts(position_SM, mask_SMM, kept(config, tokens.valid_SN), config.sink)
    return model.embed(ids_SM, position_SM), texts


def kept(config: ModelConfig, valid_SN: Tensor) -> Tensor:
    """Which states of segments with these tokens are kept: [S, N]."""
    if not config.sink:
        return valid_SN
    alone_S1 = valid_SN.sum(1, keepdim=True) == 1
    return torch.where(alone_S1, valid_SN, F.pad(valid_SN[:, 1:], (0, 1), value=False))


def encode_segments(model: M6, tokens: SegmentTokens, lower: int) -> SegmentStates:
    """Layers 1…L' (= lower) over each segment alone, every state kept but that of a sink."""
    x_SMD, texts = begin_texts(model, tokens)
    return texts.states(model.run(x_SMD, texts.position_SM, texts.mask_SMM, range(lower)))


def summarise(states: SegmentStates, k: int) -> SegmentStates:
    """k summary vectors of a segment: the means of k runs of (almost) equal length.

    k = 1 is the mean of all states. A segment of fewer than k tokens leaves the rest invalid.
    """
    S, N, D = states.h_SKD.shape
    weight_SN = states.valid_SK.to(states.h_SKD.dtype)
    length_S1 = states.valid_SK.sum(1, keepdim=True)
    order_SN = states.valid_SK.long().cumsum(1) - 1
    chunk_SN = torch.where(length_S1 > k, order_SN * k // length_S1.clamp(min=1), order_SN)
    chunk_SN = chunk_SN.clamp(0, k - 1)
    total_SKD = states.h_SKD.new_zeros(S, k, D)
    total_SKD.scatter_add_(
        1, chunk_SN[..., None].expand(S, N, D), states.h_SKD * weight_SN[..., None]
    )
    count_SK = weight_SN.new_zeros(S, k).scatter_add_(1, chunk_SN, weight_SN)
    return SegmentStates(total_SKD / count_SK.clamp(min=1)[..., None], count_SK > 0)


@dataclass(frozen=True)
class Rows:
    """A batch after layer L' (or before layer 1): one row per kept state.

    x_BRD; slot_BR as in Packed; layout of the masks; read_BQ the rows of the read tokens. whole:
    the lower layers ran over all rows at once (full plan), so that a sink is the first row.
    """

    x_BRD: Tensor
    slot_BR: Tensor
    layout: Layout
    read_BQ: Tensor
    whole: bool = False


def prompt_states(model: M6, lower: int) -> Tensor | None:
    """The soft prompts, a segment like any other, after layer L': [P, D]."""
    if model.prompts is None:
        return None
    x_PD: Tensor = model.prompts
    sink = int(model.config.sink)
    if sink:
        opening = torch.tensor([model.config.special.bos_source], device=x_PD.device)
        x_PD = torch.cat([model.tokens(opening).to(x_PD.dtype), x_PD])
    position_1P = positions_like(x_PD[None, :, 0])
    x_1PD = model.embed_vectors(x_PD[None], position_1P)
    mask = None
    if model.config.source == "causal":
        mask = causal(torch.ones_like(position_1P, dtype=torch.bool))
    return model.run(x_1PD, position_1P, mask, range(lower))[0, sink:]


def lay_side_by_side(states: SegmentStates, packed: Packed, prompts_PD: Tensor | None) -> Rows:
    """Segment states → rows of requests: prompts, source, candidates; R = P + G·K."""
    B, G = packed.index_BG.shape
    K = states.h_SKD.shape[1]
    safe_BG = packed.index_BG.clamp(min=0)
    x_BRD = states.h_SKD[safe_BG].flatten(1, 2)
    valid_BR = (states.valid_SK[safe_BG] & (packed.index_BG >= 0)[..., None]).flatten(1)
    column = torch.arange(G, device=safe_BG.device).expand(B, G)
    segment_BR, group_BR, slot_BR = (
        value[..., None].expand(B, G, K).flatten(1)
        for value in (column, packed.group_BG, packed.slot_BG)
    )
    layout = Layout(valid_BR, group_BR == 0, segment_BR, group_BR)
    rows = Rows(x_BRD, slot_BR, layout, packed.read_BQ * K)
    return rows if prompts_PD is None else put_prompts_first(rows, prompts_PD)


def put_prompts_first(rows: Rows, prompts_PD: Tensor) -> Rows:
    """Rows with the soft prompts before the source."""
    B, P = rows.x_BRD.shape[0], prompts_PD.shape[0]
    x_BRD = torch.cat([prompts_PD.to(rows.x_BRD.dtype).expand(B, -1, -1), rows.x_BRD], 1)

    def before(value: int, field: Tensor) -> Tensor:
        return torch.cat([field.new_full((B, P), value), field], 1)

    layout = Layout(
        before(1, rows.layout.valid_BT),
        before(1, rows.layout.source_BT),
        before(-1, rows.layout.segment_BT),
        before(0, rows.layout.group_BT),
    )
    slot_BR = before(SLOTS["prompt"], rows.slot_BR)
    return Rows(x_BRD, slot_BR, layout, rows.read_BQ + P, rows.whole)


def enter_online(model: M6, rows: Rows, residual_BGD: Tensor | None = None) -> Rows:
    """Adds the segment embedding and lets the read tokens take in the mean of their region.

    A read token becomes `gate0 · mean + gate1 · own state + learned vector`; the mean over the
    region's rows weighs an event of age a by exp(recency · a) and leaves prompts and a sink out. So
    a network that was never pretrained to gather at [EOS] is useful from the first step (an
    addition to the paper; docs/model.md).
    """
    states_BRD = rows.x_BRD
    if residual_BGD is not None:
        states_BRD = states_BRD + _of_segments(residual_BGD, rows.layout.segment_BT)
    x_BRD = states_BRD + model.segments(rows.slot_BR).to(states_BRD.dtype)
    age_BR = (rows.slot_BR - FIRST_EVENT_SLOT).clamp(min=0)
    reads_BR = (rows.slot_BR == READ_SOURCE_SLOT) | (rows.slot_BR == READ_TARGET_SLOT)
    counted_BR = rows.layout.valid_BT & ~reads_BR & (rows.slot_BR != SLOTS["prompt"])
    if rows.whole and model.config.sink:
        counted_BR = counted_BR & (positions_like(counted_BR) > 0)
    weight_BR = (model.recency.float() * age_BR).exp() * counted_BR
    group_BQ = rows.layout.group_BT.gather(1, rows.read_BQ)
    share_BQR = (rows.layout.group_BT[:, None] == group_BQ[..., None]) * weight_BR[:, None]
    share_BQR = share_BQR / share_BQR.sum(-1, keepdim=True).clamp(min=1e-9)
    mean_BQD = share_BQR.to(states_BRD.dtype) @ states_BRD
    own_BQD = torch.take_along_dim(x_BRD, rows.read_BQ[..., None], dim=1)
    token_BQD = model.read_token[(group_BQ > 0).long()]
    read_BQD = mean_BQD * model.read_gate[0] + own_BQD * model.read_gate[1] + token_BQD
    place_BQD = rows.read_BQ[..., None].expand_as(read_BQD)
    x_BRD = x_BRD.scatter(1, place_BQD, read_BQD.to(x_BRD.dtype))
    return Rows(x_BRD, rows.slot_BR, rows.layout, rows.read_BQ, rows.whole)


def _of_segments(value_BGD: Tensor, segment_BT: Tensor) -> Tensor:
    """Each row's share of something that belongs to its segment; zero for prompts (-1)."""
    taken_BTD = torch.take_along_dim(value_BGD, segment_BT.clamp(min=0)[..., None], dim=1)
    return taken_BTD * (segment_BT >= 0)[..., None]


def run_online(model: M6, rows: Rows, lower: int) -> Tensor:
    """Layers L'+1…L; in the last one only the read rows are computed: [B, Q, D]."""
    mask_BRR = REQUEST[model.config.source](rows.layout)
    if model.config.position == "rope":
        position_BR = seen_positions(rows.layout, mask_BRR)
    else:
        position_BR = positions_like(rows.slot_BR)  # unused: they went in with the embeddings
    last = model.config.layers - 1
    h_BRD = model.run(rows.x_BRD, position_BR, mask_BRR, range(lower, last))
    if lower > last:
        return model.finish(torch.take_along_dim(h_BRD, rows.read_BQ[..., None], dim=1))
    mask_BQR = torch.take_along_dim(mask_BRR, rows.read_BQ[..., None], dim=1)
    return model.finish(model.blocks[last](h_BRD, position_BR, mask_BQR, rows.read_BQ))


def late(
    model: M6,
    states: SegmentStates,
    packed: Packed,
    lower: int,
    residual_BGD: Tensor | None = None,
) -> Tensor:
    """The late plan from segment states on; with states from a cache it is the cached plan.

    residual_BGD is added to the states of a segment (collaborative residual, model/residual.py).
    Returns the states at the read tokens: [B, Q, D].
    """
    rows = lay_side_by_side(states, packed, prompt_states(model, lower))
    return run_online(model, enter_online(model, rows, residual_BGD), lower)


def full(
    model: M6,
    tokens: SegmentTokens,
    packed: Packed,
    lower: int,
    residual_BGD: Tensor | None = None,
) -> Tensor:
    """The full plan: `[BOS'] source [EOS'] [BOS] target [EOS]` through every layer at once.

    Returns the same states as `late`: [B, Q, D]. Raises TooLongError when a request outgrows the
    positions.
    """
    rows = _sequence(model, tokens, packed)
    if model.prompts is not None:
        rows = put_prompts_first(rows, model.prompts)
    mask_BTT = REQUEST[model.config.source](rows.layout)
    position_BT = seen_positions(rows.layout, mask_BTT)
    longest, most = int(position_BT.max()) + 1, model.config.max_positions
    if model.config.position == "learned" and longest > most:
        raise TooLongError(
            f"a request of {longest} tokens does not fit the {most} positions of the full plan; "
            "shorten the history or the segments, or use the late plan"
        )
    x_BTD = model.embed_vectors(rows.x_BRD, position_BT)
    h_BTD = model.run(x_BTD, position_BT, mask_BTT, range(lower))
    rows = Rows(h_BTD, rows.slot_BR, rows.layout, rows.read_BQ, whole=True)
    return run_online(model, enter_online(model, rows, residual_BGD), lower)


def _sequence(model: M6, tokens: SegmentTokens, packed: Packed) -> Rows:
    """Token embeddings of whole requests: one bracket around each region, padding at the end.

    A network that separates segments (`ModelConfig.separates`) has an [EOS'] between them as well.
    """
    special = model.config.special
    B, G = packed.index_BG.shape
    N = tokens.ids_SN.shape[1]
    safe_BG = packed.index_BG.clamp(min=0)
    ids_BGN = tokens.ids_SN[safe_BG].clone()
    present_BG = packed.index_BG >= 0
    valid_BGN = tokens.valid_SN[safe_BG] & present_BG[..., None]
    is_read_BG = packed.index_BG.eq(READ_SOURCE) | packed.index_BG.eq(READ_TARGET)
    same_BGG = packed.group_BG[:, :, None] == packed.group_BG[:, None, :]
    earlier_BGG = (same_BGG & present_BG[:, None, :]).tril(-1)
    first_BG = present_BG & ~earlier_BGG.any(-1)  # empty columns may stand before a region's text
    last_N = tokens.valid_SN.sum(1)[safe_BG] - 1
    closes_BGN = torch.arange(N, device=safe_BG.device) == last_N[..., None]
    stays_BG = is_read_BG
    if model.config.separates:
        text_BG = present_BG & ~is_read_BG
        stays_BG = is_read_BG | (same_BGG & text_BG[:, None, :]).triu(1).any(-1)
    valid_BGN &= ~closes_BGN | stays_BG[..., None]
    valid_BGN[..., 0] &= first_BG | is_read_BG
    opens_BG = first_BG & ~is_read_BG
    bracket_BG = torch.where(packed.group_BG > 0, special.bos, special.bos_source)
    ids_BGN[..., 0] = torch.where(opens_BG, bracket_BG, ids_BGN[..., 0])

    flat_valid = valid_BGN.flatten(1)
    order = torch.sort((~flat_valid).long(), dim=1, stable=True).indices
    T = int(flat_valid.sum(1).max())
    place = torch.sort(order, dim=1).indices
    read_BQ = place.gather(1, packed.read_BQ * N)
    order = order[:, :T]

    def spread(value_BG: Tensor) -> Tensor:
        return value_BG[..., None].expand(B, G, N).flatten(1).gather(1, order)

    column = torch.arange(G, device=safe_BG.device).expand(B, G)
    group_BT = spread(packed.group_BG)
    layout = Layout(flat_valid.gather(1, order), group_BT == 0, spread(column), group_BT)
    x_BTD = model.tokens(ids_BGN.flatten(1).gather(1, order))
    return Rows(x_BTD, spread(packed.slot_BG), layout, read_BQ)
