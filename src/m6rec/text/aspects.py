"""What a text says about an item: its aspects ("battery life"), and its claims.

By lists of words and by counting, without a language library: the same texts give the same answer
everywhere. English; in other languages the lists do not match and every word counts as content.

An **aspect** is a word or a pair of neighbours that people judge items by, learned from reviews or
given. A **claim** is a run of neighbouring content words ("al pastor burrito"), and is borne out by
facts where each of its words stands in them, in whatever form.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache

from m6rec.text.aspect_words import BE, DETERMINERS, FRAME, OPINION

TOKEN = re.compile(r"[^\W_]+(?:['’][^\W_]+)*|[^\w\s]")
VOWELS = frozenset("aeiouyäöüàáâèéêìíîòóôùúû")
SHORTEST = 3
LIKE_A_NOUN = 0.35
"""Share of its occurrences in which an aspect stands where nouns stand."""
TOGETHER = 0.2
"""Share of the rarer word's texts in which a pair of words stands side by side."""
Claim = tuple[str, ...]


@lru_cache(1 << 16)
def stem(word: str) -> str:
    """A word without the endings of number and tense, in lower case.

    >>> [stem(w) for w in ("Batteries", "running", "cushioned", "glasses", "bus", "string")]
    ['battery', 'run', 'cushion', 'glass', 'bus', 'string']
    """
    word = word.casefold().replace("’", "'").removesuffix("'s")
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "zes", "ches", "shes")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
        word = word[:-1]
    for ending in ("ing", "ed"):
        root = word.removesuffix(ending)
        if root != word and len(root) >= SHORTEST and VOWELS & set(root):
            doubled = root[-1] == root[-2] and root[-1] not in "lsz"
            return root[:-1] if doubled else root
    return word.removesuffix("e") if len(word) > 4 else word


FRAME_STEMS = FRAME | {stem(word) for word in FRAME}


def is_content(word: str) -> bool:
    """Whether a word of a text says something of its own."""
    return word[0].isalnum() and word not in FRAME and stem(word) not in FRAME_STEMS


def split(text: str) -> list[str]:
    """Words, numbers and marks of punctuation in lower case."""
    return TOKEN.findall(text.casefold().replace("’", "'"))


def claims(text: str) -> list[Claim]:
    """Runs of neighbouring content words, as stems, each once, in the order of the text.

    >>> claims("We suggest this rain jacket because you care about weight: it packs small.")
    [('rain', 'jacket'), ('weight',), ('pack', 'small')]
    """
    found: dict[Claim, None] = {}
    run: list[str] = []
    for word in (*split(text), "."):
        if is_content(word):
            run.append(stem(word))
        elif run:
            found[tuple(run)] = None
            run = []
    return list(found)


def facts(texts: Iterable[str]) -> frozenset[str]:
    """Stems of all words of some texts: what claims may be made of."""
    return frozenset(stem(word) for text in texts for word in split(text) if word[0].isalnum())


def unsupported(text: str, known: frozenset[str]) -> list[Claim]:
    """Claims of a text with a word that the facts do not have.

    >>> unsupported("A dry tent with a warm lamp", facts(["dry tents", "lamps"]))
    [('warm', 'lamp')]
    """
    return [claim for claim in claims(text) if not known.issuperset(claim)]


class Aspects:
    """Aspects by name, the most frequent first, and where they stand in texts."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(dict.fromkeys(names))
        self._by_stems: dict[Claim, str] = {}
        for name in self.names:
            key = tuple(stem(word) for word in split(name))
            if key:
                self._by_stems.setdefault(key, name)
        self._longest = max((len(key) for key in self._by_stems), default=0)

    def find(self, text: str) -> list[str]:
        """Names of the aspects in a text, in its order; of two that overlap, the longer.

        >>> Aspects(("life", "battery life")).find("Its battery  life: good.")
        ['battery life']
        """
        stems = [stem(word) for word in split(text)]
        found: dict[str, None] = {}
        place = 0
        while place < len(stems):
            for size in range(self._longest, 0, -1):
                name = self._by_stems.get(tuple(stems[place : place + size]))
                if name is not None:
                    found[name] = None
                    place += size - 1
                    break
            place += 1
        return list(found)


def learn_aspects(texts: Sequence[str], most: int = 500, least: int = 5) -> Aspects:
    """Aspects that reviews or explanations speak of: at most `most`, each in `least` texts or more.

    A word qualifies by standing where nouns stand; a pair, by standing side by side often.
    """
    seen: Counter[Claim] = Counter()
    noun: Counter[Claim] = Counter()
    forms: defaultdict[Claim, Counter[str]] = defaultdict(Counter)
    total: Counter[Claim] = Counter()
    for text in texts:
        tokens = ["", *split(text), ""]
        own: set[Claim] = set()
        for place in range(1, len(tokens) - 1):
            for size in (1, 2):
                group = tokens[place : place + size]
                if not all(word and _may_be_aspect(word) for word in group):
                    break
                key = tuple(stem(word) for word in group)
                own.add(key)
                total[key] += 1
                forms[key][" ".join(group)] += 1
                noun[key] += _where_nouns_stand(tokens[place - 1], tokens[place + size])
        seen.update(own)
    often = [key for key, count in seen.items() if count >= least]
    kept = [key for key in often if _qualifies(key, seen, noun, total)]
    kept.sort(key=lambda key: (-seen[key], key))
    best = [min(forms[key].items(), key=lambda pair: (-pair[1], pair[0]))[0] for key in kept[:most]]
    return Aspects(tuple(best))


def _may_be_aspect(word: str) -> bool:
    return len(word) >= SHORTEST and word.isalpha() and is_content(word)


def _where_nouns_stand(before: str, after: str) -> bool:
    return before in DETERMINERS or before in OPINION or after in BE


def _qualifies(
    key: Claim, seen: Counter[Claim], noun: Counter[Claim], total: Counter[Claim]
) -> bool:
    if noun[key] < LIKE_A_NOUN * total[key]:
        return False
    return len(key) == 1 or seen[key] >= TOGETHER * min(seen[key[:1]], seen[key[1:]])
