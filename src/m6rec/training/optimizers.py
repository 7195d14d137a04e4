"""What updates the network in pretraining: Muon for the layers' matrices, AdamW for the rest.

Muon turns the momentum of a matrix into the nearest orthogonal one, so that every direction of it
learns and not the strongest few alone (K. Jordan et al., 2024; with AdamW's rates and a weight
decay as in arXiv 2502.16982, "match_rms_adamw"). PyTorch's own:
https://docs.pytorch.org/docs/stable/generated/torch.optim.Muon.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer

from m6rec.training.recipe import PretrainRecipe

BETAS = (0.9, 0.98)


class Optimizers:
    """Optimizers of different parameters, as one."""

    def __init__(self, *parts: Optimizer) -> None:
        self.parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all, to set rates."""
        return [group for part in self.parts for group in part.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets all gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none)

    def step(self) -> None:
        """Updates all parameters."""
        for part in self.parts:
            part.step()

    def moments(self, parameter: nn.Parameter) -> Mapping[str, Tensor]:
        """What is remembered of a parameter's gradients."""
        kept: Mapping[str, Tensor] = self._of(parameter).state.get(parameter, {})
        return kept

    def remember(self, parameter: nn.Parameter, moments: dict[str, Tensor]) -> None:
        """Puts back what `moments` gave."""
        self._of(parameter).state[parameter] = moments

    def _of(self, parameter: nn.Parameter) -> Optimizer:
        for part in self.parts:
            if any(parameter is own for group in part.param_groups for own in group["params"]):
                return part
        raise KeyError("the parameter belongs to no optimizer")


def for_pretraining(parameters: Mapping[str, nn.Parameter], recipe: PretrainRecipe) -> Optimizers:
    """As the recipe says; weight decay for the layers' matrices only, not for embeddings."""
    matrices = [p for n, p in parameters.items() if p.ndim == 2 and "blocks." in n]
    chosen = {id(p) for p in matrices}
    others = [p for p in parameters.values() if id(p) not in chosen]
    kept: dict[str, Any] = {"params": others, "weight_decay": 0.0}
    if recipe.optimizer == "adamw":
        groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, kept]
        return Optimizers(AdamW(groups, lr=recipe.rate, betas=BETAS, fused=True))
    muon = Muon(
        matrices,
        lr=recipe.rate,
        weight_decay=recipe.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )
    return Optimizers(muon, AdamW([kept], lr=recipe.rate, betas=BETAS, fused=True))
