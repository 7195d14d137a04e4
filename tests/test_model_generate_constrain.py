"""Constraints: only titles of the catalogue, only words of the allowed texts."""

from __future__ import annotations

import random
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import language_worlds
import tiny
from m6rec.config import ConfigError
from m6rec.model.generation.constrain import Constraint, Titles
from m6rec.model.generation.decoding import Decoding
from m6rec.model.generation.facts import Alphabet, Facts, words_of
from m6rec.model.generation.writer import Writer
from m6rec.model.language import SourceRows
from m6rec.model.prefix import Prefix

EOS = 2
TITLES = (
    *("red tent", "Red Tent lamp", "blue shoe", "", "red tent", "phone", "blue", "Blue shoe 4.5"),
    *("non-slip phone for the shoe", "é", "green lamp"),
)


@pytest.fixture(scope="module")
def writer() -> Writer:
    return Writer(*language_worlds.backbone(), 2)


def sources(writer: Writer, count: int) -> Prefix:
    """Sources of three rows and [EOS']."""
    shape = (count, 4)
    generator = torch.Generator().manual_seed(4)
    index = torch.randint(30, shape, generator=generator)
    slot = torch.tensor([8, 9, 10, 6]).expand(shape)
    valid, segment = torch.ones(shape, dtype=torch.bool), torch.arange(4).expand(shape)
    source = SourceRows(index, valid, slot, segment, torch.full((count, 1), 3))
    return writer.read(source, torch.randn(30, 16, generator=generator))


# Titles


def all_texts(constraint: Constraint) -> set[tuple[int, ...]]:
    """Every text that the automaton can write."""
    found, open_ = set[tuple[int, ...]](), [((), constraint.start())]
    while open_:
        ids, state = open_.pop()
        for token in constraint.allowed(state).tolist():
            if token == constraint.eos:
                found.add(ids)
            else:
                open_.append(((*ids, token), constraint.step(state, token)))
    return found


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(3, 6), max_size=4), min_size=1, max_size=30))
def test_titles_are_exactly_what_can_be_written(rows: list[list[int]]) -> None:
    """With beginnings of each other, equal ones and empty ones."""
    if not any(rows):
        with pytest.raises(ConfigError, match="no title to write"):
            Titles(rows, EOS)
        return
    titles = Titles(rows, EOS)
    expected = {tuple(row) for row in rows if row}
    assert all_texts(titles) == expected
    for row in expected:
        assert titles.items(row) == tuple(n for n, r in enumerate(rows) if tuple(r) == row)
    assert titles.items([9]) == titles.items([]) == ()
    assert titles.longest == max(len(row) for row in expected) + 1


@pytest.mark.parametrize(
    "decoding",
    [
        Decoding(max_tokens=1),
        Decoding(method="beam", beams=6, n=6),
        Decoding(method="sample", n=6, temperature=3.0),
        Decoding(no_repeat_ngram=1, repetition_penalty=5.0, min_tokens=3),
    ],
    ids=["greedy", "beam", "sample", "held"],
)
def test_only_items_of_the_catalogue_are_written(writer: Writer, decoding: Decoding) -> None:
    """Whatever else is asked for: not even max_tokens cuts a title."""
    titles = Titles.of(TITLES, writer.tokenizer)
    found = writer.write(sources(writer, 5), decoding, seeds=range(5), constraints=titles)
    for texts in found:
        assert len(texts) == decoding.n
        for text in texts:
            assert text.finish == "end" and text.items
            assert {TITLES[item] for item in text.items} == {text.text}
    if decoding.n > 1:
        assert len({text.text for texts in found for text in texts}) > 4


def test_the_best_beams_are_the_likeliest_titles(writer: Writer) -> None:
    """More beams than titles: the order is that of every title's likelihood."""
    rows = [writer.tokenizer.write(title) for title in TITLES if title]
    titles = Titles(rows, EOS)
    decoding = Decoding(method="beam", beams=12, n=9, early=False, length_penalty=0.0)
    prefix = sources(writer, 1)
    (found,) = writer.write(prefix, decoding, constraints=titles)
    each = [writer.write(prefix, constraints=Titles([row], EOS))[0][0].log_p for row in rows]
    distinct = {tuple(row): value for row, value in zip(rows, each, strict=True)}
    best = sorted(distinct, key=lambda row: -distinct[row])
    assert [text.ids for text in found] == best[:9]
    assert found[0].log_p == pytest.approx(distinct[best[0]], abs=1e-4)


def test_a_beginning_that_is_given_is_no_part_of_the_title(writer: Writer) -> None:
    titles = Titles.of(TITLES, writer.tokenizer)
    told = writer.tokenizer.write("bought: ")
    (text,) = writer.write(sources(writer, 1), constraints=titles, given=[told])[0]
    assert text.text.lower().removeprefix("bought: ") == TITLES[text.items[0]].lower()


def test_titles_that_are_too_long_are_found_by_their_beginning(writer: Writer) -> None:
    titles = Titles.of(["red tent lamp phone", "red tent lamp shoe"], writer.tokenizer, budget=3)
    (text,) = writer.write(sources(writer, 1), constraints=titles)[0]
    assert text.items == (0, 1) and len(text.ids) == 3


