"""How each baseline is built: what it reads of a split once, and its settings after that.

A maker raises EvaluationError where its baseline can not run: a missing library, no text vectors,
no ids. What the settings of a grid have in common is computed here, before the first of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np

from m6rec.data.labels import LabelRule, default_rule
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
from m6rec.evaluation.baselines.tuning import by_ndcg
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


def make_popularity(split: Split, context: Context) -> Build:
    return lambda **settings: popularity(split, **settings)


def make_text(split: Split, context: Context) -> Build:
    vectors = need_vectors(context, "text similarity")
    return lambda **settings: text_similarity(split, vectors, **settings)


def make_item_knn(split: Split, context: Context) -> Build:
    counted = co_occurrence(split)
    return lambda **settings: item_knn(counted, **settings)


def make_ease(split: Split, context: Context) -> Build:
    counted = co_occurrence(split, "EASE")
    inverse_of = lru_cache(maxsize=1)(partial(ridge_inverse, counted))

    def build(ridge: float, **settings: Any) -> Any:
        return ease(counted, ridge, inverse_AA=inverse_of(ridge), **settings)

    return build


def make_l3ae(split: Split, context: Context) -> Build:
    vectors = need_vectors(context, "L3AE")
    return l3ae_builder(co_occurrence(split, "L3AE"), vectors)


def make_tale(split: Split, context: Context) -> Build:
    return tale_builder(walks(split))


def make_sasrec(split: Split, context: Context) -> Build:
    from_bench("rectools.models.nn.transformers.sasrec", "SASRec")
    judge, fixed = _training(split, context)

    def build(**settings: Any) -> Any:
        asked = SASRecSettings(**fixed, **settings)
        return fit_sasrec(split, asked, judge, _epochs(context))

    return build


def make_unisrec(split: Split, context: Context) -> Build:
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


def make_like_rate(split: Split, context: Context) -> Build:
    rule = rule_of(split, context.rule)
    return lambda **settings: like_rate(split, rule, **settings)


def make_item_rate(split: Split, context: Context) -> Build:
    need_ids(split, "the item's mean rate")
    return lambda **settings: item_rate(split, **settings)


def make_user_item_rate(split: Split, context: Context) -> Build:
    need_ids(split, "the user's and the item's rates")
    rule = rule_of(split, context.rule)
    return lambda **settings: user_item_rate(split, rule, **settings)


def make_din(split: Split, context: Context) -> Build:
    need_ids(split, "DIN")
    requests_of(split, "valid")
    from_bench("model_zoo.LongCTR.DIN.DIN", "DIN")
    return lambda **settings: fit_din(split, CTRSettings(seed=context.seed, **settings))


def make_final_mlp(split: Split, context: Context) -> Build:
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
