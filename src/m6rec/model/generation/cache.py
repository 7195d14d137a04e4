"""Writing token by token: what sources and earlier tokens say is kept, each step adds its own.

Several lanes (beams, or samples) write after one source, whose keys and values they share. A lane's
tokens get columns of their own, never moved: when beams are reordered only the mask is, which says
whose columns a lane goes on from. The result equals the full pass of model/language.py.

Legend: B sources, W lanes of each, R rows of a source, C columns (R + W for each step), D width,
G key-value heads, E head width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from m6rec.config import ConfigError
from m6rec.model.attention import Turn, attend, turning
from m6rec.model.block import Block
from m6rec.model.language import TARGET_SLOT
from m6rec.model.m6 import M6
from m6rec.model.prefix import Prefix

HIDDEN = torch.finfo(torch.float32).min / 2
"""Added to the logits of columns that a lane may not see."""


class Cache:
    """Keys and values of sources and of what is written after them, of room for `steps` tokens.

    lanes: W. late: the plan of the prefix. The first token of every lane is [BOS].
    Raises ConfigError where the network has no positions for so many tokens.
    """

    def __init__(self, model: M6, prefix: Prefix, lanes: int, steps: int, late: bool) -> None:
        _check_room(model, prefix, steps, late)
        self.model, self.lanes, self.lower = model, lanes, prefix.lower
        self.first, self._late = (prefix.lower if late else 0), late
        self.steps, self.length = steps, 0
        self._blocks = [block for block in model.blocks if isinstance(block, Block)]
        self._start_B1 = prefix.valid_BR.sum(1, keepdim=True)
        self._source = prefix.valid_BR.shape[1]
        # Attention of few queries on CPUs is several times slower in bfloat16 than in float32.
        device = prefix.valid_BR.device
        self._dtype = torch.float32 if device.type == "cpu" else model.read_token.dtype
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._allocate(prefix)
        self._mask_BWC = self._all_hidden(prefix.valid_BR)
        self._segment_D = model.segments.weight[TARGET_SLOT]

    def __len__(self) -> int:
        return self._start_B1.shape[0]

    def step(self, ids_BW: Tensor) -> Tensor:
        """Every lane's next token → the states that foretell the one after it: [B, W, D]."""
        model, first = self.model, self.first
        online_BW = (self._start_B1 + self.length).expand(-1, self.lanes)
        alone_BW = torch.full_like(online_BW, self.length)
        x_BWD = model.embed(ids_BW, alone_BW if self._late else online_BW)
        mask_BWC = self._open_columns()
        below = None if mask_BWC is None or self.lanes == 1 else mask_BWC[..., self._source :]
        turns = [self._turning(p, x_BWD.dtype) for p in (alone_BW, online_BW)]
        for index, block in enumerate(self._blocks):
            late = index >= first
            if index == self.lower:
                x_BWD = x_BWD + self._segment_D
            z_BWD = block.attention_norm(x_BWD) if block.pre else x_BWD
            q, k, v = block.attention.project(z_BWD, turns[late])
            k_BGCE, v_BGCE = self._append(index, k, v)
            y_BWD = attend(q.to(self._dtype), k_BGCE, v_BGCE, mask_BWC if late else below)
            x_BWD = block.absorb(x_BWD, block.attention.out(y_BWD.to(x_BWD.dtype)))
        self.length += 1
        out: Tensor = model.finish(x_BWD)
        return out

    def _turning(self, position_BW: Tensor, dtype: torch.dtype) -> Turn | None:
        config = self.model.config
        if config.position != "rope":
            return None
        return turning(position_BW, config.head_dim, config.rope_theta, dtype)

    def reorder(self, parent_BW: Tensor) -> None:
        """Each lane goes on from the lane `parent` of the same source."""
        if self._mask_BWC is not None and self.lanes > 1:
            self._mask_BWC = torch.take_along_dim(self._mask_BWC, parent_BW[..., None], dim=1)

    def keep(self, rows: Tensor) -> None:
        """Forgets all sources but some."""
        used = self.length * self.lanes
        for kept in (self._keys, self._values):
            for index, old in enumerate(kept):
                end = used + (self._source if index >= self.first else 0)
                fresh = old.new_empty(len(rows), *old.shape[1:])
                torch.index_select(old[:, :, :end], 0, rows, out=fresh[:, :, :end])
                kept[index] = fresh
        self._start_B1 = self._start_B1[rows]
        if self._mask_BWC is not None:
            self._mask_BWC = self._mask_BWC[rows]

    def _allocate(self, prefix: Prefix) -> None:
        attention = self._blocks[0].attention
        B, own = len(prefix.valid_BR), self.steps * self.lanes
        for index in range(len(self._blocks)):
            source = prefix.past[index - self.first] if index >= self.first else None
            C = own + (self._source if source is not None else 0)
            shape = (B, attention.kv_heads, C, attention.head_dim)
            for number, kept in enumerate((self._keys, self._values)):
                room = torch.empty(shape, dtype=self._dtype, device=prefix.valid_BR.device)
                if source is not None:
                    room[:, :, : self._source] = source[number]
                kept.append(room)

    def _all_hidden(self, valid_BR: Tensor) -> Tensor | None:
        """What is added to the logits; None where every lane sees every column."""
        if self.lanes == 1 and bool(valid_BR.all()):
            return None
        C = self._source + self.steps * self.lanes
        shape = (len(valid_BR), self.lanes, C)
        mask_BWC = torch.full(shape, HIDDEN, dtype=self._dtype, device=valid_BR.device)
        mask_BWC[..., : self._source].masked_fill_(valid_BR[:, None], 0.0)
        return mask_BWC

    def _open_columns(self) -> Tensor | None:
        """Shows every lane its new column; the mask of the columns in use: [B, W, C]."""
        if self._mask_BWC is None:
            return None
        begin = self._source + self.length * self.lanes
        end = begin + self.lanes
        self._mask_BWC[..., begin:end].diagonal(dim1=1, dim2=2).zero_()
        return self._mask_BWC[..., :end]

    def _append(self, index: int, k_BGWE: Tensor, v_BGWE: Tensor) -> tuple[Tensor, Tensor]:
        begin = self.length * self.lanes + (self._source if index >= self.first else 0)
        end = begin + self.lanes
        keys, values = self._keys[index], self._values[index]
        keys[:, :, begin:end] = k_BGWE
        values[:, :, begin:end] = v_BGWE
        return keys[:, :, :end], values[:, :, :end]


def _check_room(model: M6, prefix: Prefix, steps: int, late: bool) -> None:
    config = model.config
    if prefix.lower >= config.layers:
        raise ConfigError(
            f"writing needs an online layer: {prefix.lower} of {config.layers} layers are below"
        )
    if len(prefix.past) != config.layers - (prefix.lower if late else 0):
        raise ConfigError("the sources were read under another plan than they are to be used")
    longest = steps + (0 if late else int(prefix.valid_BR.sum(1).max()))
    if config.position == "learned" and longest > config.max_positions:
        raise ConfigError(
            f"{steps} tokens {'' if late else 'and their source '}need {longest} positions, the "
            f"model has {config.max_positions}; lower max_tokens"
            + ("" if late else ", shorten the source, or use the late plan")
        )
