"""UniSRec as rectools has it: fixed text vectors, a trained projection, SASRec over them.

An item is its text vector, so items without training events are scored too. Full softmax over the
items with events; stopped early on valid NDCG@10, which rectools itself can not do. Vectors come
at length √D: at length 1 their numbers are so small that the layers, whose weights begin small as
well, learn nothing for dozens of epochs.
Sources: Hou et al., Towards Universal Sequence Representation Learning (KDD 2022);
rectools.fast_transformers, release 0.19.

Legend: B requests, H events of a history, I items, T items with training events, D vector width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from m6rec.data.requests import Requests
from m6rec.data.splits import Split
from m6rec.evaluation.baselines.extras import from_bench
from m6rec.evaluation.baselines.popularity import popularity_counts
from m6rec.evaluation.baselines.sasrec import known_last, quiet, windows
from m6rec.evaluation.baselines.stopping import best_weights, judged_trainer
from m6rec.evaluation.baselines.text_similarity import checked_vectors, unit_rows
from m6rec.evaluation.catalogue import catalogue_codes, chosen_events, liked_codes
from m6rec.evaluation.retrieval import RetrievalModel


@dataclass(frozen=True)
class UniSRecSettings:
    """What is tuned. `patience`: epochs without a better valid figure before training stops.

    learning_rate: of the head and the norms; rectools sets those of the other layers by it.
    max_seconds: no further epoch is begun after them.
    """

    width: int = 128
    hidden: int = 256
    blocks: int = 2
    heads: int = 2
    dropout: float = 0.2
    learning_rate: float = 3e-4
    batch: int = 128
    max_history: int = 20
    max_epochs: int = 60
    patience: int = 5
    max_seconds: float = math.inf
    seed: int = 0


@dataclass(frozen=True)
class UniSRec:
    """A trained network behind the protocol of retrieval.

    vectors: float32 [I + 1, 1, D] in the network's order, the first row is the padding.
    token: int64 [I + 1], the network's id of each catalogue item and, last, 0 for no item.
    popularity: float32 [I], for requests with no history.
    """

    name: str
    network: Any
    vectors: torch.Tensor
    item_ids: list[str]
    token: np.ndarray
    popularity: np.ndarray
    max_history: int

    def score(self, requests: Requests) -> np.ndarray:
        codes_BH = liked_codes(requests, self.item_ids, self.max_history)
        tokens_BH = known_last(self.token[codes_BH])
        learned, training = self.network.frozen_emb, self.network.training
        self.network.eval()
        try:
            self.network.frozen_emb = self.vectors
            with torch.inference_mode():
                states_BD = self.network.encode_last(torch.from_numpy(tokens_BH))
                scores_BT = (states_BD @ self.network.project_all().T).numpy()
        finally:
            self.network.frozen_emb = learned
            self.network.train(training)
        scores_BI = np.asarray(scores_BT[:, self.token[:-1]])
        scores_BI[(tokens_BH == 0).all(axis=1)] = self.popularity
        return scores_BI


def fit_unisrec(
    split: Split,
    vectors_ID: np.ndarray,
    settings: UniSRecSettings,
    judge: Callable[[RetrievalModel], float],
    report: Callable[[int, float], None] = lambda epoch, figure: None,
) -> UniSRec:
    """Trains epoch by epoch and returns the weights of the epoch that `judge` put highest.

    vectors_ID: one finite row per catalogue item. Raises EvaluationError where that is not so or
    the `bench` extra is missing.
    """
    library = from_bench("rectools.fast_transformers", "UniSRec")
    with quiet():
        torch.manual_seed(settings.seed)
        token, trained = _tokens(split)
        vectors_ID = unit_rows(checked_vectors(vectors_ID, split.items.height))
        vectors_ID = vectors_ID * np.float32(math.sqrt(vectors_ID.shape[1]))  # see above
        table = np.zeros((len(token), 1, vectors_ID.shape[1]), dtype=np.float32)
        table[token[:-1], 0] = vectors_ID
        vectors = torch.from_numpy(table)
        network = _network(library, vectors[: trained + 1], settings)
        model = UniSRec(
            name="UniSRec",
            network=network,
            vectors=vectors,
            item_ids=split.items["item_id"].to_list(),
            token=token,
            popularity=popularity_counts(split),
            max_history=settings.max_history,
        )
        best = _train(library, model, _sequences(split, token, settings), settings, judge, report)
        network.load_state_dict(best)
    network.eval()
    return replace(model, network=network)


def _tokens(split: Split) -> tuple[np.ndarray, int]:
    """The network's ids, int64 [I + 1]: items with events from 1 to T, then the others; and T."""
    items = split.items.height
    codes = catalogue_codes(chosen_events(split)["item_id"].unique(), split.items["item_id"])
    known = np.zeros(items, dtype=bool)
    known[codes[codes >= 0]] = True
    order = np.argsort(~known, kind="stable")
    token = np.zeros(items + 1, dtype=np.int64)
    token[order] = np.arange(1, items + 1)
    return token, int(known.sum())


def _network(library: Any, vectors: torch.Tensor, settings: UniSRecSettings) -> Any:
    return library.UniSRecNet(
        n_items=len(vectors) - 1,
        pretrained_embeddings=vectors,
        n_factors=settings.width,
        projection_hidden=settings.hidden,
        n_blocks=settings.blocks,
        n_heads=settings.heads,
        session_max_len=settings.max_history,
        dropout=settings.dropout,
        adaptor_dropout=settings.dropout,
    )


def _sequences(split: Split, token: np.ndarray, settings: UniSRecSettings) -> Any:
    """Batches of left-padded inputs and targets, as rectools builds them."""
    data = from_bench("rectools.fast_transformers.preprocessing", "UniSRec")
    events = chosen_events(split)
    items = token[catalogue_codes(events["item_id"], split.items["item_id"])]
    users = windows(events["user_id"], settings.max_history + 1).to_numpy()
    known = items > 0
    columns = (users[known], items[known], np.flatnonzero(known))
    x, y, *_ = data.build_sequences(
        *(torch.from_numpy(np.asarray(column, dtype=np.int64)) for column in columns),
        max_len=settings.max_history,
    )
    return torch.utils.data.DataLoader(
        data.SequenceBatchDataset(x, y), batch_size=settings.batch, shuffle=True
    )


def _train(
    library: Any,
    model: UniSRec,
    batches: Any,
    settings: UniSRecSettings,
    judge: Callable[[RetrievalModel], float],
    report: Callable[[int, float], None],
) -> dict[str, torch.Tensor]:
    """The best weights. rectools' own `fit` knows no valid part, so its parts are run here."""
    lightning = from_bench("pytorch_lightning", "UniSRec")
    recipe = library.UniSRecModel(model.vectors, lr=settings.learning_rate)
    groups = recipe._param_groups(model.network)
    module = library.UniSRecLightning(model.network, groups)
    trainer = judged_trainer(
        lightning,
        settings,
        lambda: judge(model),
        lambda: model.network,
        report,
        gradient_clip_val=recipe.grad_clip,
    )
    trainer.fit(module, batches)
    return best_weights(trainer)
