"""Writers that need no network: copies, templates, head words, and what people wrote.

Each is what a generator has to beat before it is worth its cost. They are chosen on the valid part
where there is something to choose.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from m6rec.data.passages import Passage, WritingSplit
from m6rec.evaluation.writing import WritingModel
from m6rec.metrics.text import rouge, words
from m6rec.tasks.examples import told_of
from m6rec.tasks.explanation import aspects_for, choose_features
from m6rec.tasks.grounds import Grounds
from m6rec.text.aspects import Aspects
from m6rec.text.text_index import TextIndex

TEMPLATES_TRIED, JUDGED_ON = 200, 200
SEED = 0
SLOT, FEATURE = "\x00item\x00", "\x00feature\x00"


class Function:
    """A baseline: its name, and what it writes for one passage."""

    def __init__(self, name: str, one: Callable[[Passage], str]) -> None:
        self.name, self._one = name, one

    def write(self, passages: Sequence[Passage]) -> list[str]:
        """A text for each passage."""
        return [self._one(passage) for passage in passages]


def writing_baselines(split: WritingSplit) -> list[WritingModel]:
    """The baselines of a split's task, ready to write."""
    grounds = Grounds(split.items, split.users)
    if split.task == "explain":
        return [nearest_explanation(split, grounds), best_template(split, grounds)]
    if split.task == "title":
        return [nearest_title(split, grounds), last_title(split, grounds), common_text(split)]
    if split.train and split.train[0].item_id is None:
        return [common_text(split), last_words_of_history(split, grounds)]
    return [nearest_query(split, grounds), *head_words(split, grounds)]


def people(passages: Sequence[Passage]) -> list[str]:
    """What people wrote, one text for each passage, drawn by seed where there are several."""
    rng = np.random.default_rng(SEED)
    return [p.references[int(rng.integers(len(p.references)))] for p in passages]


def nearest_explanation(split: WritingSplit, grounds: Grounds) -> Function:
    """The explanation that somebody wrote for the most similar item and user, word by word.

    Only the item's title is exchanged. Similarity: BM25 of all that is known of both.
    """
    train = split.part("train")
    index = TextIndex([_situation(p, grounds) for p in train])

    def one(passage: Passage) -> str:
        best = index.best(_situation(passage, grounds))
        if not best:
            return train[0].references[0]
        found = train[best[0]]
        text, old = found.references[0], grounds.title(found.item_id)
        new = grounds.title(passage.item_id)
        return text.replace(old, new) if len(old) > 3 and new else text

    return Function("nearest explanation, copied", one)


def _situation(passage: Passage, grounds: Grounds) -> str:
    about = (grounds.item_text(passage.item_id), grounds.user_text(passage))
    return " ".join((*about, *passage.own[-3:]))


def best_template(split: WritingSplit, grounds: Grounds) -> Function:
    """One sentence with gaps for the item and a feature, the best by ROUGE on valid.

    Tried: explanations of train with their item and feature taken out, and a plain one.
    """
    aspects = aspects_for(split)
    rng = np.random.default_rng(SEED)
    train = split.part("train")
    some = [train[i] for i in rng.permutation(len(train))[:TEMPLATES_TRIED]]
    tried = [f"You might like {SLOT} because you care about {FEATURE}."]
    tried += [_with_gaps(p, grounds, aspects) for p in some]
    valid = (split.valid or train)[:JUDGED_ON]
    references = [p.references for p in valid]
    filled_in = [(grounds.title(p.item_id), feature_for(p, grounds, aspects)) for p in valid]

    def score(template: str) -> float:
        texts = [_filled(template, *gaps) for gaps in filled_in]
        found = rouge(texts, references)
        return float(found["rouge1"].mean() + found["rouge2"].mean())

    best = max(dict.fromkeys(tried), key=score)

    def one(passage: Passage) -> str:
        feature = feature_for(passage, grounds, aspects)
        return _filled(best, grounds.title(passage.item_id), feature)

    return Function("best template", one)


