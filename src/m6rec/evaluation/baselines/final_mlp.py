"""FinalMLP with ids, by FuxiCTR: two plain networks over the same features, fused bilinearly.

The history is averaged, so what was liked and what was not would melt into one; an embedding of
item and grade together, beside those of each, keeps them apart.
Source: Mao et al., FinalMLP: An Enhanced Two-Stream MLP Model for CTR Prediction (AAAI 2023).
"""

from __future__ import annotations

from typing import Any

from m6rec.data.splits import Split
from m6rec.evaluation.baselines.ctr import CTRModel, CTRSettings, fit_ctr
from m6rec.evaluation.baselines.extras import from_bench


def fit_final_mlp(split: Split, settings: CTRSettings, heads: int = 4) -> CTRModel:
    """heads: of the bilinear fusion; they divide the last hidden width.

    Raises EvaluationError where the `bench` extra is missing.
    """
    from_bench("fuxictr", "FinalMLP")
    zoo = from_bench("model_zoo.LongCTR.FinalMLP.FinalMLP", "FinalMLP")
    hidden = list(settings.hidden)

    def make(features: Any, **usual: Any) -> Any:
        return zoo.FinalMLP(
            features,
            mlp1_hidden_units=hidden,
            mlp2_hidden_units=hidden,
            mlp1_dropout=settings.dropout,
            mlp2_dropout=settings.dropout,
            use_fs=False,  # its gates are made, but the released forward pass does not use them
            num_heads=heads,
            **usual,
        )

    return fit_ctr(split, settings, "FinalMLP with ids", make, joined=True)
