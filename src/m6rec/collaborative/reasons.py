"""Why an item is recommended: what each past item did for its score, exactly, and in words.

The score is a sum over the history (score.py), so the part of a past item i is what it adds:

    x_i · R_ij  (counted)  +  x_i · μ · prior_ij  (words),      x_i = w_i / (a_i + λ)

Towards itself w_i · rate_i was counted. Entries of one item are one part. A part below 0 (a no, or
words that point away) carries nothing and is named apart; an item that the user said no to is never
given as a reason.

Legend: N entries of histories, P past items, C candidates of a request, D width of vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from m6rec.collaborative.score import CollaborativeScore
from m6rec.collaborative.sequences import Histories

Ground = Literal["counts", "words"]
OFTEN = 2.0
"""From so many counted pairs on something was chosen often: one choice is nobody's habit."""
NEWEST = 20
"""Entries of a history that are compared by words, where nothing carried an item."""
Name = tuple[str, str | None]
"""The title of a past item, and its item_id where the catalogue has it."""


@dataclass(frozen=True)
class Reason:
    """text: in words. because: the item of the history that it is about. share: its part of what
    carried the item, 0 to 1, where that is a sum. written: by the model."""

    text: str
    because: str | None = None
    share: float | None = None
    written: bool = False


POPULAR = Reason("Many people chose this.")


@dataclass(frozen=True)
class Carrier:
    """What a past item adds to the score of a candidate.

    entry: the newest entry of the histories that is about it. share: its part over the sum of all
    parts of the same sign. chosen: R_ij, how often the candidate was chosen after it. again: it is
    the candidate itself. liked: the user said no to it nowhere.
    """

    entry: int
    counted: float
    words: float
    share: float
    chosen: float
    again: bool
    liked: bool


@dataclass(frozen=True)
class Carried:
    """The parts of one candidate's score. carriers: those above 0; against: those below 0; the
    largest come first. ordered: whether the log tells what came first."""

    carriers: tuple[Carrier, ...] = ()
    against: tuple[Carrier, ...] = ()
    ordered: bool = True

    @property
    def score(self) -> float:
        """The sum of all parts."""
        return sum(one.counted + one.words for one in (*self.carriers, *self.against))


def ground_of(carriers: Sequence[Carrier]) -> Ground:
    """Which of both carries more."""
    more = sum(one.counted - one.words for one in carriers)
    return "counts" if more > 0 else "words"


def carriers(
    score: CollaborativeScore, histories: Histories, items: Sequence[np.ndarray]
) -> list[list[Carried]]:
    """What carried each candidate. items: columns of the catalogue by request, int [C] each."""
    x_N, again_N = score.weights(histories), score.again(histories)
    g_ND, own_N = score.vectors(histories)
    out = []
    for request, column_C in enumerate(items):
        entry = np.flatnonzero(histories.request == request)
        code, weight, x = histories.code[entry], histories.weight[entry], x_N[entry, None]
        chosen_NC = np.array([_chosen(score, one, column_C) for one in code.tolist()])
        chosen_NC = chosen_NC.reshape(len(entry), len(column_C))
        words_NC = (g_ND[entry] @ score.prior.m_DD) @ score.prior.keys(score.g_ID[column_C]).T
        again_NC = code[:, None] == column_C[None]
        words_NC[again_NC & (own_N[entry] & (weight > 0))[:, None]] = 0  # as the score has it
        counted_NC = np.where(weight > 0, x[:, 0], 0.0)[:, None] * chosen_NC
        counted_NC = np.where(again_NC, again_N[entry, None], counted_NC)
        past = _past_items(code, [histories.text[n] for n in entry.tolist()])
        out.append(
            _carried(
                entry[[rows[-1] for rows in past]],
                _summed(counted_NC, past),
                _summed(score.settings.prior * x * words_NC, past),
                chosen_NC[[rows[-1] for rows in past]],
                again_NC[[rows[-1] for rows in past]],
                [bool((weight[rows] > 0).all()) for rows in past],
                score.ordered,
            )
        )
    return out


def _chosen(score: CollaborativeScore, code: int, column_C: np.ndarray) -> np.ndarray:
    """R of one item towards some: float64 [C]."""
    if not 0 <= code < len(score.transitions.norm_I):
        return np.zeros(len(column_C))
    later, weight = score.transitions.row(code)
    return np.asarray((column_C[:, None] == later[None]) @ weight.astype(np.float64))