def test_many_titles_take_little_memory() -> None:
    draws = np.random.default_rng(0)
    rows = [row.astype(np.uint32) for row in draws.integers(3, 9000, (20_000, 10))]
    tracemalloc.start()
    titles = Titles(rows, EOS)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 2 * 1024**2  # 100 bytes each; 11 nodes of a tree take thousands
    state = titles.start()
    for token in rows[17_777].tolist():
        assert token in titles.allowed(state)
        state = titles.step(state, token)
    assert titles.may_end(state) and titles.items(rows[17_777].tolist()) == (17_777,)
    with pytest.raises(ValueError, match="no title goes on with id 9999"):
        titles.step(titles.start(), 9999)


def test_words_that_the_writer_has_not_learned_are_named(writer: Writer) -> None:
    small = Writer(writer.model, writer.tokenizer, 2, ids=writer.tokenizer.write("red"))
    with pytest.raises(ConfigError, match="a constraint needs id"):
        small.write(sources(small, 1), constraints=Titles.of(["tent"], small.tokenizer))


# Facts

ALLOWED = (
    "Red Non-Slip TENT, 4.5 stars (10:30)",
    "WiFi phone from Zoë, 100% green; café 日本 R2D2",
    "the size is 12/3, 7 lamps",
)
FUNCTION = ("the", "is", "it's", "for", "and")


@pytest.fixture(scope="module")
def facts(writer: Writer) -> Facts:
    return Facts(ALLOWED, FUNCTION, writer.tokenizer)


def said(writer: Writer, *texts: str) -> set[tuple[str, tuple[int, ...]]]:
    """Words in lower case, and the bytes of those that have some."""
    spelling = writer.tokenizer.spelling
    assert spelling is not None
    alphabet = Alphabet(spelling)
    words = [w for text in texts for w in words_of(writer.tokenizer.write(text), alphabet)[0]]
    return {(alphabet.spelled(w), tuple(i for i in w if i in alphabet.bytes)) for w in words}


@pytest.mark.parametrize(
    "text",
    [
        *ALLOWED,
        *("the tent", "The Red tent is for the phone.", "It's 4.5", "it is 10:30, and 7", "WIFI"),
        *("red-tent", "100% R2D2!", "Zoë\nthe café", "日本", "TENT (red)", "7 7", "the size is 7"),
    ],
)
def test_texts_that_say_nothing_new_can_be_written(facts: Facts, writer: Writer, text: str) -> None:
    assert language_worlds.accepts(facts, writer.tokenizer.write(text))


@pytest.mark.parametrize(
    "text",
    [
        *("blue", "the tents", "redtent", "RedTent", "FiWi", "4", "5.4", "4.5.5", "7.7", "12", "3"),
        *("10:3", "1000", "caf", "日", "本日", "Zoé", "R2", "D2", "the $ 7", "", "30:10", "tentë"),
    ],
)
def test_texts_that_say_something_new_can_not(facts: Facts, writer: Writer, text: str) -> None:
    assert not language_worlds.accepts(facts, writer.tokenizer.write(text))


def test_no_walk_says_anything_new_or_gets_stuck(facts: Facts, writer: Writer) -> None:
    """What is written at random reads, with its spaces and joins, as allowed words."""
    allowed = said(writer, *ALLOWED, *FUNCTION)
    for seed in range(400):
        draws, state, ids = random.Random(seed), facts.start(), []
        for _ in range(25):
            options = facts.allowed(state).tolist()
            assert options
            token = draws.choice(options)
            if token == facts.eos:
                break
            ids.append(token)
            state = facts.step(state, token)
        while not facts.may_end(state) and len(ids) < 99:
            token = draws.choice([i for i in facts.allowed(state).tolist() if i != facts.eos])
            ids.append(token)
            state = facts.step(state, token)
        text = writer.tokenizer.decode(ids)
        new = said(writer, text) - allowed
        assert not new, (text, new)


@pytest.mark.parametrize("method", ["greedy", "beam", "sample"])
@pytest.mark.parametrize("longest", [1, 2, 5, 30])
def test_facts_hold_to_the_last_token(writer: Writer, method: str, longest: int) -> None:
    """A word that max_tokens would cut is taken back."""
    facts = Facts(ALLOWED, FUNCTION, writer.tokenizer)
    allowed = said(writer, *ALLOWED, *FUNCTION)
    decoding = Decoding(method=method, beams=3, max_tokens=longest, min_tokens=longest)  # type: ignore[arg-type]
    found = writer.write(sources(writer, 4), decoding, constraints=facts)
    for texts in found:
        assert said(writer, texts[0].text) <= allowed
    if method != "beam":
        pieces = list(writer.stream(sources(writer, 4), decoding, constraints=facts))
        for request, (text,) in enumerate(found):
            assert "".join(p.text for p in pieces if p.request == request) == text.text


def test_each_request_has_facts_of_its_own(writer: Writer) -> None:
    held = [Facts(["red tent"], [], writer.tokenizer), None, Facts(["lamp"], [], writer.tokenizer)]
    decoding = Decoding(max_tokens=6, min_tokens=6)
    found = writer.write(sources(writer, 3), decoding, constraints=held)
    words = [{w.strip(".,;:!?'\"()-–/&’").lower() for w in t[0].text.split()} for t in found]
    assert words[2] <= {"lamp", ""}
    free = writer.write(sources(writer, 3), decoding)
    assert found[1][0].ids == free[1][0].ids and found[0][0].ids != free[0][0].ids


def test_facts_need_something_to_say_and_markers() -> None:
    words = language_worlds.tokenizer()
    with pytest.raises(ConfigError, match="nothing may be said"):
        Facts([], [], words)
    with pytest.raises(ConfigError, match="of another family"):
        Facts(["red"], [], tiny.tokenizer())
