"""Personalised product design: the category and the title of what a user, or a group, would choose.

Read: who they are and what they did, and titles of the catalogue that read most like it. Written:
"CATEGORY: TITLE", or the title alone where items have no category, or where it is given (paper
section 2: "a product of category '…' named '…'"; the examples are an addition to the paper).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from m6rec.data.passages import Passage
from m6rec.records import Segment
from m6rec.tasks.examples import Examples
from m6rec.tasks.grounds import Grounds
from m6rec.tasks.writing import WritingSettings, history_segments
from m6rec.text.prompts import TITLE
from m6rec.text.verbalize import Verbalizer

BETWEEN = ": "


class TitleSettings(WritingSettings):
    """category: whether it is written before the title, given to the writer, or left out.

    longest_copy: most words in a row that stand in one title of the catalogue (0: any number).
    examples: titles of the catalogue that are read beside the history.
    """

    category: Literal["written", "given", "none"] = "written"
    longest_copy: int = Field(default=8, ge=0)
    examples: int = Field(default=8, ge=0)
    budget: int = 64


class TitleForm:
    """What a title is written from, and how."""

    def __init__(
        self,
        verbalizer: Verbalizer,
        grounds: Grounds,
        settings: TitleSettings,
        examples: Examples,
    ) -> None:
        self.verbalizer, self.grounds, self.settings = verbalizer, grounds, settings
        self.examples = examples

    def source(self, passage: Passage) -> list[Segment]:
        """The prompt, examples, the user or group, the history; the category where it is given."""
        category = self.given(passage)
        near = self.examples.nearest(passage, self.settings.examples, category)
        return [
            Segment(TITLE, "context"),
            *(Segment(self.grounds.title(item), "item") for item, _ in reversed(near)),
            *history_segments(self.verbalizer, passage, self.settings),
            *([Segment(category, "query")] if category else []),
        ]

    def target(self, passage: Passage, reference: str) -> str:
        """The title, after its category."""
        return self.text(self.category(passage), reference)

    def text(self, category: str, title: str) -> str:
        """What is written: the title, after its category where that is written."""
        told = category.replace(BETWEEN, " ") if self.settings.category == "written" else ""
        return f"{told}{BETWEEN}{title}" if told else title

    def given(self, passage: Passage) -> str:
        """The category that the writer is told, "" where it is told none."""
        return self._category(passage) if self.settings.category == "given" else ""

    def category(self, passage: Passage) -> str:
        """Of the item, or the one that was asked for (`about`), as it is written."""
        return self._category(passage).replace(BETWEEN, " ")

    def _category(self, passage: Passage) -> str:
        return passage.about or self.grounds.category(passage.item_id)

    def facts(self, passage: Passage) -> list[str]:
        """What is known of the user and the history: a title may say more."""
        return self.grounds.texts(passage)

    def read(self, text: str) -> str:
        """The title."""
        return self.parts(text)[1]

    def parts(self, text: str) -> tuple[str, str]:
        """A written text → category ("" where it has none) and title."""
        before, sign, after = text.partition(BETWEEN)
        if self.settings.category == "written" and sign and after.strip():
            return before.strip(), after.strip()
        return "", text.strip()
