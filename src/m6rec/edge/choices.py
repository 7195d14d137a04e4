"""Learning from a person's choices in a few steps that can not diverge.

Each choice is a softmax over what was on offer, its logits linear in the parameters θ that belong
to the person; θ = 0 is what was shipped:

    loss(θ) = Σ_t cross entropy(target_t, softmax(base_t + features_t·θ)) + pull/2·|θ|²

It is strongly convex. The covariance of the features under any softmax is at most the greatest
squared distance from their mean, which bounds the curvature; a step of one over that bound lowers
the loss each time (Nesterov, Introductory Lectures on Convex Optimization, theorem 2.1.14). The
gradient is in closed form. edge-web/src/choices.ts is the same arithmetic in TypeScript.

Legend: T choices, N things on offer, F parameters, K projection width, C classes, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Choice:
    """What was on offer and what became of it, all float64.

    features [N, F]; base [N]: the shipped logits; target [N]: probabilities.
    """

    features_NF: np.ndarray
    base_N: np.ndarray
    target_N: np.ndarray


def learned(choices: Sequence[Choice], width: int, pull: float, steps: int) -> np.ndarray:
    """θ after so many steps of gradient descent from 0: float64 [F]; zeros for no choices."""
    theta_F = np.zeros(width)
    step = 1 / (pull + sum(curvature(choice) for choice in choices))
    for _ in range(steps if choices else 0):
        theta_F = theta_F - step * gradient(choices, theta_F, pull)
    return theta_F


def gradient(choices: Sequence[Choice], theta_F: np.ndarray, pull: float) -> np.ndarray:
    """Of the loss: float64 [F]."""
    total_F = pull * theta_F
    for choice in choices:
        surprise_N = softmax(choice.base_N + choice.features_NF @ theta_F) - choice.target_N
        total_F = total_F + surprise_N @ choice.features_NF
    return total_F


def loss(choices: Sequence[Choice], theta_F: np.ndarray, pull: float) -> float:
    """What `learned` lowers, less the constant entropy of the targets: in nats."""
    total = pull / 2 * float(theta_F @ theta_F)
    for choice in choices:
        logits_N = choice.base_N + choice.features_NF @ theta_F
        most = logits_N.max()
        total += float(most + np.log(np.exp(logits_N - most).sum()) - choice.target_N @ logits_N)
    return total


def curvature(choice: Choice) -> float:
    """Greatest squared distance of a feature row from their mean."""
    apart_NF = choice.features_NF - choice.features_NF.mean(0)
    return float((apart_NF**2).sum(1).max())


def softmax(logits_N: np.ndarray) -> np.ndarray:
    """Probabilities [N]."""
    weight_N = np.exp(logits_N - logits_N.max())
    out: np.ndarray = weight_N / weight_N.sum()
    return out


def retrieval_choice(
    vectors_NK: np.ndarray, prior_N: np.ndarray, user_K: np.ndarray, scale: float, liked: bool
) -> Choice:
    """The first of N items was liked, or hidden, while the others were there too.

    θ = [b, offset K]: the personal vector is (1 + b)·user + offset (`bent`). The loss is that of
    retrieval (paper section 2), scale = 1 / temperature. A hidden item's target is what the shipped
    model expected without it: hiding says nothing about the others, and stays convex.
    """
    cosine_N = vectors_NK @ user_K
    base_N = scale * (cosine_N + prior_N)
    target_N = np.zeros(len(base_N))
    if liked:
        target_N[0] = 1
    else:
        target_N[1:] = softmax(base_N[1:])
    features_NF = scale * np.concatenate([cosine_N[:, None], vectors_NK], 1)
    return Choice(features_NF, base_N, target_N)


def bent(user_K: np.ndarray, theta_F: np.ndarray) -> np.ndarray:
    """The personal vector of a user vector: float64 [K]."""
    out: np.ndarray = (1 + theta_F[0]) * user_K + theta_F[1:]
    return out


def option_choice(
    state_D: np.ndarray, options_CD: np.ndarray, label: int, evidence_C: np.ndarray
) -> Choice:
    """A candidate was answered with a class; θ [C·D] is what is added to the soft options.

    state: at [EOS]. Logits are options·state/√D + evidence, as in `option_logits` (paper section
    4), so pull/2·|θ|² is the proximal term that holds the options near the shipped ones.
    """
    C, D = options_CD.shape
    near_D = state_D / np.sqrt(D)
    features_NF = np.kron(np.eye(C), near_D)
    return Choice(features_NF, options_CD @ near_D + evidence_C, np.eye(C)[label])


def tuned_options(options_CD: np.ndarray, theta_F: np.ndarray) -> np.ndarray:
    """The options with what was learned: float64 [C, D]."""
    out: np.ndarray = options_CD + theta_F.reshape(options_CD.shape)
    return out
