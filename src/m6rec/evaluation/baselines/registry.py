"""The baselines by task: what each is, and the grid it is tuned over.

The first choice of a grid is the default, used where nothing can be tuned. Grids are ordered: where
the time budget ends early, what usually matters most has been tried.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from m6rec.data.options import Task
from m6rec.data.splits import Split
from m6rec.evaluation.baselines import makers
from m6rec.evaluation.baselines.makers import Build, Context
from m6rec.evaluation.baselines.tuning import Choices, Settings, Sweep, grid
from m6rec.evaluation.result import EvaluationError

SAMPLED: Settings = {"negatives": 256, "blocks": 1, "heads": 1, "patience": 10}
"""SASRec over drawn items; it learns more evenly and longer than over all, hence the patience."""


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


BASELINES: tuple[Baseline, ...] = (
    Baseline("popularity", "retrieve", "what sells most", grid(), makers.make_popularity),
    Baseline(
        "recent-popularity",
        "retrieve",
        "what sold most lately",
        grid(half_life_days=(30.0, 90.0, 7.0, 2.0, 365.0)),
        makers.make_popularity,
    ),
    Baseline(
        "text-last",
        "retrieve",
        "what reads like the last item",
        grid(decay=(0.0,)),
        makers.make_text,
    ),
    Baseline(
        "text-mean",
        "retrieve",
        "what reads like the recent items",
        grid(decay=(0.7, 0.5, 0.3, 0.9, 1.0)),
        makers.make_text,
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
        makers.make_item_knn,
    ),
    Baseline(
        "ease",
        "retrieve",
        "a linear autoencoder over items",
        grid(
            ridge=(500.0, 2000.0, 8000.0, 100.0), itself=(False, True), decay=(0.8, 0.4, 0.2, 1.0)
        ),
        makers.make_ease,
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
        makers.make_l3ae,
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
        makers.make_tale,
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
        makers.make_sasrec,
    ),
    Baseline(
        "sasrec-sampled",
        "retrieve",
        "self-attention over item ids, one block, softmax over 256 drawn items",
        [
            {**SAMPLED, "width": 64, "dropout": 0.2},
            {**SAMPLED, "width": 128, "dropout": 0.2},
            {**SAMPLED, "width": 64, "dropout": 0.5},
        ],
        makers.make_sasrec,
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
        makers.make_unisrec,
    ),
    Baseline(
        "like-rate",
        "rank",
        "how often this user says yes",
        grid(strength=(1.0, 0.3, 3.0, 10.0)),
        makers.make_like_rate,
        tunes_on_train=True,
    ),
    Baseline(
        "item-rate",
        "rank",
        "how often this item gets a yes",
        grid(strength=(5.0, 1.0, 20.0)),
        makers.make_item_rate,
    ),
    Baseline(
        "user-item-rate",
        "rank",
        "both rates in log-odds",
        grid(user_strength=(5.0, 1.0, 20.0), item_strength=(5.0, 1.0, 20.0)),
        makers.make_user_item_rate,
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
        makers.make_din,
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
        makers.make_final_mlp,
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
