"""What the loop trains for each task: examples, loss, and the measure to choose by.

Legend: R training requests, B of a batch, I items, N items scored.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from m6rec.collaborative.dial import DialPoint, dial_curve
from m6rec.data.requests import Requests
from m6rec.data.splits import Split
from m6rec.metrics import ranking as metrics
from m6rec.model.plans import Packed
from m6rec.tasks.catalogue import BOOSTS, item_prior
from m6rec.tasks.folder import modules_of
from m6rec.tasks.ranking import Ranker
from m6rec.tasks.retrieval import Retriever, contrastive_loss

VALID_REQUESTS = 4000
"""Validation uses at most this many requests, the same ones every epoch."""


class RetrievalTrainee:
    """Contrastive training of the two towers."""

    def __init__(self, retriever: Retriever, split: Split, seed: int = 0) -> None:
        self.retriever = retriever
        texts, self.item_ids = catalogue(retriever, split)
        self.items = retriever.pack_items(texts, self.item_ids)
        position = {item_id: index for index, item_id in enumerate(self.item_ids)}
        # What train does not know is no negative either: it would only learn to stay away from it.
        known = [item_id for item_id in self.item_ids if item_id in split.train_item_ids]
        self.known_items = self.items.rows(torch.tensor([position[i] for i in known]))
        self.train = retriever.pack_users(split.train)
        self.target_R = targets(split.train, {item_id: n for n, item_id in enumerate(known)})
        valid = some(split.valid, VALID_REQUESTS, seed)
        self.valid = retriever.pack_users(valid)
        self.valid_target = targets(valid, position).numpy()
        count_N = np.bincount(self.target_R.numpy(), minlength=len(known))
        self.share_N = torch.from_numpy(count_N / max(count_N.sum(), 1)).float()
        self.popularity_I = np.zeros(len(self.item_ids), dtype=np.float32)
        self.popularity_I[[position[i] for i in known]] = count_N

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The network and what stands beside it."""
        return modules_of(self.retriever)

    @property
    def examples(self) -> int:
        """Training requests."""
        return len(self.target_R)

    def loss(self, indices: Tensor) -> Tensor:
        """Against all known items if they are few, else the batch's own and drawn negatives."""
        x_BK = self.retriever.user_vectors(self.train.rows(indices))
        target_B = self.target_R[indices]
        log_scale = self.retriever.model.log_scale
        settings, known = self.retriever.settings, len(self.share_N)
        if known <= settings.full_softmax:
            y_NK = self.retriever.item_vectors(self.known_items)
            return contrastive_loss(x_BK, y_NK, target_B.to(x_BK.device), log_scale)
        drawn = torch.randint(known, (settings.negatives,))
        chosen_N, place = torch.cat([target_B, drawn]).unique(return_inverse=True)  # type: ignore[no-untyped-call]
        y_NK = self.retriever.item_vectors(self.known_items.rows(chosen_N))
        expected_N = len(indices) * self.share_N[chosen_N] + settings.negatives / known
        log_q_N = expected_N.log().to(x_BK.device)
        place_B = place[: len(indices)].to(x_BK.device)
        return contrastive_loss(x_BK, y_NK, place_B, log_scale, log_q_N)

    def validate(self) -> dict[str, float]:
        """NDCG@10 (the score), HR@10 and HR@100 by full ranking; nothing without valid requests."""
        if len(self.valid_target) == 0:
            return {}
        rank_R = metrics.pessimistic_ranks(self.valid_scores(), self.valid_target)
        hits = {f"hr@{k}": float(metrics.hit_rate(rank_R, k).mean()) for k in (10, 100)}
        return {"score": float(metrics.ndcg(rank_R, 10).mean()), **hits}

    @torch.no_grad()
    def valid_scores(self) -> np.ndarray:
        """Similarity of the valid requests to every item, the popular one of equal texts first."""
        retriever = self.retriever
        y_IK = in_parts(retriever.item_vectors, self.items, 2048)
        x_RK = in_parts(retriever.user_vectors, self.valid, 512)
        prior_I = item_prior(self.popularity_I, np.zeros(len(self.item_ids), bool), 0.0)
        return np.asarray((x_RK @ y_IK.T).cpu().numpy() + prior_I)

    def new_item_dial(self, known: Collection[str]) -> list[DialPoint]:
        """What boosts of the items unknown to training find on valid, by words alone."""
        if len(self.valid_target) == 0:
            return []
        new_I = np.array([item_id not in known for item_id in self.item_ids])
        return dial_curve(self.valid_scores(), self.valid_target, new_I, BOOSTS)


class RankingTrainee:
    """Classification at [EOS]."""

    def __init__(self, ranker: Ranker, split: Split) -> None:
        self.ranker = ranker
        self.train = ranker.pack(split.train)
        self.label_R = labels(split.train)
        if ranker.evidence is not None:
            ranker.evidence.begin(self.train.evidence_BE, self.label_R)
        self.valid = ranker.pack(split.valid) if len(split.valid) else None
        self.valid_label = labels(split.valid).numpy()

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The network and what stands beside it."""
        return modules_of(self.ranker)

    @property
    def examples(self) -> int:
        """Labelled candidates."""
        return len(self.label_R)

    def loss(self, indices: Tensor) -> Tensor:
        """Cross-entropy of the classes."""
        label_B = self.label_R[indices].to(self.ranker.model.read_token.device)
        return self.ranker.loss(self.train.rows(indices), label_B)

    def validate(self) -> dict[str, float]:
        """AUC (the score); nothing where valid has no requests, or labels of one kind only."""
        if self.valid is None or len(set(self.valid_label.tolist())) < 2:
            return {}
        probability = self.ranker.probabilities(self.valid)
        return {"score": metrics.auc(probability, self.valid_label)}


def catalogue(retriever: Retriever, split: Split) -> tuple[list[str], list[str]]:
    """Texts and ids of all items, in catalogue order."""
    return retriever.packer.verbalizer.item_texts(), split.items["item_id"].to_list()


def targets(requests: Requests, position: Mapping[str, int]) -> Tensor:
    """Catalogue position of every request's target: int64 [R]."""
    return torch.tensor([position[t] for t in requests.rows["target"]], dtype=torch.int64)


def labels(requests: Requests) -> Tensor:
    """Labels of all candidates in order: float [sum of candidates]."""
    column = requests.rows["labels"].explode().drop_nulls()
    return torch.tensor(column.to_list(), dtype=torch.float32)


def some(requests: Requests, most: int, seed: int) -> Requests:
    """At most `most` requests, drawn by seed, in order."""
    if len(requests) <= most:
        return requests
    chosen = np.random.default_rng(seed).choice(len(requests), most, replace=False)
    return requests.take(np.sort(chosen))


def in_parts(vectors: object, packed: Packed, size: int) -> Tensor:
    """Vectors of many rows, `size` at a time."""
    assert callable(vectors)
    total = len(packed.index_BG)
    return torch.cat([vectors(packed.rows(slice(i, i + size))) for i in range(0, total, size)])
