"""Why an item is recommended: written by a tuned task, or what of the history carried it.

The words and shares are those of collaborative/reasons.py, from the counts and words as they are
now. What the user is against, or took back, is never a reason (data/verdicts.py).

Legend: N items of a history or of an answer, C items of an answer, K projection width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from m6rec.collaborative.matrix import TransitionMatrix
from m6rec.collaborative.reasons import Carried, Name, Reason, carriers, liked_entries
from m6rec.collaborative.reasons import reasons as reasons_of
from m6rec.collaborative.score import CollaborativeScore
from m6rec.collaborative.sequences import Histories
from m6rec.data.requests import Requests
from m6rec.records import Event, Request
from m6rec.serving.candidates import Scores
from m6rec.serving.chosen import LiveChosen
from m6rec.serving.live import LiveModel


def reasons(
    model: LiveModel, item_ids: Sequence[str], history: Sequence[Event], user_id: str | None
) -> dict[str, Reason]:
    """A reason for each item that is there and has one."""
    there = [item_id for item_id in item_ids if item_id in model.shown]
    if "explain" in model.face.tasks:
        return {
            item_id: Reason(
                model.writer().explain(item_id, history, user_id=user_id).text, written=True
            )
            for item_id in there
        }
    past = _Past(model, history, user_id)
    place_C = model.shelf.places(there)
    people_C = np.where(place_C < 0, 0, model.people.of(np.maximum(place_C, 0)))
    carried = [Carried()] * len(there)
    if model.people.most and model.scores is not None:
        carried = _carried(model, model.scores, there, past)

    def likeness(rows: Sequence[int], entries: Sequence[int]) -> np.ndarray:
        vectors_CK = model.item_vectors([there[row] for row in rows])
        return np.asarray(vectors_CK @ past.vectors(entries).T)

    def popular(row: int) -> bool:
        return bool(people_C[row] > 0)

    found = reasons_of(carried, past.named, past.described(), likeness, popular)
    return {item_id: why for item_id, why in zip(there, found, strict=True) if why is not None}


class _Past:
    """One history. ids: of its items, by their codes."""

    def __init__(self, model: LiveModel, history: Sequence[Event], user_id: str | None) -> None:
        self.model = model
        chosen = None if model.scores is None else model.scores.chosen
        named = dict.fromkeys(e.item_id for e in history if e.item_id is not None)
        codes: Mapping[str, int] = {item_id: code for code, item_id in enumerate(named)}
        decay = 1.0
        if chosen is not None:
            codes, decay = chosen.live.codes, chosen.decay
        asked = Requests.of([Request(tuple(history), user_id)])
        self.histories = Histories.of(asked, codes, decay, model.retriever.scale)
        self.ids = {codes[item_id]: item_id for item_id in named if item_id in codes}

    def item_id(self, entry: int) -> str | None:
        return self.ids.get(int(self.histories.code[entry]))

    def described(self) -> list[int]:
        """Entries that the user is for and that words describe, newest first."""
        liked, texts = liked_entries(self.histories, 0), self.histories.text
        return [n for n in liked if self.item_id(n) in self.model.shown or texts[n]]

    def named(self, entry: int) -> Name | None:
        """In the words of the catalogue, in the user's, or by its id."""
        item_id, text = self.item_id(entry), self.histories.text[entry]
        shown = None if item_id is None else self.model.shown.get(item_id)
        title = (shown.title if shown is not None else text) or item_id
        return None if title is None else (title, item_id)

    def vectors(self, entries: Sequence[int]) -> np.ndarray:
        """Unit vectors of described entries: float32 [N, K]."""
        found = []
        for entry in entries:
            item_id, text = self.item_id(entry), self.histories.text[entry]
            if item_id in self.model.shown:
                found.append(self.model.item_vectors([str(item_id)]))
            else:
                found.append(self.model.retriever.encode_items([str(text)], [None]))
        return np.concatenate(found)


def _carried(model: LiveModel, scores: Scores, there: Sequence[str], past: _Past) -> list[Carried]:
    """What carried each item: by a score over no more than these items and those of the past."""
    chosen, words = scores.chosen, scores.words
    fitted = words.fitted
    if fitted is None:
        return [Carried()] * len(there)
    asked = list(dict.fromkeys([*there, *past.ids.values()]))
    place_of = dict(zip(asked, model.shelf.places(asked).tolist(), strict=True))
    items = [item_id for item_id in asked if place_of[item_id] >= 0]
    gone = [item_id for item_id in asked if place_of[item_id] < 0]
    codes = {item_id: code for code, item_id in enumerate([*items, *gone])}
    score = CollaborativeScore(
        chosen.settings,
        codes,
        _transitions(chosen, codes, set(past.ids.values())),
        fitted.prior,
        fitted.of(np.array([place_of[item_id] for item_id in items], dtype=np.int64)),
        words.vectors,
        chosen.live.ordered,
        chosen.live.repeats(),
    )
    own = [codes[past.ids[code]] if code in past.ids else -1 for code in past.histories.code]
    histories = replace(past.histories, code=np.array(own, dtype=np.int64))
    rows = [row for row, item_id in enumerate(there) if place_of[item_id] >= 0]
    columns = np.array([codes[there[row]] for row in rows], dtype=np.int64)
    found = [Carried()] * len(there)
    for row, one in zip(rows, carriers(score, histories, [columns])[0], strict=True):
        found[row] = one
    return found


def _transitions(chosen: LiveChosen, codes: Mapping[str, int], past: set[str]) -> TransitionMatrix:
    """The rows of past items as they are now, towards the items that are asked for."""
    live = chosen.live
    code_N = np.array([live.codes.get(item_id, -1) for item_id in codes])
    laters, weights = [], []
    own_I, norm_I = np.zeros(len(code_N)), np.zeros(len(code_N))
    known = code_N >= 0
    own_I[known], norm_I[known] = live.counted(code_N[known])
    for item_id, code in zip(codes, code_N.tolist(), strict=True):
        is_past = item_id in past and code >= 0
        later, weight = live.row(code) if is_past else (code_N[:0], np.zeros(0, np.float32))
        column, row = np.nonzero(code_N[:, None] == later[None])
        laters.append(column)
        weights.append(weight[row])
    return TransitionMatrix(
        np.concatenate([[0], np.cumsum([len(one) for one in laters], dtype=np.int64)]),
        np.concatenate([*laters, np.zeros(0, np.int64)]).astype(np.int32),
        np.concatenate([*weights, np.zeros(0, np.float32)]),
        norm_I,
        own_I,
    )
