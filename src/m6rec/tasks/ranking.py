"""Ranking: will this user click, buy or like this item? (paper section 2, scoring)

The source is the user's history, the target the candidate with its cross features in words; the
state at [EOS] meets the classifier. Legend: B candidates, C = 2 classes, F feature sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import polars as pl
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from m6rec.config import Settings
from m6rec.data.requests import Requests
from m6rec.data.stances import stances
from m6rec.model import plans
from m6rec.model.m6 import M6
from m6rec.model.plans import Packed
from m6rec.model.residual import ItemResidual
from m6rec.model.tuning import Tuning, option_logits
from m6rec.tasks.evidence import (
    NUMBERS,
    Evidence,
    likeness,
    mean_states,
    signs,
    signs_of_history,
    told,
)
from m6rec.tasks.packing import Columns, Packer, join, pack, read_column
from m6rec.tasks.segments import Plan, SegmentTable, below_is_frozen, read
from m6rec.text.feature_table import FeatureTable
from m6rec.text.feature_words import Coded, FeatureWords
from m6rec.text.own_history import flat
from m6rec.text.past import YesNo

CANDIDATES_AT_ONCE = 512
CLASS_WORDS = ("no", "yes")
REFUSED = 4.0
"""Taken off the log-odds of an item that the user said no to by name (its id, or its title)."""


class RankingSettings(Settings):
    """What ranking reads and how; the fields of retrieval mean the same here.

    features: whether cross features in words stand beside the candidate. evidence: whether the
    answer starts from the expected rate (tasks/evidence.py). residual: as in retrieval.
    """

    plan: Plan = "late"
    online_layers: int = Field(default=1, ge=1)
    segment_states: int | Literal["all"] = 1
    max_history: int = Field(default=20, ge=1)
    profile: bool = True
    recency: bool = False
    features: bool = True
    evidence: bool = True
    dropout: float = Field(default=0.1, ge=0, lt=1)
    residual: bool = False
    residual_size: int = Field(default=64, ge=1)
    residual_dropout: float = Field(default=0.3, ge=0, lt=1)


class FeatureSource(Protocol):
    """Cross features of every candidate of every request, flattened in order (text/features.py)."""

    @property
    def words(self) -> FeatureWords: ...
    def table(self, pool: pl.DataFrame, rows: pl.DataFrame) -> FeatureTable: ...


@dataclass(frozen=True)
class Asked:
    """Candidates of requests, ready for the network: packed rows and evidence [B, E]. refused:
    bool [B], the user said no to the candidate by name."""

    packed: Packed
    evidence_BE: Tensor
    refused_B: np.ndarray

    def rows(self, index: Tensor | slice) -> Asked:
        """The chosen candidates."""
        kept = index if isinstance(index, slice) else index.cpu().numpy()
        return Asked(self.packed.rows(index), self.evidence_BE[index], self.refused_B[kept])


@dataclass(frozen=True)
class Parts:
    """Requests before they are put side by side: the source of each, which request each candidate
    belongs to, the candidates' own columns with [EOS] last, evidence [B, E], and refused as in
    `Asked`."""

    source: Columns
    of_request_B: np.ndarray
    candidates: Columns
    evidence_BE: Tensor
    refused_B: np.ndarray


class Ranker:
    """Scores candidates with one pass of the network over source, candidate and features."""

    def __init__(
        self,
        model: M6,
        table: SegmentTable,
        packer: Packer,
        settings: RankingSettings,
        tuning: Tuning,
        features: FeatureSource | None = None,
        residual: ItemResidual | None = None,
        evidence: Evidence | None = None,
        rule: YesNo | None = None,
        name: str = "M6-Rec",
    ) -> None:
        self.model, self.table, self.packer = model, table, packer
        self.settings, self.tuning, self.name = settings, tuning, name
        self.features, self.residual = features, residual
        self.evidence, self.rule = evidence, rule

    def predict(self, requests: Requests) -> np.ndarray:
        """Probability of a yes for each candidate of every request in order: float32 [N]."""
        return self.probabilities(self.pack(requests))

    def pack(self, requests: Requests) -> Asked:
        """One row per candidate of every request, in order, with its features in words."""
        parts = self.parts(requests)
        packed = pack([parts.source.repeat(parts.of_request_B), parts.candidates])
        return Asked(packed, parts.evidence_BE, parts.refused_B)

    def parts(self, requests: Requests) -> Parts:
        """The same before sources and candidates are put side by side."""
        item_ids, texts = (requests.rows[name].to_list() for name in ("item_ids", "texts"))
        of_request_B = np.repeat(np.arange(len(requests)), [len(some) for some in item_ids])
        source = self.packer.source(requests)
        candidates = self.packer.candidates(flat(item_ids), flat(texts))
        columns = [candidates]
        evidence_BE = np.zeros((len(candidates), NUMBERS), dtype=np.float32)
        if self.features is not None:
            table = self.features.table(requests.pool, requests.rows)
            evidence_BE[:, :-2] = told(table)
            if self.settings.features:
                columns.append(self._feature_columns(self.features.words.coded(table)))
        columns.append(read_column(len(candidates), plans.READ_TARGET))
        if self.evidence is not None:
            evidence_BE[:, -2:] = self._likeness(requests, of_request_B, source, candidates)
        refused_B = self._refused(requests, flat(item_ids), flat(texts), of_request_B)
        return Parts(source, of_request_B, join(columns), torch.from_numpy(evidence_BE), refused_B)

    def _refused(
        self,
        requests: Requests,
        item_ids: Sequence[str | None],
        texts: Sequence[str | None],
        of_request_B: np.ndarray,
    ) -> np.ndarray:
        names = stances(requests, self.packer.scale).named
        refused_B = np.zeros(len(of_request_B), dtype=bool)
        has_names = np.array([bool(some) for some in names], dtype=bool)
        for place in np.flatnonzero(has_names[of_request_B]).tolist():
            item_id = item_ids[place]
            words = (texts[place] or self.packer.verbalizer.title(item_id)).strip().lower()
            refused_B[place] = not names[of_request_B[place]].isdisjoint((item_id, words))
        return refused_B

    @torch.no_grad()
    def start_evidence(self, requests: Requests) -> None:
        """Sets the centre of likeness: the mean state of the distinct candidates of `requests`."""
        if self.evidence is None or not any(map(len, requests.rows["item_ids"].to_list())):
            return
        item_ids, texts = (requests.rows[name].to_list() for name in ("item_ids", "texts"))
        columns = self.packer.candidates(flat(item_ids), flat(texts))
        rows = torch.from_numpy(np.unique(columns.index[:, 0])).to(self.table.device)
        self.evidence.centre.copy_(mean_states(self.table.states(), rows).mean(0))

    def _likeness(
        self, requests: Requests, of_request_B: np.ndarray, source: Columns, candidates: Columns
    ) -> np.ndarray:
        events_G = (source.slot >= plans.FIRST_EVENT_SLOT).all(0)
        event_RH = source.index[:, events_G]
        if (
            self.rule is None
            or self.evidence is None
            or not len(candidates)
            or not event_RH.shape[1]
        ):
            return np.zeros((len(candidates), 2), dtype=np.float32)
        sign_E = signs(requests.pool, self.rule)
        sign_RH = signs_of_history(requests, sign_E, event_RH.shape[1])
        states, centre_D = self.table.states(), self.evidence.centre.detach()
        item_B = candidates.index[:, 0]
        return likeness(states, centre_D, item_B, event_RH, sign_RH, of_request_B)

    def _feature_columns(self, features: Coded) -> Columns:
        """Sentences as segments, empty columns behind."""
        rows = self.table.add(features.texts, self.packer.budget("features"))
        index_BF = np.append(rows, -1)[features.code_NF]
        order_BF = np.argsort(index_BF < 0, axis=1, kind="stable")
        width = int((index_BF >= 0).sum(1).max(initial=0))
        index_BF = np.take_along_axis(index_BF, order_BF[:, :width], 1)
        slot_BF = np.full_like(index_BF, plans.SLOTS["features"])
        return Columns(index_BF, slot_BF, np.full_like(index_BF, -1))

    def logits(self, asked: Asked) -> Tensor:
        """Class scores [B, C] from the states at [EOS], and the evidence."""
        packed = asked.packed
        frozen = below_is_frozen(self.model, self.table.lower)
        dropout = self.settings.dropout if self.model.training else 0.0
        residual_BGD = None
        if self.residual is not None:
            residual_BGD = self.residual.for_segments(packed.code_BG.to(self.table.device))
        states_BQD = read(self.table, packed, self.settings.plan, frozen, residual_BGD, dropout)
        return self.judge(states_BQD[:, -1], asked.evidence_BE)

    def judge(self, states_BD: Tensor, evidence_BE: Tensor) -> Tensor:
        """Class scores [B, C] from states at [EOS], whichever engine gave them."""
        logits_BC = option_logits(self.model, states_BD, self.tuning)
        if self.evidence is None:
            return logits_BC
        trusted: Tensor = self.evidence(logits_BC, evidence_BE.to(logits_BC.device))
        return trusted

    def loss(self, asked: Asked, labels_B: Tensor) -> Tensor:
        """Mean cross-entropy; labels are 0 or 1."""
        return F.cross_entropy(self.logits(asked), labels_B.long())

    @torch.no_grad()
    def probabilities(self, asked: Asked) -> np.ndarray:
        """Probability of a yes for each candidate: float32 [B]."""
        size = CANDIDATES_AT_ONCE
        total = len(asked.evidence_BE)
        parts = [self.logits(asked.rows(slice(i, i + size))) for i in range(0, total, size)]
        if not parts:
            return np.zeros(0, dtype=np.float32)
        return probabilities_of(torch.cat(parts), asked.refused_B)


def probabilities_of(logits_BC: Tensor, refused_B: np.ndarray) -> np.ndarray:
    """Class scores → the probability of a yes, float32 [B]; what was refused by name has less."""
    logits_BC = logits_BC.float().cpu()
    less_B = REFUSED * torch.from_numpy(refused_B).float()
    odds_BC = torch.stack([logits_BC[:, 0], logits_BC[:, 1] - less_B], 1)
    return np.asarray(odds_BC.softmax(-1)[:, 1].numpy())
