"""Pairs to measure on: a user's events and candidates as token ids, states, packed requests.

Legend: H events, N candidates, S segments, L tokens of a segment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from m6rec.model import plans
from m6rec.model.m6 import M6
from m6rec.model.plans import Packed, SegmentStates, SegmentTokens
from m6rec.serving.engine import Ask, Engine, EngineSettings
from m6rec.serving.prepare import Candidates

TASK = "rank"
Kept = int | Literal["all"]


@dataclass(frozen=True)
class Shape:
    """One request: H events, N candidates, tokens of each segment, what is kept, L - L'."""

    history: int
    candidates: int
    tokens: int = 12
    kept: Kept = 1
    online: int = 1


class World:
    """Random segments of one shape. Rows 0 and 1 are [EOS'] and [EOS], then events, then items."""

    def __init__(self, model: M6, shape: Shape, distinct: int = 2000) -> None:
        self.model, self.shape = model, shape
        self.lower = model.config.layers - shape.online
        self.items = min(shape.candidates, distinct)
        special, config = model.config.special, model.config
        generator = torch.Generator().manual_seed(0)
        size = (2 + shape.history + self.items, shape.tokens)
        low = min(1000, config.vocab_size // 2)
        ids_SL = torch.randint(low, config.vocab_size, size, generator=generator)
        ids_SL[:, 0], ids_SL[:, -1] = special.bos_source, special.eos_source
        ids_SL[0, 0], ids_SL[1, 0] = special.eos_source, special.eos
        valid_SL = torch.ones(size, dtype=torch.bool)
        valid_SL[:2, 1:] = False
        self.device = model.read_token.device
        self.tokens = SegmentTokens(ids_SL.to(self.device), valid_SL.to(self.device))

    def states(self) -> SegmentStates:
        """After layer L', as kept."""
        with torch.inference_mode():
            states = plans.encode_segments(self.model, self.tokens, self.lower)
            kept = self.shape.kept
            states = states if kept == "all" else plans.summarise(states, kept)
        return SegmentStates(states.h_SKD.clone(), states.valid_SK.clone())

    def user(self) -> Packed:
        """The source alone: [1, H + 1]."""
        H, config = self.shape.history, self.model.config
        index = torch.tensor([[*range(2, 2 + H), plans.READ_SOURCE]])
        ages = [plans.slot("event", H - 1 - age, config) for age in range(H)]
        slot = torch.tensor([[*ages, plans.READ_SOURCE_SLOT]])
        none = torch.full_like(index, -1)
        user = Packed(index, slot, torch.zeros_like(index), torch.tensor([[H]]), none)
        return user.to(self.device)

    def catalogue(self) -> Packed:
        """Every item with its [EOS], one to a row."""
        item_N1 = torch.arange(self.items)[:, None] + 2 + self.shape.history
        one = torch.ones_like(item_N1)
        index = torch.cat([item_N1, one * plans.READ_TARGET], 1)
        slot = torch.cat([one * plans.SLOTS["item"], one * plans.READ_TARGET_SLOT], 1)
        items = Packed(index, slot, torch.ones_like(index), one, torch.full_like(index, -1))
        return items.to(self.device)

    def chosen(self) -> torch.Tensor:
        """Which items the N candidates are; a catalogue smaller than N repeats."""
        return torch.arange(self.shape.candidates, device=self.device) % self.items

    def rows(self, count: int) -> Packed:
        """`count` candidates as ranking packs them for the full plan, each with the source."""
        user, items = self.user(), self.catalogue().rows(slice(0, count))
        count = len(items.index_BG)
        index, slot, group = (
            torch.cat([getattr(user, name).expand(count, -1), getattr(items, name)], 1)
            for name in ("index_BG", "slot_BG", "group_BG")
        )
        reads = [[self.shape.history, self.shape.history + 2]]
        read_BQ = torch.tensor(reads, device=self.device).expand(count, -1)
        return Packed(index, slot, group, read_BQ, torch.full_like(index, -1))


class Request:
    """A world behind an engine, ready to be asked over and over."""

    def __init__(self, world: World, runtime: str, ahead: bool = True) -> None:
        self.world = world
        self.engine = Engine({TASK: world.model}, world.lower, EngineSettings(runtime=runtime))
        self.states, self.user = world.states(), world.user()
        items = self.engine.candidates(TASK, self.states, world.catalogue(), ahead=ahead)
        self.catalogue: Candidates = items.keep_as(torch.float16) if ahead else items
        self.chosen = world.chosen()

    def __call__(self) -> torch.Tensor:
        """From cached states to the states at every [EOS]: [N, D]."""
        source = self.engine.sources(TASK, self.states, self.user)[0]
        candidates = self.catalogue.take(self.chosen)
        return self.engine.answer([Ask(TASK, source, candidates)])[0].candidates_ND
