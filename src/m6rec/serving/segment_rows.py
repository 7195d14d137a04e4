"""Candidates of one online layer from rows of their segments, each of which is made once.

With one online layer a candidate is its read row: a mean over its segments, and attention over
them. Segments come again: an item whenever it is asked for, a feature sentence in hundreds of
candidates at once. So what attention makes of a segment is kept by segment. Segments that many
candidates share are keys and values that all of them see, weighed by how often each has them;
only what is a candidate's own, its item and the read row, is looked at candidate by candidate.

Legend: N candidates, G segments of each, S distinct segments, K states of a segment, C own and
U shared states, D width, H query heads, V key-value heads, E head width, I = H·E, W what is kept
of a state.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from m6rec.model import plans
from m6rec.model.attention import bias_of, rotate
from m6rec.model.block import Block
from m6rec.model.m6 import M6
from m6rec.model.plans import Packed, SegmentStates
from m6rec.model.residual import ItemResidual
from m6rec.model.shared_prefix import Part, attend_partly, join
from m6rec.serving.prepare import Candidates, First, PackingError

MOST_BYTES = 256 << 20
"""What is kept at the most; then all of it is forgotten, and made again when it is asked for."""
SHARED_FROM = 4
"""A column's segments are shared where each serves so many candidates on the average."""
NOT_COUNTED = (plans.SLOTS["prompt"], plans.READ_SOURCE_SLOT, plans.READ_TARGET_SLOT)


@dataclass(frozen=True)
class _States:
    """Kept states: kept_NCW, whether they are there, their slots, and how many rows before the
    read row they stand (where positions are rotary). N is 1 for what all candidates share."""

    kept_NCW: Tensor
    valid_NC: Tensor
    slot_NC: Tensor
    away_NC: Tensor


@dataclass(frozen=True)
class _Kept:
    """What is kept by place, as long as somebody reads it: [S, K, W] and [S, K]."""

    rows_SKW: Tensor
    valid_SK: Tensor

    def states(self, place_NG: Tensor, slot_NG: Tensor, away_NG: Tensor) -> _States:
        """Kept states of some segments, beside each other."""
        (N, G), (_, K, W) = place_NG.shape, self.rows_SKW.shape
        at = place_NG.flatten()
        valid_SK = self.valid_SK.index_select(0, at)
        within_SK = (valid_SK.long().cumsum(1) - 1).clamp(min=0)
        return _States(
            self.rows_SKW.index_select(0, at).view(N, G * K, W),
            valid_SK.view(N, G * K),
            slot_NG.repeat_interleave(K, 1),
            (away_NG.flatten()[:, None] - within_SK).view(N, G * K),
        )


