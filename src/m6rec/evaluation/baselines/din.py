"""DIN with ids, by FuxiCTR: the user's id, the item's id, and attention over the rated history.

Source: Zhou et al., Deep Interest Network (KDD 2018).
"""

from __future__ import annotations

from typing import Any

from m6rec.data.splits import Split
from m6rec.evaluation.baselines.ctr import CTRModel, CTRSettings, fit_ctr
from m6rec.evaluation.baselines.extras import from_bench


def fit_din(split: Split, settings: CTRSettings) -> CTRModel:
    """Raises EvaluationError where the `bench` extra is missing."""
    from_bench("fuxictr", "DIN")
    zoo = from_bench("model_zoo.LongCTR.DIN.DIN", "DIN")

    def make(features: Any, **usual: Any) -> Any:
        return zoo.DIN(
            features,
            dnn_hidden_units=list(settings.hidden),
            attention_hidden_units=[settings.hidden[-1]],
            net_dropout=settings.dropout,
            **usual,
        )

    return fit_ctr(split, settings, "DIN with ids", make)
