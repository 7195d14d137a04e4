"""Talkers that need no network: popularity, what was named last, words, copied replies, people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from m6rec.data.talks import Ask, TalkSplit, slotted
from m6rec.evaluation.talking import Talker
from m6rec.text.text_index import TextIndex

LAST_TURNS = 6
Scorer = Callable[[Ask], np.ndarray]
Replier = Callable[[Ask], str]


class Function:
    """A baseline by what it does for one reply."""

    def __init__(self, name: str, score: Scorer | None = None, reply: Replier | None = None):
        self.name, self._score, self._reply = name, score, reply

    def scores(self, asks: Sequence[Ask]) -> np.ndarray | None:
        """[A, I], if it makes lists."""
        return None if self._score is None else np.stack([self._score(ask) for ask in asks])

    def replies(self, asks: Sequence[Ask]) -> list[str] | None:
        """One for each, if it speaks."""
        return None if self._reply is None else [self._reply(ask) for ask in asks]


def talking_baselines(split: TalkSplit) -> list[Talker]:
    """All of them, ready to be judged."""
    return [popular(split), repeat_last(split), similar_words(split), similar_dialogue(split)]


def popular(split: TalkSplit) -> Function:
    """What the system named most in train; says what it said most."""
    score_I = split.counts.astype(np.float64)
    said = Counter(slotted(ask) for ask in split.asks("train"))
    common = min(said, key=lambda text: (-said[text], text))
    return Function("popularity; the commonest reply", lambda _: score_I, lambda _: common)


def repeat_last(split: TalkSplit) -> Function:
    """What was named last in the dialogue, then what was named before it, then by popularity."""
    place = {item_id: row for row, item_id in enumerate(split.items["item_id"])}
    popular_I = split.counts / (split.counts.max(initial=0) + 1.0)

    def score(ask: Ask) -> np.ndarray:
        found_I = popular_I.copy()
        named = [i for turn in ask.before for i in turn.item_ids if i in place]
        for age, item_id in enumerate(named, start=1):
            found_I[place[item_id]] = float(age)
        return np.asarray(found_I)

    return Function("repeat the last item", score)


def similar_words(split: TalkSplit) -> Function:
    """BM25 of the newest turns against the words of the items."""
    columns = [c for c in ("title", "category", "brand", "description") if c in split.items.columns]
    index = TextIndex([" ".join(str(cell) for cell in row if cell)
                       for row in split.items.select(columns).iter_rows()])  # fmt: skip
    return Function("text similarity (BM25)", lambda ask: index.scores(_words(ask)))


def similar_dialogue(split: TalkSplit) -> Function:
    """Says what the person said in the dialogue of train whose words are nearest (BM25), and
    recommends what was named there."""
    known = split.asks("train")
    index = TextIndex([_words(ask) for ask in known])
    place = {item_id: row for row, item_id in enumerate(split.items["item_id"])}
    popular_I = split.counts / (split.counts.max(initial=0) + 1.0)
    said = [slotted(ask) for ask in known]

    def score(ask: Ask) -> np.ndarray:
        found_I = 1e-3 * popular_I
        near_K = index.scores(_words(ask))
        for n in np.argsort(-near_K, kind="stable")[:100].tolist():
            reply = known[n].reply
            assert reply is not None
            for item_id in reply.item_ids:
                found_I[place[item_id]] += near_K[n]
        return np.asarray(found_I)

    def reply(ask: Ask) -> str:
        best = index.best(_words(ask))
        return said[best[0]] if best else said[0]

    return Function("nearest dialogues (BM25)", score, reply)


def people(asks: Sequence[Ask]) -> list[str]:
    """What the people said who are judged against: no talker, but a mark to see Dist-n by."""
    return [slotted(ask) for ask in asks]


def _words(ask: Ask) -> str:
    return " ".join(turn.text for turn in ask.before[-LAST_TURNS:])
