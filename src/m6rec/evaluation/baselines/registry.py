"""The baselines by task: what each is, what it needs, and the grid it is tuned over.

The first choice of a grid is the default, used where nothing can be tuned. Grids are ordered: where
the time budget ends early, what usually matters most has been tried.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np

from m6rec.data.labels import LabelRule, default_rule
from m6rec.data.options import Task
from m6rec.data.splits import Split
from m6rec.evaluation.baselines.ctr import CTRSettings
from m6rec.evaluation.baselines.din import fit_din
from m6rec.evaluation.baselines.extras import from_bench
from m6rec.evaluation.baselines.final_mlp import fit_final_mlp
from m6rec.evaluation.baselines.l3ae import l3ae_builder
from m6rec.evaluation.baselines.like_rate import item_rate, like_rate, user_item_rate
from m6rec.evaluation.baselines.neighbours import co_occurrence, ease, item_knn, ridge_inverse
from m6rec.evaluation.baselines.popularity import popularity
from m6rec.evaluation.baselines.sasrec import SASRecSettings, fit_sasrec, usual_length
from m6rec.evaluation.baselines.tale import tale_builder, walks
from m6rec.evaluation.baselines.text_similarity import text_similarity
from m6rec.evaluation.baselines.tuning import Choices, Sweep, by_ndcg, grid
from m6rec.evaluation.baselines.unisrec import UniSRecSettings, fit_unisrec
from m6rec.evaluation.result import EvaluationError
from m6rec.evaluation.retrieval import requests_of

Build = Callable[..., Any]


@dataclass(frozen=True)
class Context:
    """What a baseline may need beside the split.

    vectors: float [I, D] text vectors in catalogue order. rule: what a yes is in a history.
    report: takes words about the training. budget: seconds that one training may take.
    """

    seed: int
    budget: float
    vectors: np.ndarray | None
    rule: LabelRule | None
    report: Callable[[str], None]


@dataclass(frozen=True)
class Baseline:
    """maker: split, context -> a function of settings that builds the model.

    choices: the grid or sweep. tunes_on_train: learns so little from the labels that it may be
    tuned on the train part where a protocol has no valid part.
    """

    name: str
    task: Task
    what: str
    choices: Choices
    maker: Callable[[Split, Context], Build]
    tunes_on_train: bool = False


def _popularity(split: Split, context: Context) -> Build:
    return lambda **settings: popularity(split, **settings)


def _text(split: Split, context: Context) -> Build:
    vectors = need_vectors(context, "text similarity")
    return lambda **settings: text_similarity(split, vectors, **settings)


def _item_knn(split: Split, context: Context) -> Build:
    counted = co_occurrence(split)
    return lambda **settings: item_knn(counted, **settings)


def _ease(split: Split, context: Context) -> Build:
    counted = co_occurrence(split, "EASE")
    inverse_of = lru_cache(maxsize=1)(partial(ridge_inverse, counted))

    def build(ridge: float, **settings: Any) -> Any:
        return ease(counted, ridge, inverse_AA=inverse_of(ridge), **settings)

    return build


def _l3ae(split: Split, context: Context) -> Build:
    vectors = need_vectors(context, "L3AE")
    return l3ae_builder(co_occurrence(split, "L3AE"), vectors)


def _tale(split: Split, context: Context) -> Build:
    return tale_builder(walks(split))


def _sasrec(split: Split, context: Context) -> Build:
    from_bench("rectools.models.nn.transformers.sasrec", "SASRec")
    judge, fixed = _training(split, context)

    def build(**settings: Any) -> Any:
        asked = SASRecSettings(**fixed, **settings)
        return fit_sasrec(split, asked, judge, _epochs(context))

    return build


def _unisrec(split: Split, context: Context) -> Build:
    from_bench("rectools.fast_transformers", "UniSRec")
    vectors = need_vectors(context, "UniSRec")
    judge, fixed = _training(split, context)

    def build(**settings: Any) -> Any:
        asked = UniSRecSettings(**fixed, **settings)
        return fit_unisrec(split, vectors, asked, judge, _epochs(context))

    return build


def _training(split: Split, context: Context) -> tuple[Callable[[Any], float], dict[str, Any]]:
    """How an epoch is judged, and what is the same for all settings."""
    fixed = {
        "seed": context.seed,
        "max_seconds": context.budget,
        "max_history": usual_length(split),
    }
    return by_ndcg(split, most=2000, seed=context.seed), fixed


def _epochs(context: Context) -> Callable[[int, float], None]:
    return lambda number, figure: context.report(
        f"epoch {number + 1}, NDCG@10 on valid {figure:.4f}"
    )


def _like_rate(split: Split, context: Context) -> Build:
    rule = rule_of(split, context.rule)
    return lambda **settings: like_rate(split, rule, **settings)


def _item_rate(split: Split, context: Context) -> Build:
    need_ids(split, "the item's mean rate")
    return lambda **settings: item_rate(split, **settings)


def _user_item_rate(split: Split, context: Context) -> Build:
    need_ids(split, "the user's and the item's rates")
    rule = rule_of(split, context.rule)
    return lambda **settings: user_item_rate(split, rule, **settings)


def _din(split: Split, context: Context) -> Build:
    need_ids(split, "DIN")
    requests_of(split, "valid")
    from_bench("model_zoo.LongCTR.DIN.DIN", "DIN")
    return lambda **settings: fit_din(split, CTRSettings(seed=context.seed, **settings))


def _final_mlp(split: Split, context: Context) -> Build:
    need_ids(split, "FinalMLP")
    requests_of(split, "valid")
    from_bench("model_zoo.LongCTR.FinalMLP.FinalMLP", "FinalMLP")
    return lambda **settings: fit_final_mlp(split, CTRSettings(seed=context.seed, **settings))


def need_vectors(context: Context, who: str) -> np.ndarray:
    """The items' text vectors, float [I, D]. Raises EvaluationError where there are none."""
    if context.vectors is None:
        raise EvaluationError(
            f"{who} needs text vectors of the items (vectors=, float [items, width] in "
            "catalogue order)"
        )
    return context.vectors


