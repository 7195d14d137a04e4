"""Who agrees with whom: what people of the user's taste say of an item, counted, not trained.

Every judgement has a worth. What it says beyond the means of its user and its item is its surprise,
and agreement adds up products of surprises:

    agreement_j = SIZE / (s³ √(n_j + CALM)) · Σ_u r_uj Σ_i r_ui r_i / √(n_i + CALM)

over other people u and the items i that the user judged; r_i is the user's surprise, s the standard
deviation of all worths, n how many people are read. It is item-based collaborative filtering with
shrinkage (Sarwar et al., WWW 2001; Bell and Koren, ICDM 2007), summed over people first, so that no
pair of items is ever stored: an event adds one pair of a user and an item.

Legend: E events, P pairs of a user and an item, M pairs read, H items judged, N candidates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from m6rec.text.judgements import NONE, PSEUDO_JUDGEMENTS, Judged, Judgements, leaning
from m6rec.text.past import YesNo
from m6rec.text.tally import Sums

CALM = 25.0
"""So many people have to be read of an item until its sums weigh half as much as they could."""
SIZE = 5.0
"""Brings agreement to the size of log-odds."""
STEP = 2.0**-12
"""Worths are whole multiples of it, so that sums are exact."""
DECIMALS = 9
"""People are summed in the order they came in, which moves the last digits; these stay."""


def worths(events: pl.DataFrame, rule: YesNo, added: Sums) -> np.ndarray:
    """What every event says: float64 [E], 0 where nothing is judged.

    By kinds, 1 for a yes. By value, how far it lies from the threshold, in -1..1, so that five
    stars say more than four.
    """
    if rule.event is None or rule.threshold is None:
        return added.positive
    value = events["value"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return np.where(added.judged > 0, _share(np.nan_to_num(value), rule.threshold), 0.0)


def worth(value: float | None, judged: bool, positive: bool, rule: YesNo) -> float:
    """`worths` for one event."""
    if rule.event is None or rule.threshold is None:
        return float(positive)
    return float(_share(np.asarray(value or 0.0), rule.threshold)) if judged else 0.0


def _share(value: np.ndarray, threshold: float) -> np.ndarray:
    share = np.clip((value - threshold) / max(abs(threshold), 1.0), -1.0, 1.0)
    return np.asarray(np.round(share / STEP) * STEP)


@dataclass(frozen=True)
class Agreement:
    """Of N candidates, float64 [N] each, nan where nobody judged or everybody says the same.

    score: what people of the user's taste say. item, user: how far the mean of the item, and of the
    user beside what the items they judged get, lie above everybody's, in standard deviations.
    """

    score: np.ndarray
    item: np.ndarray
    user: np.ndarray

    @classmethod
    def unknown(cls, count: int) -> Agreement:
        """Nothing is known."""
        return cls(*(np.full(count, np.nan) for _ in range(3)))

    def put(self, part: slice, other: Agreement) -> None:
        """Sets those of some candidates."""
        self.score[part], self.item[part], self.user[part] = other.score, other.item, other.user


@dataclass(frozen=True)
class OwnJudgements:
    """What the histories of requests say by themselves, of users whom the log does not know.

    item_ids, added (`past.read`), worth: of the pool's events; codes: of ids at the moment of a
    request, of unknown items too (-1 for no id); start, stop: of each request.
    """

    item_ids: list[str | None]
    codes: Callable[[list[str | None]], np.ndarray]
    added: Sums
    worth: np.ndarray
    start: np.ndarray
    stop: np.ndarray

    @classmethod
    def read(
        cls,
        pool: pl.DataFrame,
        rows: pl.DataFrame,
        added: Sums,
        rule: YesNo,
        codes: Callable[[list[str | None]], np.ndarray],
    ) -> OwnJudgements:
        """pool, rows: as in `Requests`; added: `past.read` of the pool."""
        start, stop = rows["start"].to_numpy(), rows["stop"].to_numpy()
        worth_E = worths(pool, rule, added)
        return cls(pool["item_id"].to_list(), codes, added, worth_E, start, stop)

    def of(self, request: int) -> Judged:
        """What one history says."""
        part = slice(self.start[request], self.stop[request])
        item = self.codes(self.item_ids[part])
        added = self.added[part]
        return Judged.of_history(item, added.judged, self.worth[part], added.acted > 0)


def agreement(judgements: Judgements, judged: Judged, user: int, item_N: np.ndarray) -> Agreement:
    """judged: what the asking user judged; user: their code, -1 where the log does not know them;
    item_N: codes of the candidates, -1 unknown."""
    count, worth, squares = judgements.everybody
    mean = worth / count if count else 0.0
    variance = squares / count - mean**2 if count else 0.0
    if variance <= 0:
        return Agreement.unknown(len(item_N))
    spread = np.sqrt(variance)
    own_H = judged.worth - mean - _lean(judgements.item_sums_I3, judged.item, mean)
    lean = own_H.sum() / (len(own_H) + PSEUDO_JUDGEMENTS)
    newest = judged.newest()
    score_N = np.zeros(len(item_N))
    if len(newest):
        said_N = _said(judgements, mean, judged.item[newest], own_H[newest] - lean, user, item_N)
        score_N = SIZE / spread**3 * said_N
    item_lean_N = _lean(judgements.item_sums_I3, item_N, mean)
    numbers = (score_N, item_lean_N / spread, np.full(len(item_N), lean / spread))
    return Agreement(*(np.round(number, DECIMALS) for number in numbers))


def _lean(sums_K3: np.ndarray, code_N: np.ndarray, mean: float) -> np.ndarray:
    """How far the mean of each code lies above everybody's, drawn to it: float64 [N]."""
    inside = (code_N >= 0) & (code_N < len(sums_K3))
    judged_N, worth_N, _ = (sums_K3[np.where(inside, code_N, 0)] * inside[:, None]).T
    above_N, share_N = leaning(judged_N, worth_N)
    return above_N - share_N * mean


def _said(
    held: Judgements,
    mean: float,
    item_H: np.ndarray,
    own_H: np.ndarray,
    user: int,
    item_N: np.ndarray,
) -> np.ndarray:
    """Sums over people of how far they agree with the user, own_H, times what they say: [N]."""
    agree_U = held.scratch()
    user_M, which_M, surprise_M = _surprises(held, mean, item_H)
    np.add.at(agree_U, user_M, surprise_M * own_H[which_M])
    if user >= 0:
        agree_U[user : user + 1] = 0.0
    of_candidate_M, which_N_M, said_M = _surprises(held, mean, item_N)
    said_N = np.bincount(which_N_M, said_M * agree_U[of_candidate_M], len(item_N))
    agree_U[user_M] = 0.0
    return said_N


def _surprises(
    held: Judgements, mean: float, item_N: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """People of each item one after the other: user [M], which item [M], and the surprise over the
    square root of how many there are."""
    pairs = [held.readers(code) for code in item_N.tolist()]
    many_N = np.array([len(some) for some in pairs], dtype=np.int64)
    pair_M = np.concatenate([NONE, *pairs])
    which_M, user_M = np.repeat(np.arange(len(pairs)), many_N), held.user_P[pair_M]
    surprise_M = held.mean_P[pair_M] - held.above_U[user_M] + mean * held.share_U[user_M]
    surprise_M -= (mean + _lean(held.item_sums_I3, item_N, mean))[which_M]
    surprise_M *= (1 / np.sqrt(many_N + CALM))[which_M]
    return user_M, which_M, surprise_M
