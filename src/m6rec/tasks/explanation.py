"""Explanation: why a user may like an item, in a sentence (paper section 2).

Read: the user's attributes, the history, the aspects to speak of, the item. Aspects are those that
the item has and the user cares about; nothing of the text that is to be written decides them,
unless they are "given" (the protocol of PETER+ and of the paper's table).
"""

from __future__ import annotations

from collections import Counter
from typing import Literal

from pydantic import Field

from m6rec.data.passages import Passage, WritingSplit
from m6rec.records import Candidate, Segment
from m6rec.tasks.grounds import Grounds
from m6rec.tasks.writing import WritingSettings, history_segments
from m6rec.text.aspects import Aspects, learn_aspects
from m6rec.text.prompts import EXPLAIN
from m6rec.text.verbalize import Verbalizer


class ExplanationSettings(WritingSettings):
    """features: where the aspects to speak of come from; most_features: how many are told."""

    features: Literal["chosen", "given", "none"] = "chosen"
    most_features: int = Field(default=3, ge=1)


class ExplanationForm:
    """What an explanation reads and writes. aspects: all that the data set knows."""

    def __init__(
        self,
        verbalizer: Verbalizer,
        grounds: Grounds,
        aspects: Aspects,
        settings: ExplanationSettings,
    ) -> None:
        self.verbalizer, self.grounds, self.aspects = verbalizer, grounds, aspects
        self.settings = settings

    def source(self, passage: Passage) -> list[Segment]:
        """The prompt, the user, the history, the aspects, the item."""
        features = self.features(passage)
        about = Candidate(passage.item_id, passage.about)
        return [
            Segment(EXPLAIN, "context"),
            *history_segments(self.verbalizer, passage, self.settings),
            *([Segment(", ".join(features), "features")] if features else []),
            Segment(self.verbalizer.item(about).text, "item"),
        ]

    def target(self, passage: Passage, reference: str) -> str:
        """The explanation as it stands."""
        return reference

    def read(self, text: str) -> str:
        """The explanation."""
        return text.strip()

    def facts(self, passage: Passage) -> list[str]:
        """All that is known of item, user and history, and the aspects that were told."""
        return [*self.grounds.texts(passage), *self.features(passage)]

    def features(self, passage: Passage) -> list[str]:
        """Aspects to speak of, those that matter most to the user first."""
        if self.settings.features == "none":
            return []
        if self.settings.features == "given":
            return [passage.feature] if passage.feature else []
        return choose_features(passage, self.grounds, self.aspects)[: self.settings.most_features]


def aspects_for(split: WritingSplit) -> Aspects:
    """What explanations may be about: named by the data, else learned from the texts of train."""
    if split.task != "explain":
        return Aspects(())
    if split.features:
        return Aspects(split.features)
    return learn_aspects([text for p in split.train for text in p.references])


def choose_features(passage: Passage, grounds: Grounds, aspects: Aspects) -> list[str]:
    """Aspects of an item: by how often the user speaks of them, then by how often it is praised."""
    about = [grounds.item_text(passage.item_id), passage.about or "", *passage.others]
    of_item = Counter(name for text in about for name in aspects.find(text))
    liked = [grounds.user_text(passage), *passage.own]
    of_user = Counter(name for text in liked for name in aspects.find(text))
    return sorted(of_item, key=lambda name: (-of_user[name], -of_item[name], name))