def _past_items(code_N: np.ndarray, text_N: Sequence[str | None]) -> list[list[int]]:
    """The entries of each past item; those of unknown number go by their text."""
    rows: dict[object, list[int]] = {}
    for n, (code, text) in enumerate(zip(code_N.tolist(), text_N, strict=True)):
        rows.setdefault(code if code >= 0 else text, []).append(n)
    return list(rows.values())


def _summed(part_NC: np.ndarray, past: Sequence[list[int]]) -> np.ndarray:
    found = [part_NC[rows].sum(0) for rows in past]
    return np.array(found, dtype=np.float64).reshape(len(past), part_NC.shape[1])


def _carried(
    entry_P: np.ndarray,
    counted_PC: np.ndarray,
    words_PC: np.ndarray,
    chosen_PC: np.ndarray,
    again_PC: np.ndarray,
    liked_P: Sequence[bool],
    ordered: bool,
) -> list[Carried]:
    part_PC = counted_PC + words_PC
    above_C, below_C = np.maximum(part_PC, 0).sum(0), np.minimum(part_PC, 0).sum(0)
    total_PC = np.where(part_PC > 0, above_C, below_C)
    share_PC = part_PC / np.where(part_PC == 0, 1.0, total_PC)
    out = []
    for c in range(part_PC.shape[1]):
        found = [
            Carrier(
                int(entry_P[p]),
                float(counted_PC[p, c]),
                float(words_PC[p, c]),
                float(share_PC[p, c]),
                float(chosen_PC[p, c]),
                bool(again_PC[p, c]),
                liked_P[p],
            )
            for p in np.argsort(-np.abs(part_PC[:, c]), kind="stable").tolist()
        ]
        above = tuple(one for one in found if one.counted + one.words > 0)
        below = tuple(one for one in found if one.counted + one.words < 0)
        out.append(Carried(above, below, ordered))
    return out


def reason(carried: Carried, named: Callable[[int], Name | None]) -> Reason | None:
    """In words, by the past item that did most; None where none that can be named did anything.

    named: of an entry; None where it has no name.
    """
    found = [(one, named(one.entry)) for one in carried.carriers if one.liked]
    known = [(one, name) for one, name in found if name is not None]
    if not known:
        return None
    ground = ground_of([one for one, _ in known])
    most = max(known, key=lambda it: it[0].counted if ground == "counts" else it[0].words)
    carrier, (title, item_id) = most
    share = round(carrier.share, 4)
    if ground == "words":
        return near(title, item_id, share)
    often = carrier.chosen >= OFTEN
    if carrier.again:
        text = "People often choose this again." if often else "This was chosen again before."
    elif often:
        text = (
            f"People who chose “{title}” often chose this {'next' if carried.ordered else 'too'}."
        )
    else:
        text = f"This was chosen {'after' if carried.ordered else 'beside'} “{title}” before."
    return Reason(text, item_id, share)


def reasons(
    carried: Sequence[Carried],
    named: Callable[[int], Name | None],
    past: Sequence[int],
    likeness: Callable[[Sequence[int], Sequence[int]], np.ndarray],
    popular: Callable[[int], bool],
) -> list[Reason | None]:
    """Of each candidate: what carried it, else what of the history is nearest to it, else that
    people chose it; None where there is nothing to tell.

    past: entries that the user is for and that words describe, newest first. likeness: of some
    candidates to some entries, [C, N]. popular: whether anybody chose a candidate.
    """
    found = [reason(one, named) for one in carried]
    missing = [row for row, one in enumerate(found) if one is None]
    names = {name: entry for entry in reversed(past[:NEWEST]) if (name := named(entry))}
    if missing and names:
        best_C = likeness(missing, list(names.values())).argmax(axis=1)
        for row, best in zip(missing, best_C.tolist(), strict=True):
            found[row] = near(*list(names)[best])
        return found
    return [POPULAR if one is None and popular(row) else one for row, one in enumerate(found)]


def liked_entries(histories: Histories, request: int) -> list[int]:
    """Entries that a user is for, newest first."""
    here = (histories.request == request) & (histories.weight > 0)
    return [int(n) for n in np.flatnonzero(here)[::-1]]


def near(title: str, item_id: str | None, share: float | None = None) -> Reason:
    """Where words alone carried an item."""
    return Reason(f"Its words are near those of “{title}”.", item_id, share)