def need_ids(split: Split, who: str) -> None:
    """Raises EvaluationError where no candidate of the train part is a catalogue item."""
    ids = split.train.rows["item_ids"].explode()
    if ids.null_count() == len(ids):
        raise EvaluationError(
            f"{who} knows items by their ids alone, and the candidates of "
            f"{split.card.dataset!r} are free text; compare with the user's like-rate"
        )


def rule_of(split: Split, rule: LabelRule | None) -> LabelRule:
    """The rule the split was labelled by, as its card says.

    Raises EvaluationError where `rule`, or the default one, is another.
    """
    labelled = [words for words in split.card.filters if words.startswith("labels: ")]
    if rule is None:
        rule = default_rule(split.train_events) if split.train_events.height else LabelRule()
    if labelled and not labelled[0].startswith(f"labels: {rule}"):
        raise EvaluationError(
            f"the split of {split.card.dataset!r} has {labelled[0]!r}, not {str(rule)!r}; pass the "
            "LabelRule that the split was made with"
        )
    return rule


BASELINES: tuple[Baseline, ...] = (
    Baseline("popularity", "retrieve", "what sells most", grid(), _popularity),
    Baseline(
        "recent-popularity",
        "retrieve",
        "what sold most lately",
        grid(half_life_days=(30.0, 90.0, 7.0, 2.0, 365.0)),
        _popularity,
    ),
    Baseline(
        "text-last",
        "retrieve",
        "what reads like the last item",
        grid(decay=(0.0,)),
        _text,
    ),
    Baseline(
        "text-mean",
        "retrieve",
        "what reads like the recent items",
        grid(decay=(0.7, 0.5, 0.3, 0.9, 1.0)),
        _text,
    ),
    Baseline(
        "item-knn",
        "retrieve",
        "what the same people bought",
        grid(
            shrink=(10.0, 50.0),
            neighbours=(100, 300),
            itself=(False, True),
            decay=(0.8, 0.4, 0.2, 1.0),
        ),
        _item_knn,
    ),
    Baseline(
        "ease",
        "retrieve",
        "a linear autoencoder over items",
        grid(
            ridge=(500.0, 2000.0, 8000.0, 100.0), itself=(False, True), decay=(0.8, 0.4, 0.2, 1.0)
        ),
        _ease,
    ),
    Baseline(
        "l3ae",
        "retrieve",
        "a linear autoencoder drawn towards the texts",
        Sweep(
            {
                "ridge": (500.0, 100.0, 2000.0, 8000.0),
                "itself": (False, True),
                "decay": (0.8, 0.4, 0.2, 1.0),
                "text_weight": (150.0, 50.0, 500.0, 1500.0, 10.0),
                "text_ridge": (5.0, 1.0, 20.0),
            }
        ),
        _l3ae,
    ),
    Baseline(
        "tale",
        "retrieve",
        "the next item by ridge regression, weighed by time",
        Sweep(
            {
                "ridge": (100.0, 20.0, 500.0, 2000.0),
                "decay": (0.6, 0.8, 0.4, 0.2, 1.0),
                "span": (2.0, 0.5, 8.0, 30.0),
                "floor": (0.0, 0.1, 0.4),
                "trend": (0.0, -0.2, -0.5),
                "window": (180.0, 30.0),
            }
        ),
        _tale,
    ),
    Baseline(
        "sasrec",
        "retrieve",
        "self-attention over item ids, full cross-entropy",
        [
            {"dropout": 0.2},
            {"dropout": 0.5},
            {"dropout": 0.5, "learning_rate": 5e-4},
            {"dropout": 0.5, "width": 64},
        ],
        _sasrec,
    ),
    Baseline(
        "sasrec-sampled",
        "retrieve",
        "self-attention over item ids, one block, softmax over 256 drawn items",
        [
            {"negatives": 256, "width": 64, "blocks": 1, "heads": 1, "dropout": 0.2},
            {"negatives": 256, "width": 128, "blocks": 1, "heads": 1, "dropout": 0.2},
            {"negatives": 256, "width": 64, "blocks": 1, "heads": 1, "dropout": 0.5},
        ],
        _sasrec,
    ),
    Baseline(
        "unisrec",
        "retrieve",
        "self-attention over text vectors, full cross-entropy",
        [
            {"learning_rate": 3e-4},
            {"learning_rate": 1e-3},
            {"learning_rate": 3e-4, "blocks": 1},
            {"learning_rate": 3e-4, "dropout": 0.4},
        ],
        _unisrec,
    ),
    Baseline(
        "like-rate",
        "rank",
        "how often this user says yes",
        grid(strength=(1.0, 0.3, 3.0, 10.0)),
        _like_rate,
        tunes_on_train=True,
    ),
    Baseline(
        "item-rate",
        "rank",
        "how often this item gets a yes",
        grid(strength=(5.0, 1.0, 20.0)),
        _item_rate,
    ),
    Baseline(
        "user-item-rate",
        "rank",
        "both rates in log-odds",
        grid(user_strength=(5.0, 1.0, 20.0), item_strength=(5.0, 1.0, 20.0)),
        _user_item_rate,
    ),
    Baseline(
        "din",
        "rank",
        "attention over the rated history, user and item ids",
        [
            {"l2": 1e-4},
            {"l2": 1e-4, "user_ids": False},
            {"l2": 1e-3, "user_ids": False},
            {"l2": 1e-3, "user_ids": False, "dropout": 0.5},
            {"l2": 1e-3, "user_ids": False, "learning_rate": 5e-4},
            {"l2": 1e-3},
            {"l2": 1e-3, "user_ids": False, "width": 32},
            {"l2": 1e-5},
        ],
        _din,
    ),
    Baseline(
        "final-mlp",
        "rank",
        "two networks over the averaged rated history, user and item ids",
        [
            {"l2": 1e-3, "user_ids": False},
            {"l2": 1e-4, "user_ids": False},
            {"l2": 1e-3, "user_ids": False, "dropout": 0.5},
            {"l2": 1e-2, "user_ids": False},
            {"l2": 1e-3},
            {"l2": 1e-3, "user_ids": False, "learning_rate": 5e-4},
            {"l2": 1e-3, "user_ids": False, "width": 32},
        ],
        _final_mlp,
    ),
)


def baselines_of(task: Task, names: Sequence[str] | None = None) -> list[Baseline]:
    """The baselines of a task: all of them, or those named, in the order of the names.

    Raises EvaluationError for a name that the task does not have.
    """
    known = {baseline.name: baseline for baseline in BASELINES if baseline.task == task}
    for name in names or ():
        if name not in known:
            raise EvaluationError(
                f"there is no baseline {name!r} for the task {task!r}; right is {', '.join(known)}"
            )
    return list(known.values()) if names is None else [known[name] for name in names]
