"""A backbone, words and settings → an author that can be trained or asked to write."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from m6rec.config import ConfigError
from m6rec.model.generation.byte_level import uncopied
from m6rec.model.generation.decoding import Decoding
from m6rec.model.tuning import RETRIEVAL_HEAD
from m6rec.tasks.build import Backbone, TaskSpec, segment_table
from m6rec.tasks.dialogue import DialogueForm
from m6rec.tasks.examples import Examples
from m6rec.tasks.explanation import ExplanationForm
from m6rec.tasks.grounds import Grounds
from m6rec.tasks.query import QueryForm
from m6rec.tasks.title import TitleForm
from m6rec.tasks.writing import Author, Form
from m6rec.text.aspects import Aspects
from m6rec.text.templates import Templates
from m6rec.text.verbalize import Verbalizer

DECODING: dict[str, dict[str, object]] = {
    "explain": {"no_repeat_ngram": 4, "repetition_penalty": 1.1},
    "title": {"no_repeat_ngram": 4},
    "chat": {"method": "sample", "top_p": 0.9, "temperature": 0.7, "no_repeat_ngram": 4},
    "query": {"method": "beam", "beams": 4, "no_repeat_ngram": 3, "repetition_penalty": 10.0},
}
"""How each task writes, where nothing else is asked for."""
NO_ITEMS = pl.DataFrame({"item_id": [""], "title": ["an unknown item"]})
"""Stands for a catalogue where every item comes as free text."""


def build_author(
    backbone: Backbone,
    words: Templates,
    items: pl.DataFrame,
    users: pl.DataFrame | None,
    spec: TaskSpec,
    aspects: Aspects,
    known: Sequence[str] = (),
) -> Author:
    """An author on a branch of the backbone.

    aspects: what explanations may be about; other tasks have none. known: ids of the items that
    training knew: their titles are examples; where the catalogue has none of them, all are. The
    projections of retrieval have no part in writing and are not trained. Raises ConfigError where
    the network has fewer layers than are to be online.
    """
    reading = spec.writing
    if reading.online_layers > backbone.model.config.layers:
        raise ConfigError(
            f"online_layers = {reading.online_layers}: the model has "
            f"{backbone.model.config.layers} layers, right is that many or fewer"
        )
    items = items if items.height else NO_ITEMS
    grounds = Grounds(items, users)
    examples = Examples(grounds, grounds.those_of(known), backbone.embed)
    form = _form(Verbalizer(words, items, users), grounds, spec, aspects, examples)
    table = segment_table(backbone, spec)
    for name, parameter in table.model.named_parameters():
        if name.startswith(RETRIEVAL_HEAD):
            parameter.requires_grad_(False)
    author = Author(table.model, table, form, reading, f"M6-Rec, {spec.tuning.method}")
    how = {"max_tokens": reading.budget, **DECODING[spec.task]}
    author.decoding = Decoding.parse(how, f"decoding of {spec.task}")
    knows_words = author.tokenizer.spelling is not None or author.tokenizer.written_bytes
    if spec.title is not None and spec.title.longest_copy and knows_words:
        titles = items["title"].drop_nulls().to_list()
        author.bound = uncopied(titles, spec.title.longest_copy, author.tokenizer)
    return author


def _form(
    verbalizer: Verbalizer,
    grounds: Grounds,
    spec: TaskSpec,
    aspects: Aspects,
    examples: Examples,
) -> Form:
    if spec.explanation is not None:
        return ExplanationForm(verbalizer, grounds, aspects, spec.explanation)
    if spec.title is not None:
        return TitleForm(verbalizer, grounds, spec.title, examples)
    if spec.dialogue is not None:
        return DialogueForm(spec.dialogue)
    assert spec.query is not None
    return QueryForm(verbalizer, grounds, spec.query)