@final
class SegmentRows:
    """Segments as the online layer `layer` of `model` reads them, by row, slot and residual code.

    The rows are those of one segment table, whose states never change. residual: what is added to
    the states of known items. Threads may ask at once: what is kept at a place never changes, and
    whoever reads goes on with the tensors that held when its places were looked up.
    """

    def __init__(
        self,
        model: M6,
        layer: int,
        residual: ItemResidual | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        block = model.blocks[layer]
        assert isinstance(block, Block)
        self.model, self.block, self.residual, self.most_bytes = model, block, residual, most_bytes
        self._turn = threading.Lock()
        self._place: dict[int, int] = {}
        self._kept_SKW = self._valid_SK = torch.zeros(0)
        with torch.no_grad():
            slots_TD = model.segments.weight.detach().float()
            nothing = slots_TD.new_zeros(slots_TD.shape[1])
            self._bias = self._through(nothing)[len(nothing) :]
            self._slot_k, self._slot_v = block.attention.k(slots_TD), block.attention.v(slots_TD)
            slot_T = torch.arange(len(slots_TD), device=slots_TD.device)
            age_T = (slot_T - plans.FIRST_EVENT_SLOT).clamp(min=0)
            counted_T = ~torch.isin(slot_T, torch.tensor(NOT_COUNTED, device=slot_T.device))
            self._weight_T = (model.recency.float() * age_T).exp() * counted_T

    def __len__(self) -> int:
        """Segments that are kept."""
        return max(0, len(self._place) - 1)

    @torch.no_grad()
    def candidates(self, states: SegmentStates, packed: Packed) -> Candidates:
        """N candidates, one to a row of `packed`, each of one group and without a source.

        Raises PackingError where something else than [EOS] stands last.
        """
        columns = (packed.index_BG, packed.slot_BG, packed.code_BG)
        index_NG, slot_NG, code_NG = (column.cpu().numpy() for column in columns)
        reads = self._reads(states, packed, index_NG[:, -1], slot_NG[:, -1], code_NG[:, -1])
        key_NG = self._keys(index_NG, slot_NG, code_NG)[:, :-1]
        key_S, first_S, which = np.unique(key_NG, return_index=True, return_inverse=True)
        which_NG = which.reshape(key_NG.shape)
        firsts = [part[:, :-1].ravel()[first_S] for part in (index_NG, slot_NG, code_NG)]
        slot_S = torch.from_numpy(firsts[1])
        with self._turn:
            place_S = self._places(states, key_S, *firsts)
            kept = _Kept(self._kept_SKW, self._valid_SK)
        return self._read(kept, key_S, place_S, slot_S, which_NG, reads)

    def _reads(
        self,
        states: SegmentStates,
        packed: Packed,
        index_N: np.ndarray,
        slot_N: np.ndarray,
        code_N: np.ndarray,
    ) -> tuple[Tensor, np.ndarray]:
        """What the read token brings by itself, for each distinct one [R, ·]; which one it is."""
        G = packed.index_BG.shape[1]
        told = "the read token must be the last segment of a region, and be there"
        if (index_N < 0).any() or bool((packed.read_BQ != G - 1).any()):
            raise PackingError(told)
        key_N = self._keys(index_N, slot_N, code_N)
        _, first_R, which_N = np.unique(key_N, return_index=True, return_inverse=True)
        device = states.h_SKD.device
        index_R, slot_R, code_R = (
            torch.from_numpy(part[first_R]).to(device) for part in (index_N, slot_N, code_N)
        )
        if bool((states.valid_SK[index_R].sum(1) != 1).any()):
            raise PackingError(told)
        own_RD = self._with_residual(states.h_SKD[index_R, 0].float(), code_R)
        own_RD = (own_RD + self.model.segments(slot_R)) * self.model.read_gate[1]
        own_RD = own_RD + self.model.read_token[1]
        return (own_RD if self.block.pre else self._through(own_RD)), which_N

    def _keys(self, index: np.ndarray, slot: np.ndarray, code: np.ndarray) -> np.ndarray:
        """One number for a row, a slot and a code; -1 for none."""
        key = index * self.model.segments.num_embeddings + slot
        if self.residual is not None:
            key = key * (self.residual.vectors.num_embeddings + 1) + code + 1
        return np.where(index >= 0, key, -1)

    def _places(
        self,
        states: SegmentStates,
        key_S: np.ndarray,
        index_S: np.ndarray,
        slot_S: np.ndarray,
        code_S: np.ndarray,
    ) -> np.ndarray:
        """Where the segments are kept; those that are not are made. Place 0 is no segment."""
        K, most = states.h_SKD.shape[1], self._most(states)
        if self._kept_SKW.dim() != 3 or self._kept_SKW.shape[1] != K:
            self._forget(states)
        known, keys = self._place, key_S.tolist()
        place_S = np.array([known.get(key, -1) for key in keys], dtype=np.int64)
        fresh = np.flatnonzero(place_S < 0)
        if len(fresh) and len(known) + len(fresh) > most:
            self._forget(states)
            known, fresh = self._place, np.flatnonzero(key_S >= 0)
            place_S = np.zeros(len(keys), dtype=np.int64)
        if len(fresh):
            place_S[fresh] = np.arange(len(known), len(known) + len(fresh))
            device = states.h_SKD.device
            self._keep(
                len(known),
                *self._made(
                    states,
                    *(torch.from_numpy(p[fresh]).to(device) for p in (index_S, slot_S, code_S)),
                ),
            )
            known.update((keys[at], int(place_S[at])) for at in fresh.tolist())
        return place_S

    def _most(self, states: SegmentStates) -> int:
        each = 4 * states.h_SKD.shape[1] * (states.h_SKD.shape[2] + len(self._bias))
        return max(1, self.most_bytes // each)

    def _forget(self, states: SegmentStates) -> None:
        _, K, D = states.h_SKD.shape
        a = self.block.attention
        W = D + len(self._bias) - (a.heads * a.head_dim if self.block.pre else 0)
        self._place = {-1: 0}
        self._kept_SKW = torch.zeros(1, K, W, device=states.h_SKD.device)
        self._valid_SK = torch.zeros(1, K, dtype=torch.bool, device=states.h_SKD.device)

    def _keep(self, start: int, made_SKW: Tensor, valid_SK: Tensor) -> None:
        stop = start + len(made_SKW)
        if stop > len(self._kept_SKW):
            more = max(stop, 2 * len(self._kept_SKW)) - len(self._kept_SKW)
            kept, valid = self._kept_SKW, self._valid_SK
            self._kept_SKW = torch.cat([kept, kept.new_zeros(more, *kept.shape[1:])])
            self._valid_SK = torch.cat([valid, valid.new_zeros(more, *valid.shape[1:])])
        self._kept_SKW[start:stop], self._valid_SK[start:stop] = made_SKW, valid_SK

    def _made(
        self, states: SegmentStates, index_S: Tensor, slot_S: Tensor, code_S: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What is kept: the states, then keys and values (norm before), or what the three maps
        make of the states without slot and bias, so that it can be averaged (norm after)."""
        x_SKD = self._with_residual(states.h_SKD[index_S].float(), code_S[:, None])
        valid_SK = states.valid_SK[index_S]
        x_SKD = x_SKD * valid_SK[..., None]
        if not self.block.pre:
            made_SKW = self._through(x_SKD)
            made_SKW[..., x_SKD.shape[-1] :] -= self._bias
            return made_SKW, valid_SK
        z_SKD = self.block.attention_norm(x_SKD + self.model.segments(slot_S)[:, None])
        a = self.block.attention
        return torch.cat([x_SKD, a.k(z_SKD), a.v(z_SKD)], -1), valid_SK

    def _with_residual(self, state: Tensor, code: Tensor) -> Tensor:
        return state if self.residual is None else state + self.residual.for_segments(code)

    def _through(self, x: Tensor) -> Tensor:
        """Rows, and their queries, keys and values before heads and positions."""
        a = self.block.attention
        return torch.cat([x, a.q(x), a.k(x), a.v(x)], -1)

    def _keys_values(self, some: _States) -> tuple[Tensor, Tensor]:
        """Two tensors [N, C, V·E], without positions."""
        inner = self._slot_k.shape[1]
        k, v = some.kept_NCW[..., -2 * inner : -inner], some.kept_NCW[..., -inner:]
        if self.block.pre:
            return k, v
        return k + self._slot_k[some.slot_NC], v + self._slot_v[some.slot_NC]

    def _read(
        self,
        kept: _Kept,
        key_S: np.ndarray,
        place_S: np.ndarray,
        slot_S: Tensor,
        which_NG: np.ndarray,
        reads: tuple[Tensor, np.ndarray],
    ) -> Candidates:
        device = kept.rows_SKW.device
        places_S, slot_S = torch.from_numpy(place_S).to(device), slot_S.to(device)
        away_NG, away_N = self._distances(kept.valid_SK[places_S], which_NG)
        own_G = _own_columns(which_NG, len(key_S))
        at_NC = torch.from_numpy(which_NG[:, own_G]).to(device)
        own_away = torch.from_numpy(away_NG[:, own_G]).to(device)
        own = kept.states(places_S[at_NC], slot_S[at_NC], own_away)
        chosen_U, away_U, times_NU = _shared(which_NG[:, ~own_G], away_NG[:, ~own_G], key_S)
        at_U = torch.from_numpy(chosen_U).to(device)
        many_away = torch.from_numpy(away_U).to(device)[None]
        many = kept.states(places_S[at_U][None], slot_S[at_U][None], many_away)
        times = torch.from_numpy(times_NU).to(device).repeat_interleave(kept.rows_SKW.shape[1], 1)
        times = times * many.valid_NC
        read_ND, q_NHE, k_NI, v_NI = self._averaged(own, many, times, reads)
        part = self._attended(own, many, times, q_NHE, (k_NI, v_NI))
        theta = self.block.attention.theta
        if theta is not None:
            q_NHE = _turned(q_NHE, torch.from_numpy(away_N).to(device), theta)
        parts = (q_NHE.flatten(1), part.out_BMI[0], part.lse_BMH[0])
        first = First(*(value[:, None].contiguous() for value in parts))
        there_N1 = torch.ones(len(read_ND), 1, dtype=torch.bool, device=device)
        return Candidates(read_ND[:, None].contiguous(), there_N1, first)

    def _averaged(
        self, own: _States, many: _States, times_NU: Tensor, reads: tuple[Tensor, np.ndarray]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The read row [N, D] as `enter_online` makes it; its queries, keys and values."""
        own_RW, which_N = reads
        weight_NC = self._weight_T[own.slot_NC] * own.valid_NC
        weight_NU = times_NU * self._weight_T[many.slot_NC]
        total_N1 = (weight_NC.sum(1) + weight_NU.sum(1)).clamp(min=1e-9)[:, None]
        share_N1 = self.model.read_gate[0] / total_N1
        chosen_NR = own_RW.new_zeros(len(which_N), len(own_RW))
        chosen_NR[torch.arange(len(which_N)), torch.from_numpy(which_N)] = 1.0
        width = own_RW.shape[1]
        mine_NW = ((weight_NC * share_N1)[..., None] * own.kept_NCW[..., :width]).sum(1)
        # One product: the mean over what is shared, and what the read token brings by itself.
        shares_NX = torch.cat([weight_NU * share_N1, chosen_NR], 1)
        shared_XW = torch.cat([many.kept_NCW[0, :, :width], own_RW])
        read_NW = torch.addmm(mine_NW, shares_NX, shared_XW)
        a, D = self.block.attention, self.model.config.d_model
        read_ND = read_NW[:, :D]
        if self.block.pre:
            read_NW = self._through(self.block.attention_norm(read_ND))
        inner, narrow = a.heads * a.head_dim, a.kv_heads * a.head_dim
        q_NI, k_NI, v_NI = torch.split(read_NW[:, D:], [inner, narrow, narrow], 1)
        return read_ND, _heads(q_NI, a.heads, a.q_norm), k_NI, v_NI

    def _attended(
        self,
        own: _States,
        many: _States,
        times_NU: Tensor,
        q_NHE: Tensor,
        itself: tuple[Tensor, Tensor],
    ) -> Part:
        """The read row over all states and itself; it stands at 0, and all others before it."""
        a, N = self.block.attention, len(q_NHE)
        own_kv, many_kv = self._keys_values(own), self._keys_values(many)
        k_NCI, v_NCI = (
            torch.cat([of_states, one[:, None]], 1)
            for of_states, one in zip(own_kv, itself, strict=True)
        )
        k_NCVE, k_UVE = (_heads(k, a.kv_heads, a.k_norm) for k in (k_NCI, many_kv[0][0]))
        v_NCVE, v_UVE = (_heads(v, a.kv_heads, None) for v in (v_NCI, many_kv[1][0]))
        if a.theta is not None:
            away_NC = torch.cat([own.away_NC, own.away_NC.new_zeros(N, 1)], 1)
            k_NCVE = _turned(k_NCVE, -away_NC, a.theta)
            k_UVE = _turned(k_UVE, -many.away_NC[0], a.theta)
        seen_NC = torch.cat([own.valid_NC, own.valid_NC.new_ones(N, 1)], 1)
        part = _over_own(q_NHE, k_NCVE, v_NCVE, seen_NC)
        if not len(k_UVE):
            return part
        other = _over_shared(q_NHE, k_UVE, v_UVE, times_NU)
        return Part(join(other, part), torch.logaddexp(part.lse_BMH, other.lse_BMH))

    def _distances(self, valid_SK: Tensor, which_NG: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How many rows before the read row a segment begins, and its own position; rotary only."""
        if self.block.attention.theta is None:
            return np.zeros_like(which_NG), np.zeros(len(which_NG), dtype=np.int64)
        length_NG = valid_SK.sum(1).cpu().numpy()[which_NG]
        return np.cumsum(length_NG[:, ::-1], 1)[:, ::-1], length_NG.sum(1)


def _own_columns(which_NG: np.ndarray, distinct: int) -> np.ndarray:
    """Columns whose segments hardly two candidates share: bool [G]."""
    N, G = which_NG.shape
    there_GS = np.zeros((G, distinct), dtype=bool)
    there_GS[np.arange(G), which_NG] = True
    return np.asarray(there_GS.sum(1) * SHARED_FROM > N)


def _shared(
    which_NG: np.ndarray, away_NG: np.ndarray, key_S: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct segments and distances among these columns, and how often each candidate has them:
    two [U], and float32 [N, U]."""
    span = int(away_NG.max(initial=0)) + 1
    pair_NG = np.where(key_S[which_NG] >= 0, which_NG * span + away_NG, -1)
    pair_U, code = np.unique(pair_NG, return_inverse=True)
    code_NG, none = code.reshape(pair_NG.shape), int(len(pair_U) > 0 and pair_U[0] < 0)
    times_NU = np.zeros((len(which_NG), len(pair_U)), dtype=np.float32)
    rows_N = np.arange(len(which_NG))
    for code_N in code_NG.T:
        times_NU[rows_N, code_N] += 1
    pair_U = pair_U[none:]
    return pair_U // span, pair_U % span, times_NU[:, none:]


def _heads(y: Tensor, heads: int, norm: nn.Module | None) -> Tensor:
    """Heads apart, normalised: [..., heads, E]."""
    apart = y.reshape(*y.shape[:-1], heads, y.shape[-1] // heads)
    out: Tensor = apart if norm is None else norm(apart)
    return out


def _turned(x_XHE: Tensor, place_X: Tensor, theta: float) -> Tensor:
    """Rotary positions of rows [..., H, E] that stand at [...]."""
    flat = x_XHE.reshape(1, -1, *x_XHE.shape[-2:]).transpose(1, 2)
    turned = rotate(flat, place_X.reshape(1, -1), theta)
    return turned.transpose(1, 2).reshape(x_XHE.shape)


def _over_own(q_NHE: Tensor, k_NCVE: Tensor, v_NCVE: Tensor, seen_NC: Tensor) -> Part:
    """Each candidate over rows of its own: [1, N, I] and [1, N, H]."""
    N, H, E = q_NHE.shape
    V = k_NCVE.shape[2]
    q_NVXE = q_NHE.view(N, V, H // V, E) * E**-0.5
    logits_NCVX = (q_NVXE[:, None] * k_NCVE[:, :, :, None]).sum(-1)
    logits_NCVX = logits_NCVX + bias_of(seen_NC, q_NHE.dtype)[..., None, None]
    lse_NVX = logits_NCVX.logsumexp(1)
    weight_NCVX = (logits_NCVX - lse_NVX[:, None]).exp()
    out_NVXE = (weight_NCVX[..., None] * v_NCVE[:, :, :, None]).sum(1)
    return Part(out_NVXE.reshape(1, N, H * E), lse_NVX.reshape(1, N, H))


def _over_shared(q_NHE: Tensor, k_UVE: Tensor, v_UVE: Tensor, times_NU: Tensor) -> Part:
    """All candidates over the same rows, each as often as it has them: [1, N, I] and [1, N, H]."""
    N, H, E = q_NHE.shape
    V = k_UVE.shape[1]
    there_NU = times_NU > 0
    bias_NU = times_NU.clamp(min=1).log() + bias_of(there_NU, q_NHE.dtype)
    q_1VQE = q_NHE.transpose(0, 1).reshape(1, V, H // V * N, E)
    k, v = (each.transpose(0, 1)[None] for each in (k_UVE, v_UVE))
    out, lse = attend_partly(q_1VQE, k, v, bias_NU.repeat(H // V, 1)[None, None])
    out_1NI = out.reshape(H, N, E).transpose(0, 1).reshape(1, N, H * E)
    return Part(out_1NI, lse.reshape(H, N).T[None])
