"""What M6-Edge learns: to write and to retrieve at every exit, as its teacher, with ever less.

Legend: N labels, W words that compete, D width, B texts, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from m6rec.model.checkpoint import backbone_tensors, fingerprint
from m6rec.model.exits import exit_weights, lower_of, shallow
from m6rec.model.m6 import M6
from m6rec.training.batches import NO_LABEL, PairBatch, WritingBatch
from m6rec.training.edge.prune import Pruner
from m6rec.training.edge.quantised import Rounder
from m6rec.training.edge.recipe import EdgeRecipe
from m6rec.training.edge.relations import Parts, last_inputs, parts_of, relation_loss
from m6rec.training.lesson import Lesson
from m6rec.training.loop import TrainingError
from m6rec.training.losses import (
    PairLosses,
    pair_losses,
    plain_means,
    writing_loss,
    written_states,
)

ROUNDS = "rounds"


@dataclass(frozen=True)
class Taught:
    """What the teacher says of a batch: its last layer's parts, its logits, or neither."""

    parts: Parts | None = None
    logits_NW: Tensor | None = None


@final
class EdgeLesson(Lesson):
    """Teacher, exits and pruning of a recipe.

    teacher: frozen; with the student's words. marks: what else must be the same to go on.
    written_V: how often the corpus writes each word, for pruning.
    """

    def __init__(
        self,
        recipe: EdgeRecipe,
        teacher: M6,
        marks: Mapping[str, Any] | None = None,
        written_V: np.ndarray | None = None,
    ) -> None:
        if recipe.teaching in ("logits", "both") and teacher.config.lm_head != "transform":
            raise TrainingError(
                f"teaching={recipe.teaching}: the teacher was never trained to write; right is "
                "teaching=relation, or a teacher that m6rec pretrain made"
            )
        self.recipe, self.marks = recipe, dict(marks or {})
        self.teacher: M6 | None = None
        if recipe.teaching != "none":
            self.teacher = teacher.requires_grad_(False).eval()
        self.pruner: Pruner | None = None
        if recipe.sparsity:
            span = (recipe.prune_from, recipe.prune_until)
            often_V = None if written_V is None else torch.from_numpy(written_V).float()
            self.pruner = Pruner(recipe.sparsity, *span, recipe.pattern, often_V)
        self.rounder: Rounder | None = None
        if recipe.quantise != "none":
            self.rounder = Rounder(inputs=recipe.quantise == "w8a8")
        self.rounds = self.rounder is not None and recipe.quantise_from == 0
        self._sums: dict[str, list[float]] = {}

    def settings(self) -> dict[str, Any]:
        """Which teacher."""
        found = None if self.teacher is None else fingerprint(backbone_tensors(self.teacher))
        return {"teacher": found, **self.marks}

    def reference(self, model: M6) -> M6 | None:
        """The teacher, where its means have the student's width and it is listened to."""
        if self.teacher is None:
            return None
        same = self.teacher.config.d_model == model.config.d_model
        return self.teacher if same else None

    def writing(
        self,
        model: M6,
        batch: WritingBatch,
        lower: int,
        words: Tensor,
        low: torch.dtype,
        rng: np.random.Generator,
    ) -> Tensor:
        """The loss of the labels at the exits of this batch, and what the teacher adds to it."""
        self._round(model)
        online = model.config.layers - lower
        labels = int((batch.label_BT != NO_LABEL).sum())
        taught = self._taught(batch, online, words, low)
        valid_BT = torch.cat([batch.source.valid_BR, batch.valid_BT], 1)
        total = torch.zeros((), device=batch.target_BT.device)
        for weight, view in self._exits(model, rng):
            below = lower_of(view.config.layers, online)
            with last_inputs(view) as seen:
                loss = self._word_loss(view, batch, below, words, low, taught.logits_NW)
            if taught.parts is not None:
                relation = self._relation(parts_of(view, seen[0]), taught.parts, valid_BT)
                loss = loss + labels * relation
            total = total + weight * loss
        return total

    def pairs(
        self,
        model: M6,
        batch: PairBatch,
        lower: int,
        reference: M6 | None,
        rng: np.random.Generator,
    ) -> tuple[PairLosses, Tensor | float]:
        """The losses of pairs at the exits, and the relations within their segments."""
        self._round(model)
        online, groups = model.config.layers - lower, len(batch.segments)
        start_SD, taught = None, None
        if self.teacher is not None and (reference is not None or self._relates):
            with last_inputs(self.teacher) as seen:
                means_SD = plain_means(self.teacher, batch)
            start_SD = None if reference is None else means_SD
            with torch.no_grad():
                taught = [parts_of(self.teacher, one) for one in seen] if self._relates else None
        found, more = [], []
        for weight, view in self._exits(model, rng):
            with last_inputs(view) as seen:
                losses = pair_losses(view, batch, lower_of(view.config.layers, online), start_SD)
            found.append((weight, losses))
            if taught is not None:
                own = [parts_of(view, one) for one in seen[:groups]]
                more.append(weight * self._relation_of_groups(own, taught, batch))
        return _weighed(found), sum(more, 0.0)

    @property
    def _relates(self) -> bool:
        return self.recipe.teaching in ("relation", "both")

    def _exits(self, model: M6, rng: np.random.Generator) -> Iterator[tuple[float, M6]]:
        """Weights, and views of the network that are trained on this batch."""
        weights = exit_weights(model.config.layers)
        if self.recipe.exits == "drawn":
            yield 1.0, shallow(model, 1 + int(rng.choice(len(weights), p=weights)))
        elif self.recipe.exits == "all":
            for depth, weight in enumerate(weights, start=1):
                yield weight, shallow(model, depth)
        else:
            yield 1.0, model

    @torch.no_grad()
    def _taught(self, batch: WritingBatch, online: int, words: Tensor, low: torch.dtype) -> Taught:
        teacher = self.teacher
        if teacher is None:
            return Taught()
        with last_inputs(teacher) as seen:
            h_ND = written_states(teacher, batch, lower_of(teacher.config.layers, online))
        return Taught(
            parts_of(teacher, seen[0]) if self._relates else None,
            None if self.recipe.teaching == "relation" else word_logits(teacher, h_ND, words, low),
        )

    def _word_loss(
        self,
        view: M6,
        batch: WritingBatch,
        lower: int,
        words: Tensor,
        low: torch.dtype,
        taught_NW: Tensor | None,
    ) -> Tensor:
        """Sum over labels of what was written, and (softened) of what the teacher would write."""
        label_N = batch.label_BT[batch.label_BT != NO_LABEL]
        if taught_NW is None:
            loss = writing_loss(view, batch, lower, words, low)
            self._tell("words", loss.item() / max(len(label_N), 1))
            return loss
        logits_NW = word_logits(view, written_states(view, batch, lower), words, low)
        column_N = torch.searchsorted(words, label_N)
        hard = F.cross_entropy(logits_NW, column_N, reduction="sum")
        soft = soft_loss(logits_NW, taught_NW, self.recipe.temperature)
        self._tell("words", hard.item() / max(len(label_N), 1))
        self._tell("soft", soft.item() / max(len(label_N), 1))
        share = self.recipe.soft_share
        return (1 - share) * hard + share * soft

    def _relation(self, own: Parts, taught: Parts, valid_BT: Tensor) -> Tensor:
        loss = relation_loss(own, taught, valid_BT, self.recipe.relation_heads)
        self._tell("relation", loss.item())
        return self.recipe.relation_weight * loss

    def _relation_of_groups(
        self, own: list[Parts], taught: list[Parts], batch: PairBatch
    ) -> Tensor:
        """Mean over the tokens of all segments."""
        rows = [int(tokens.valid_SN.sum()) for tokens in batch.segments]
        each = [
            count * self._relation(student, teacher, tokens.valid_SN)
            for student, teacher, tokens, count in zip(
                own, taught, batch.segments, rows, strict=True
            )
        ]
        return torch.stack(each).sum() / sum(rows)

    def _round(self, model: M6) -> None:
        if self.rounder is not None and self.rounds:
            self.rounder.put_in(model)

    def _tell(self, name: str, value: float) -> None:
        self._sums.setdefault(name, []).append(value)

    def told(self) -> dict[str, float]:
        """Means since the last call: loss of words, of softened words, of relations; zeros."""
        means = {name: sum(values) / len(values) for name, values in self._sums.items()}
        self._sums = {}
        return means | ({"zeros": self.pruner.reached} if self.pruner else {})

    def before_update(self, model: M6) -> None:
        """What has gone gets no gradient; weights are the network's own again."""
        if self.rounder is not None:
            self.rounder.take_out(model)
        if self.pruner is not None:
            self.pruner.still(model)

    def after_update(self, model: M6, step: int, share: float) -> None:
        """What has gone stays zero; every so many steps more goes."""
        if self.rounder is not None and share >= self.recipe.quantise_from:
            self.rounds = True
        if self.pruner is None:
            return
        steps = self.recipe.prune_steps
        self.pruner.hold(model)
        if (step + 1) % self.recipe.prune_every == 0:
            self.pruner.tighten(model, (step + 1) / steps if steps else share)

    def state(self) -> dict[str, Tensor]:
        """The masks, and whether weights are rounded by now."""
        masks = {} if self.pruner is None else self.pruner.state()
        return masks if self.rounder is None else {**masks, ROUNDS: torch.tensor(self.rounds)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Takes back what `state` gave."""
        masks = dict(state)
        if self.rounder is not None:
            self.rounds = bool(masks.pop(ROUNDS))
        if self.pruner is not None:
            self.pruner.restore(masks)


def word_logits(model: M6, h_ND: Tensor, words: Tensor, low: torch.dtype) -> Tensor:
    """Logits of some words, float32: [N, W]."""
    head = model.lm_head
    weight_WD = head.decoder.weight.index_select(0, words)
    bias_W = None if head.decoder.bias is None else head.decoder.bias.index_select(0, words)
    logits_NW = F.linear(head.transformed(h_ND).to(low), weight_WD.to(low)).float()
    return logits_NW if bias_W is None else logits_NW + bias_W


def soft_loss(logits_NW: Tensor, taught_NW: Tensor, temperature: float) -> Tensor:
    """KL(teacher ‖ student) of words at a temperature, times its square, summed over labels.

    Source: Hinton, Vinyals and Dean, arXiv 1503.02531.
    """
    log_q = (logits_NW / temperature).log_softmax(-1)
    log_p = (taught_NW / temperature).log_softmax(-1)
    return temperature**2 * F.kl_div(log_q, log_p, reduction="sum", log_target=True)


def _weighed(found: list[tuple[float, PairLosses]]) -> PairLosses:
    def mean(name: str) -> Tensor:
        parts: list[Tensor] = [weight * getattr(losses, name) for weight, losses in found]
        return torch.stack(parts).sum()

    return PairLosses(mean("plain"), mean("read"), mean("anchor"))
