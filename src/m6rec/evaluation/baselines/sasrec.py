"""SASRec with softmax cross-entropy, trained by rectools and stopped early on valid NDCG@10.

The loss matters more than the network: with one sampled negative (the first paper's loss) SASRec
looks far worse than it is. Over all items, or over some hundred drawn ones (rectools draws them
evenly, so nothing has to be corrected for how often an item is drawn).
Sources: Kang & McAuley (ICDM 2018); Klenitskiy & Vasilev, Turning Dross Into Gold Loss (RecSys
2023); sampled softmax as in eSASRec (RecSys 2025, arXiv 2508.06450);
https://rectools.readthedocs.io.

Legend: B requests, H events of a history, I items of the catalogue, T items with training events,
P positions with a target.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch

from m6rec.data.requests import Requests
from m6rec.data.splits import Split
from m6rec.evaluation.baselines.extras import from_bench
from m6rec.evaluation.baselines.popularity import popularity_counts
from m6rec.evaluation.baselines.stopping import best_weights, judged_trainer
from m6rec.evaluation.catalogue import catalogue_codes, chosen_events, liked_codes
from m6rec.evaluation.retrieval import RetrievalModel


@dataclass(frozen=True)
class SASRecSettings:
    """What is tuned. `patience`: epochs without a better valid figure before training stops.

    max_seconds: no further epoch is begun after them. negatives: drawn for each event, the
    whole catalogue where None.
    """

    width: int = 128
    blocks: int = 2
    heads: int = 2
    dropout: float = 0.2
    learning_rate: float = 1e-3
    batch: int = 128
    max_history: int = 20
    max_epochs: int = 60
    patience: int = 5
    max_seconds: float = math.inf
    seed: int = 0
    negatives: int | None = None


@dataclass(frozen=True)
class SASRec:
    """A trained network behind the protocol of retrieval.

    token: int64 [I + 1], the network's id of each catalogue item, 0 (padding) for items without
    training events and, last, for no item. Such items get -inf: an id model can not rank them.
    popularity: float32 [I], for requests whose history holds no trained item.
    """

    name: str
    network: Any
    item_ids: list[str]
    token: np.ndarray
    popularity: np.ndarray
    max_history: int

    def score(self, requests: Requests) -> np.ndarray:
        codes_BH = liked_codes(requests, self.item_ids, self.max_history)
        tokens_BH = known_last(self.token[codes_BH])
        trained = self.token[:-1] > 0
        scores_BI = np.full((len(requests), len(self.item_ids)), -np.inf, dtype=np.float32)
        scores_BI[:, trained] = self._logits(tokens_BH)[:, self.token[:-1][trained]]
        cold = ~tokens_BH.any(axis=1)
        scores_BI[cold] = np.where(trained, self.popularity, -np.inf)
        return scores_BI

    def _logits(self, tokens_BH: np.ndarray) -> np.ndarray:
        self.network.eval()
        with torch.inference_mode():
            items = self.network.item_model.get_all_embeddings()
            batch = {"x": torch.from_numpy(tokens_BH)}
            state = self.network.encode_sessions(batch, items)[:, -1]
            logits: np.ndarray = (state @ items.T).numpy()
        return logits


def known_last(tokens_BH: np.ndarray) -> np.ndarray:
    """Moves the paddings (0) of each row to its front; the order of the others stays."""
    order = np.argsort(tokens_BH > 0, axis=1, kind="stable")
    return np.take_along_axis(tokens_BH, order, axis=1)


def fit_sasrec(
    split: Split,
    settings: SASRecSettings,
    judge: Callable[[RetrievalModel], float],
    report: Callable[[int, float], None] = lambda epoch, figure: None,
) -> SASRec:
    """Trains epoch by epoch and returns the weights of the epoch that `judge` put highest.

    Raises EvaluationError where the `bench` extra is missing.
    """
    library = from_bench("rectools.models.nn.transformers.sasrec", "SASRec")
    lightning = from_bench("pytorch_lightning", "SASRec")
    with quiet():
        torch.manual_seed(settings.seed)
        trainer = judged_trainer(
            lightning,
            settings,
            lambda: judge(_wrapped(model, split, settings)),
            lambda: model.torch_model,
            report,
        )
        model = _rectools_model(library, settings, trainer)
        model.fit(_rectools_data(split, settings.max_history + 1))
        model.torch_model.load_state_dict(best_weights(model.fit_trainer))
    return _wrapped(model, split, settings)


def _rectools_model(library: Any, settings: SASRecSettings, trainer: Any) -> Any:
    item_net = from_bench("rectools.models.nn.item_net", "SASRec")
    return library.SASRecModel(
        n_blocks=settings.blocks,
        n_heads=settings.heads,
        n_factors=settings.width,
        dropout_rate=settings.dropout,
        session_max_len=settings.max_history,
        lr=settings.learning_rate,
        batch_size=settings.batch,
        **_loss(settings),
        item_net_block_types=(item_net.IdEmbeddingsItemNet,),
        lightning_module_type=real_positions(),
        get_trainer_func=lambda: trainer,
        recommend_torch_device="cpu",
    )


def real_positions() -> Any:
    """rectools' training step with the same loss, for a fraction of the work.

    It leaves out the positions that are padding, which count for nothing, and takes the scores of
    the drawn items from one product with all items, where rectools gathers a vector for each of
    hundreds of items at each position.
    """
    library = from_bench("rectools.models.nn.transformers.lightning", "SASRec")

    class RealPositions(library.TransformerLightningModule):  # type: ignore[misc, name-defined]
        def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
            real_BH = batch["y"] > 0
            items_TD = self.torch_model.item_model.get_all_embeddings()
            states_PD = self.torch_model.encode_sessions(batch, items_TD)[real_BH]
            logits, target_P = states_PD @ items_TD.T, batch["y"][real_BH]
            if "negatives" in batch:
                asked = torch.cat([target_P[:, None], batch["negatives"][real_BH]], dim=1)
                logits, target_P = logits.gather(1, asked), torch.zeros_like(target_P)
            return torch.nn.functional.cross_entropy(logits, target_P)

    return RealPositions


def _loss(settings: SASRecSettings) -> dict[str, Any]:
    if settings.negatives is None:
        return {"loss": "softmax"}
    return {"loss": "sampled_softmax", "n_negatives": settings.negatives}


def _rectools_data(split: Split, window: int) -> Any:
    """The training events as rectools reads them; the row number stands in for the time."""
    pandas = from_bench("pandas", "SASRec")
    dataset = from_bench("rectools.dataset", "SASRec")
    events = chosen_events(split)
    frame = pandas.DataFrame(
        {
            "user_id": windows(events["user_id"], window).to_list(),
            "item_id": events["item_id"].to_list(),
            "weight": 1.0,
            "datetime": pandas.to_datetime(np.arange(events.height), unit="s"),
        }
    )
    return dataset.Dataset.construct(frame)


def windows(users: pl.Series, size: int) -> pl.Series:
    """Cuts each user's events, counted from the newest, into sequences of `size`; int [E].

    rectools reads the newest events of a user alone, so a long past would be lost to training.
    """
    newer = pl.int_range(pl.len(), dtype=pl.Int64).reverse().over("user")
    named = pl.DataFrame({"user": users}).select(pl.struct("user", window=newer // size))
    return named.to_series().rank("dense").cast(pl.Int64)


def usual_length(split: Split) -> int:
    """A session length that holds the training events of four in five users, 10 to 50.

    Padding costs as much as events do, so a length that few users reach is mostly wasted.
    """
    per_user = chosen_events(split).group_by("user_id").len()["len"]
    return int(np.clip(np.quantile(per_user.to_numpy(), 0.8), 10, 50)) if len(per_user) else 10


def _wrapped(model: Any, split: Split, settings: SASRecSettings) -> SASRec:
    item_ids = split.items["item_id"].to_list()
    known = model.data_preparator.get_known_item_ids()
    token = np.zeros(len(item_ids) + 1, dtype=np.int64)
    codes = catalogue_codes(pl.Series(known.tolist(), dtype=pl.String), split.items["item_id"])
    token[codes] = model.data_preparator.get_known_items_sorted_internal_ids()
    return SASRec(
        name="SASRec" if settings.negatives is None else "SASRec, sampled softmax",
        network=model.torch_model,
        item_ids=item_ids,
        token=token,
        popularity=popularity_counts(split),
        max_history=settings.max_history,
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Lightning tells about every epoch that it starts; errors still come through."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