def _with_gaps(passage: Passage, grounds: Grounds, aspects: Aspects) -> str:
    text, title = passage.references[0], grounds.title(passage.item_id)
    if len(title) > 3:
        text = text.replace(title, SLOT)
    feature = passage.feature or next(iter(aspects.find(text)), None)
    if feature:
        text = re.sub(rf"\b{re.escape(feature)}\b", FEATURE, text, count=1, flags=re.IGNORECASE)
    return text


def _filled(template: str, title: str, feature: str) -> str:
    return template.replace(SLOT, title or "this item").replace(FEATURE, feature)


def feature_for(passage: Passage, grounds: Grounds, aspects: Aspects) -> str:
    """A feature to name: one that item and user share, else one of the item, else a common one."""
    ranked = choose_features(passage, grounds, aspects)
    return ranked[0] if ranked else next(iter(aspects.names), "quality")


def nearest_title(split: WritingSplit, grounds: Grounds) -> Function:
    """Retrieval copying: the title, of those chosen in train, that reads most like the history."""
    ids = list(dict.fromkeys(p.item_id for p in split.part("train")))
    place = {item: number for number, item in enumerate(ids)}
    index = TextIndex([grounds.item_text(item) for item in ids])
    common = common_text(split)

    def one(passage: Passage) -> str:
        seen = {place.get(e.item_id, -1) for e in passage.history}
        told = told_of(passage, grounds)
        found = [n for n in index.best(told, len(seen) + 1) if n not in seen]
        return grounds.title(ids[found[0]]) if found else common.write([passage])[0]

    return Function("retrieval, title copied", one)


def last_title(split: WritingSplit, grounds: Grounds) -> Function:
    """The title of the last thing in the history; what was searched, where that is all."""

    def one(passage: Passage) -> str:
        for event in reversed(passage.history):
            found = grounds.title(event.item_id) or event.query or event.text
            if found:
                return found
        return ""

    return Function("last of the history, copied", one)


def common_text(split: WritingSplit) -> Function:
    """The text that train has most often, for everybody."""
    counts = Counter(text for p in split.part("train") for text in p.references)
    most = min(counts, key=lambda text: (-counts[text], text))
    return Function("most frequent text", lambda passage: most)


def last_words_of_history(split: WritingSplit, grounds: Grounds) -> Function:
    """The last search of the history again; else the last words of the last title."""
    length = usual_length(split)

    def one(passage: Passage) -> str:
        searches = [e.query for e in passage.history if e.query]
        if searches:
            return searches[-1]
        titles = [t for e in passage.history if (t := grounds.title(e.item_id))]
        return " ".join(words(titles[-1])[-length:]) if titles else ""

    return Function("last search again", one)


def nearest_query(split: WritingSplit, grounds: Grounds) -> Function:
    """Retrieval copying: a query that people typed for the most similar item of train."""
    train = split.part("train")
    index = TextIndex([grounds.item_text(p.item_id) for p in train])

    def one(passage: Passage) -> str:
        best = index.best(grounds.item_text(passage.item_id))
        return train[best[0] if best else 0].references[0]

    return Function("nearest item's query, copied", one)


def head_words(split: WritingSplit, grounds: Grounds) -> list[WritingModel]:
    """The first and the last words of the title, as many as people type."""
    length = usual_length(split)

    def first(passage: Passage) -> str:
        return " ".join(words(grounds.title(passage.item_id))[:length])

    def last(passage: Passage) -> str:
        return " ".join(words(grounds.title(passage.item_id))[-length:])

    return [
        Function(f"title's first {length} words", first),
        Function(f"title's last {length} words", last),
    ]


def usual_length(split: WritingSplit) -> int:
    """Words of a text of train, the mean rounded."""
    lengths = [len(words(text)) for p in split.part("train") for text in p.references]
    return max(1, round(float(np.mean(lengths))))
