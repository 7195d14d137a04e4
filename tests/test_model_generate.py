"""Writing: cached steps equal the full pass, beams find what brute force finds, rows are alone."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

import language_worlds
from m6rec.config import ConfigError
from m6rec.model import plans
from m6rec.model.generation.cache import Cache
from m6rec.model.generation.decoding import Decoding, Written
from m6rec.model.generation.lanes import Piece
from m6rec.model.generation.writer import Writer
from m6rec.model.language import SourceRows, full_writing, late_writing
from m6rec.model.m6 import M6
from m6rec.model.plans import SegmentStates
from m6rec.model.prefix import full_prefix, late_prefix
from m6rec.model.tuning import Tuning, branch
from m6rec.text.tokenizer import Tokenizer
from model_worlds import CONFIGS, VOCABULARY, lively, random_texts, segments

WIDTH = 16
TUNINGS = {
    "none": None,
    "option-adapter": Tuning(method="option-adapter", classes=2, prompts=2, rank=3, layers="all"),
    "prompt": Tuning(method="prompt", prompts=3),
    "adapter": Tuning(method="adapter", rank=2),
}


def network(family: str, tuning: str, lower: int, seed: int) -> M6:
    """A lively network, with a branch whose added parameters all matter."""
    model = lively(CONFIGS[family](), seed)
    chosen = TUNINGS[tuning]
    if chosen is None:
        return model
    tuned = branch(model, chosen, lower)
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.requires_grad and parameter.dim() > 0:
                parameter.normal_(std=0.3)
    return tuned.eval()


def sources(lengths: list[int], rows: int, seed: int) -> SourceRows:
    """Sources of so many rows and [EOS'], over `rows` ids or kept states."""
    generator = torch.Generator().manual_seed(seed)
    R = max(lengths) + 1
    length_B1 = torch.tensor(lengths)[:, None]
    valid_BR = torch.arange(R) <= length_B1
    index_BR = torch.randint(6, rows, (len(lengths), R), generator=generator)
    age_BR = torch.randint(8, 12, (len(lengths), R), generator=generator)
    slot_BR = torch.where(torch.arange(R) == length_B1, plans.READ_SOURCE_SLOT, age_BR) * valid_BR
    segment_BR = torch.arange(R).expand(len(lengths), -1) // 2 * valid_BR
    return SourceRows(index_BR * valid_BR, valid_BR, slot_BR, segment_BR, length_B1)


def full_pass(
    model: M6, late: bool, kept_MD: Tensor, source: SourceRows, ids_BT: Tensor, lower: int
) -> Tensor:
    """What pretraining computes: states at each row of the targets."""
    target = (ids_BT, torch.ones_like(ids_BT, dtype=torch.bool))
    if late:
        return late_writing(model, kept_MD, source, target, lower)
    return full_writing(model, source, target, lower)


# Cached steps against the full pass


@settings(max_examples=40, deadline=None)
@given(
    family=st.sampled_from(sorted(CONFIGS)),
    tuning=st.sampled_from(sorted(TUNINGS)),
    late=st.booleans(),
    lower=st.integers(0, 2),
    lengths=st.lists(st.integers(0, 7), min_size=1, max_size=4),
    lanes=st.integers(1, 3),
    steps=st.integers(1, 5),
    seed=st.integers(0, 999),
)
@torch.no_grad()
def test_cached_steps_equal_the_full_pass(
    family: str,
    tuning: str,
    late: bool,
    lower: int,
    lengths: list[int],
    lanes: int,
    steps: int,
    seed: int,
) -> None:
    """Beams that are reordered after every step, and sources that are dropped on the way."""
    model = network(family, tuning, lower, seed)
    source = sources(lengths, 40, seed)
    kept_MD = torch.randn(40, WIDTH, generator=torch.Generator().manual_seed(seed))
    prefix = (
        late_prefix(model, kept_MD, source, lower) if late else full_prefix(model, source, lower)
    )
    cache = Cache(model, prefix, lanes, steps, late)
    draws = torch.Generator().manual_seed(seed)
    ids_BWT = torch.full((len(lengths), lanes, 0), 0)
    for step in range(steps):
        B = len(ids_BWT)
        fresh_BW1 = torch.randint(3, VOCABULARY, (B, lanes, 1), generator=draws)
        ids_BWT = torch.cat([ids_BWT, fresh_BW1], 2)
        h_BWD = cache.step(fresh_BW1[..., 0])
        for lane in range(lanes):
            expected = full_pass(model, late, kept_MD, source, ids_BWT[:, lane], lower)[:, -1]
            assert torch.allclose(h_BWD[:, lane], expected, atol=2e-5, rtol=1e-4)
        parent_BW = torch.randint(lanes, (B, lanes), generator=draws)
        cache.reorder(parent_BW)
        ids_BWT = torch.take_along_dim(ids_BWT, parent_BW[..., None], dim=1)
        if step == 1 and B > 1:
            rows = torch.randperm(B, generator=draws)[: B - 1]
            cache.keep(rows)
            ids_BWT = ids_BWT[rows]
            source = SourceRows(*(value[rows] for value in vars(source).values()))


@pytest.mark.parametrize("k", [1, 2, "all"])
@torch.no_grad()
def test_writing_after_summaries_and_cached_states(k: int) -> None:
    """Late plan over k vectors of each segment, and over states of half precision."""
    model = lively(CONFIGS["bert"]())
    states = plans.encode_segments(model, segments(random_texts(5, 6)), 2)
    states = states if k == "all" else plans.summarise(states, k)
    states = SegmentStates(states.h_SKD.half().float(), states.valid_SK)
    flat = states.valid_SK.flatten().nonzero()[:, 0]
    R = len(flat)
    source = SourceRows(
        flat[None],
        torch.ones(1, R, dtype=torch.bool),
        torch.full((1, R), plans.FIRST_EVENT_SLOT),
        torch.zeros(1, R, dtype=torch.long),
        torch.tensor([[R - 1]]),
    )
    kept_MD = states.h_SKD.flatten(0, 1)
    ids_1T = torch.tensor([[3, 9, 8, 11]])
    cache = Cache(model, late_prefix(model, kept_MD, source, 2), 1, 4, late=True)
    steps = torch.cat([cache.step(ids_1T[:, t : t + 1]) for t in range(4)], 1)
    expected = full_pass(model, True, kept_MD, source, ids_1T, 2)
    assert torch.allclose(steps, expected, atol=1e-5)


# A world that can write

LOWER = 2


@pytest.fixture(scope="module")
def world() -> tuple[M6, Tokenizer]:
    return language_worlds.backbone()


def writer(world: tuple[M6, Tokenizer], plan: str = "late", **options: object) -> Writer:
    return Writer(*world, LOWER, plan, **options)  # type: ignore[arg-type]


def asked(lengths: list[int], seed: int = 0) -> tuple[SourceRows, Tensor]:
    kept_MD = torch.randn(40, WIDTH, generator=torch.Generator().manual_seed(seed))
    return sources(lengths, 40, seed), kept_MD


def write(
    writer: Writer, lengths: list[int], decoding: Decoding, seed: int = 0, **options: object
) -> list[list[Written]]:
    source, kept_MD = asked(lengths, seed)
    return writer.write(writer.read(source, kept_MD), decoding, **options)  # type: ignore[arg-type]


@torch.no_grad()
def likelihood(writer: Writer, row: int, lengths: list[int], ids: list[int]) -> list[float]:
    """log p of each id and of [EOS] by the full pass, over the words that compete."""
    source, kept_MD = asked(lengths)
    one = SourceRows(*(value[row : row + 1] for value in vars(source).values()))
    special = writer.tokenizer.special
    target = torch.tensor([[special.bos, *ids]])
    h = full_pass(writer.model, writer.plan == "late", kept_MD, one, target, writer.lower)
    log_p = writer.model.lm_head(h)[0][:, writer.words.ids].log_softmax(-1)
    place = writer.words.place_of[[*ids, special.eos]]
    return [float(log_p[t, p]) for t, p in enumerate(place)]


@pytest.mark.parametrize("plan", ["late", "full"])
def test_greedy_takes_the_likeliest_token_of_the_full_pass(
    world: tuple[M6, Tokenizer], plan: str
) -> None:
    lengths = [5, 0, 3]
    w = writer(world, plan)
    for row, (found,) in enumerate(write(w, lengths, Decoding(max_tokens=6))):
        source, kept_MD = asked(lengths)
        one = SourceRows(*(value[row : row + 1] for value in vars(source).values()))
        ids = [w.tokenizer.special.bos]
        while len(ids) < 7:
            with torch.no_grad():
                h = full_pass(w.model, plan == "late", kept_MD, one, torch.tensor([ids]), LOWER)
                logits = w.model.lm_head(h)[0, -1, w.words.ids]
            ids.append(int(w.words.ids[int(logits.argmax())]))
            if ids[-1] == w.tokenizer.special.eos:
                break
        assert list(found.ids) == [i for i in ids[1:] if i != w.tokenizer.special.eos]
        assert found.text == w.tokenizer.decode(found.ids)
        log_p = likelihood(w, row, lengths, list(found.ids))
        ended = found.finish == "end"
        assert found.log_p == pytest.approx(sum(log_p if ended else log_p[:-1]), abs=1e-4)
        assert found.finish in ("end", "length") and (ended or len(found.ids) == 6)


def brute_force(
    w: Writer, row: int, lengths: list[int], words: list[int], longest: int, alpha: float
) -> list[tuple[float, tuple[int, ...]]]:
    """Score of every text: those that end within `longest` tokens, and those that are cut."""
    out = []
    for size in range(longest + 1):
        for ids in itertools.product(words, repeat=size):
            log_p = likelihood(w, row, lengths, list(ids))
            total = sum(log_p) if size < longest else sum(log_p[:-1])
            out.append((total / min(size + 1, longest) ** alpha, ids))
    return sorted(out, reverse=True)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_wide_beams_find_what_brute_force_finds(world: tuple[M6, Tokenizer], alpha: float) -> None:
    """Three words, at most four tokens: 81 beams leave nothing out."""
    pieces = [world[1].write(word)[-1] for word in ("red", "tent", "lamp")]
    w = writer(world, ids=pieces)
    lengths = [4, 2]
    decoding = Decoding(
        method="beam", beams=81, n=5, max_tokens=4, length_penalty=alpha, early=False
    )
    for row, found in enumerate(write(w, lengths, decoding)):
        expected = brute_force(w, row, lengths, pieces, 4, alpha)[:5]
        assert [text.ids for text in found] == [ids for _, ids in expected]
        assert [text.score for text in found] == pytest.approx([s for s, _ in expected], abs=1e-4)


def test_beams_are_at_least_as_likely_as_greedy_writing(world: tuple[M6, Tokenizer]) -> None:
    w = writer(world)
    settings_ = {"max_tokens": 5, "min_tokens": 5}
    greedy = write(w, [4, 2, 6], Decoding(**settings_))
    beams = write(w, [4, 2, 6], Decoding(method="beam", beams=6, **settings_))
    pairs = list(zip(greedy, beams, strict=True))
    assert all(b[0].log_p >= g[0].log_p - 1e-5 for g, b in pairs)
    assert any(b[0].log_p > g[0].log_p + 1e-3 for g, b in pairs)


DECODINGS = {
    "greedy": Decoding(max_tokens=8),
    "beam": Decoding(method="beam", beams=3, n=2, max_tokens=8),
    "sample": Decoding(method="sample", n=2, max_tokens=8, top_k=20, top_p=0.9),
    "held": Decoding(max_tokens=8, no_repeat_ngram=2, repetition_penalty=1.3, stop=("red",)),
}


@pytest.mark.parametrize("name", DECODINGS)
@pytest.mark.parametrize("plan", ["late", "full"])
def test_a_row_is_what_it_is_alone(world: tuple[M6, Tokenizer], plan: str, name: str) -> None:
    w = writer(world, plan)
    lengths = [6, 0, 3, 1, 5]
    seeds = [5, 6, 7, 8, 9]
    source, kept_MD = asked(lengths)
    together = w.write(w.read(source, kept_MD), DECODINGS[name], seeds=seeds)
    for row, length in enumerate(lengths):
        one = SourceRows(*(value[row : row + 1] for value in vars(source).values()))
        one = SourceRows(*(v[:, : length + 1] for v in list(vars(one).values())[:4]), one.read_B1)
        (alone,) = w.write(w.read(one, kept_MD), DECODINGS[name], seeds=[seeds[row]])
        assert [t.ids for t in alone] == [t.ids for t in together[row]]
        assert [t.log_p for t in alone] == pytest.approx([t.log_p for t in together[row]], abs=1e-4)


def test_seeds_say_what_is_drawn(world: tuple[M6, Tokenizer]) -> None:
    w = writer(world)
    decoding = Decoding(method="sample", max_tokens=8)
    first, same = (write(w, [4, 4], decoding, seeds=[1, 2]) for _ in range(2))
    assert first == same
    other = write(w, [4, 4], decoding, seeds=[3, 2])
    assert other[0] != first[0] and other[1] == first[1]
    more = write(w, [4, 4], decoding.model_copy(update={"n": 3}), seeds=[1, 2])
    assert [texts[0].ids for texts in more] == [texts[0].ids for texts in first]
    assert len({text.ids for text in more[0]}) == 3


def test_no_special_token_is_ever_written(world: tuple[M6, Tokenizer]) -> None:
    """Not even by a head that wants nothing else."""
    model, tokenizer = language_worlds.backbone()
    special = sorted(set(tokenizer.special.model_dump().values()) - {tokenizer.special.eos})
    with torch.no_grad():
        model.lm_head.decoder.bias = torch.nn.Parameter(torch.zeros(model.config.vocab_size))
        model.lm_head.decoder.bias[[*special, 100]] = 100.0
    w = Writer(model, tokenizer, LOWER)
    hot = Decoding(method="sample", n=20, max_tokens=20, temperature=5.0)
    ids = {i for text in write(w, [3], hot)[0] for i in text.ids}
    assert len(ids) > 50
    assert not ids & {*tokenizer.special.model_dump().values(), 100}
    with pytest.raises(ConfigError, match=r"id 100 .* can not be written"):
        Writer(model, tokenizer, LOWER, ids=[100, 101])


def test_what_is_written_can_be_written_by_the_tokenizer(world: tuple[M6, Tokenizer]) -> None:
    tokenizer = world[1]
    ids = set(tokenizer.writable_ids)
    texts = ("Red SHOE–tent, iPhone 4.5!", "naïve\n  # x", "日本 ☃")
    assert all(set(tokenizer.write(text)) <= ids for text in texts)
    assert 100 not in ids and not ids & set(tokenizer.special.model_dump().values())


# Repetition, stops, bounds


def test_no_ngram_is_written_twice(world: tuple[M6, Tokenizer]) -> None:
    w = writer(world)
    settings_ = {"max_tokens": 24, "min_tokens": 24}
    loose = write(w, [2, 5, 7], Decoding(**settings_))
    held = write(w, [2, 5, 7], Decoding(no_repeat_ngram=2, **settings_))
    beams = write(w, [2, 5], Decoding(method="beam", no_repeat_ngram=2, **settings_))

    def repeats(texts: list[list[Written]]) -> int:
        pairs = [list(itertools.pairwise(text.ids)) for row in texts for text in row]
        return sum(len(p) - len(set(p)) for p in pairs)

    assert repeats(loose) > 0
    assert repeats(held) == repeats(beams) == 0


def test_a_penalty_varies_the_words_and_leaves_log_p_that_of_the_model(
    world: tuple[M6, Tokenizer],
) -> None:
    """Markers and bytes, which the penalty leaves alone, are banned here."""
    w = writer(world)
    settings_ = {"max_tokens": 24, "min_tokens": 24, "banned": tuple(world[1].marker_ids)}
    (loose,), (held,) = (
        write(w, [5], Decoding(repetition_penalty=p, **settings_))[0] for p in (1.0, 3.0)
    )
    assert len(set(held.ids)) > len(set(loose.ids))
    assert held.log_p == pytest.approx(sum(likelihood(w, 0, [5], list(held.ids))[:-1]), abs=1e-3)


def test_banned_ids_are_not_written(world: tuple[M6, Tokenizer]) -> None:
    w = writer(world)
    first = write(w, [5], Decoding(max_tokens=1, min_tokens=1))[0][0].ids[0]
    second = write(w, [5], Decoding(max_tokens=1, min_tokens=1, banned=(first,)))[0][0].ids[0]
    assert first != second
    with pytest.raises(ConfigError, match="banned: 2 is not a token that can be banned"):
        write(w, [5], Decoding(banned=(2,)))


def scripted(text: str) -> tuple[M6, Tokenizer]:
    """A network that writes one text, whatever it reads: each token foretells the next one."""
    model, tokenizer = language_worlds.backbone()
    ids = [tokenizer.special.bos, *tokenizer.write(text), tokenizer.special.eos]
    assert len(set(ids)) == len(ids), "a token stands twice"
    V = model.config.vocab_size

    class Script(torch.nn.Module):
        dense = norm = None

        def __init__(self) -> None:
            super().__init__()
            self.decoder = torch.nn.Identity()
            self.step = 0

        def forward(self, h_BWD: Tensor) -> Tensor:
            self.step = self.step % (len(ids) - 1) + 1
            hot = F.one_hot(torch.tensor(ids[self.step]), V)
            return hot.float().expand(*h_BWD.shape[:2], V) * 20

    model.lm_head = Script()  # type: ignore[assignment]
    return model, tokenizer


def test_a_stop_string_ends_the_text_across_the_borders_of_tokens() -> None:
    text = "Red tent for the non-slip phone, good"
    assert len(language_worlds.tokenizer().write(text)) > 8
    found = write(Writer(*scripted(text), LOWER), [3], Decoding(stop=("he no", "good")))[0][0]
    assert (found.text, found.finish) == ("Red tent for t", "stop")
    found = write(Writer(*scripted(text), LOWER), [3], Decoding(stop=("goods", "phone,")))[0][0]
    assert (found.text, found.finish) == ("Red tent for the non-slip ", "stop")
    found = write(Writer(*scripted(text), LOWER), [3], Decoding(stop=("good",)))[0][0]
    assert (found.text, found.finish) == ("Red tent for the non-slip phone, ", "stop")
    found = write(Writer(*scripted(text), LOWER), [3], Decoding(stop=("goods",)))[0][0]
    assert (found.text, found.finish) == (text, "end")
    beam = Decoding(method="beam", beams=2, stop=("he no",))
    found = write(Writer(*scripted(text), LOWER), [3], beam)[0][0]
    assert (found.text, found.finish) == ("Red tent for t", "stop")


def test_a_text_is_cut_at_max_tokens_and_no_shorter_than_min_tokens() -> None:
    text = "Red tent for the phone"
    found = write(Writer(*scripted(text), LOWER), [3], Decoding(max_tokens=3))[0][0]
    assert (found.text, found.finish, len(found.ids)) == ("Red tent for", "length", 3)
    longer = Decoding(max_tokens=9, min_tokens=7)
    assert len(write(Writer(*scripted(text), LOWER), [3], longer)[0][0].ids) >= 7


@pytest.mark.parametrize("method", ["greedy", "beam"])
def test_what_is_given_is_none_of_the_fewest_tokens(method: str) -> None:
    """A network that wants to end at once."""
    model, tokenizer = language_worlds.backbone()
    with torch.no_grad():
        model.lm_head.decoder.bias = torch.nn.Parameter(torch.zeros(model.config.vocab_size))
        model.lm_head.decoder.bias[tokenizer.special.eos] = 100.0
    told = [tokenizer.write("red tent lamp"), []]
    decoding = Decoding(method=method, min_tokens=2, max_tokens=6)  # type: ignore[arg-type]
    found = write(Writer(model, tokenizer, LOWER), [4, 4], decoding, given=told)
    sizes = [len(texts[0].ids) - len(ids) for texts, ids in zip(found, told, strict=True)]
    assert sizes == [2, 2] and {texts[0].finish for texts in found} == {"end"}


@pytest.mark.parametrize("method", ["greedy", "beam"])
def test_a_text_goes_on_from_what_is_given(world: tuple[M6, Tokenizer], method: str) -> None:
    w = writer(world)
    given_ids = [w.tokenizer.write("Write the title: "), []]
    decoding = Decoding(method=method, beams=3, max_tokens=6)  # type: ignore[arg-type]
    told, free = write(w, [4, 4], decoding, given=given_ids)
    size = len(given_ids[0])
    assert list(told[0].ids[:size]) == given_ids[0]
    assert told[0].text.startswith("Write the title:")
    log_p = likelihood(w, 0, [4, 4], list(told[0].ids))[size:]
    ended = told[0].finish == "end"
    assert told[0].log_p == pytest.approx(sum(log_p if ended else log_p[:-1]), abs=1e-4)
    assert len(told[0].ids) <= size + 6
    assert free[0] == write(w, [4, 4], decoding)[1][0]
    with pytest.raises(ConfigError, match="begin with id 102"):
        write(w, [4], decoding, given=[[102]])


def test_a_finished_search_is_not_gone_on_with(world: tuple[M6, Tokenizer]) -> None:
    """One row of three ends three steps before the others."""
    w = writer(world)
    told = [w.tokenizer.write("red tent lamp")] * 2
    decoding = Decoding(method="beam", beams=3, n=3, max_tokens=4, min_tokens=1)
    short, *_ = write(w, [4, 4, 4], decoding, given=[[], *told])
    alone = write(w, [4, 4, 4], decoding)[0]
    assert [text.ids for text in short] == [text.ids for text in alone]
    assert all(len(text.ids) <= 4 for text in short)


# Streaming


def test_pieces_join_to_the_whole_text(world: tuple[M6, Tokenizer]) -> None:
    w = writer(world)
    decoding = Decoding(method="sample", n=2, max_tokens=20, stop=("x", "ab"))
    source, kept_MD = asked([4, 0, 6])
    prefix = w.read(source, kept_MD)
    whole = w.write(prefix, decoding, seeds=[1, 2, 3])
    pieces = list(w.stream(prefix, decoding, seeds=[1, 2, 3]))
    for request, texts in enumerate(whole):
        for lane, text in enumerate(texts):
            mine = [p for p in pieces if (p.request, p.lane) == (request, lane)]
            assert "".join(p.text for p in mine) == text.text
            assert [p.written for p in mine if p.written] == [text] == [mine[-1].written]
    assert len(pieces) > 12


def test_words_come_as_soon_as_they_are_certain() -> None:
    w = Writer(*scripted("Red tent for the phone"), LOWER)
    source, kept_MD = asked([2])
    pieces = list(w.stream(w.read(source, kept_MD)))
    assert [p.text for p in pieces] == ["Red", " tent", " for", " the", " phone"]


def test_a_stream_can_be_cancelled(world: tuple[M6, Tokenizer]) -> None:
    w = writer(world)
    source, kept_MD = asked([4, 5])
    stream = w.stream(w.read(source, kept_MD), Decoding(max_tokens=30, min_tokens=30))
    seen: list[Piece] = [next(stream), next(stream)]
    stream.cancel(0)
    seen += list(stream)
    first, second = ([p for p in seen if p.request == request] for request in (0, 1))
    last = first[-1].written
    assert last is not None and last.finish == "cancelled" and len(last.ids) < 30
    assert "".join(p.text for p in first) == last.text
    done = second[-1].written
    assert done is not None and done.finish == "length" and len(done.ids) == 30
    closed = w.stream(w.read(source, kept_MD))
    next(closed)
    closed.close()
    assert list(closed) == []


def test_a_vocabulary_without_markers_streams_too() -> None:
    import tiny

    w = Writer(*tiny.backbone(), 1)
    source, kept_MD = asked([3])
    prefix = w.read(source, kept_MD)
    decoding = Decoding(max_tokens=12, min_tokens=12)
    (whole,) = w.write(prefix, decoding)[0]
    assert "".join(p.text for p in w.stream(prefix, decoding)) == whole.text != ""
    assert not set(whole.ids) & set(range(7))


# Edges and errors


def test_an_empty_source_is_written_after(world: tuple[M6, Tokenizer]) -> None:
    for plan in ("late", "full"):
        found = write(writer(world, plan), [0], Decoding(max_tokens=4, min_tokens=4))
        assert len(found[0][0].ids) == 4


def test_bfloat16_writes_nearly_the_same_log_p(world: tuple[M6, Tokenizer]) -> None:
    exact, rough = writer(world), writer(world, bf16=True)
    source, kept_MD = asked([4, 2])
    told = [exact.tokenizer.write("the good red tent")] * 2
    h = [
        w._head(Cache(w.model, w.read(source, kept_MD), 1, 2, True).step(torch.tensor([[1], [1]])))
        for w in (exact, rough)
    ]
    assert (h[0].exp() - h[1].exp()).abs().max() < 0.02
    assert rough.model.read_token.dtype == torch.bfloat16
    assert exact.model.read_token.dtype == torch.float32
    assert len(write(rough, [4, 2], Decoding(max_tokens=3), given=told)) == 2


@pytest.mark.parametrize(
    ("decoding", "options", "message"),
    [
        (Decoding(max_tokens=600), {}, "600 tokens need 600 positions, the model has 512"),
        (Decoding(), {"seeds": [1]}, "seeds: 1 of them for 2 sources"),
        (Decoding(), {"given": [[], [], []]}, "given: 3 of them for 2 sources"),
    ],
)
def test_arguments_that_do_not_fit_are_named(
    world: tuple[M6, Tokenizer], decoding: Decoding, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        write(writer(world), [1, 2], decoding, **options)


def test_decodings_that_contradict_themselves_are_refused() -> None:
    wrong = (
        ({"n": 2}, "greedy writing gives one text"),
        ({"method": "beam", "n": 5}, "4 beams can not give n = 5"),
        ({"min_tokens": 65}, "exceeds max_tokens"),
        ({"stop": ("",)}, "a stop string is empty"),
        ({"temprature": 1.0}, "did you mean 'temperature'"),
        ({"top_p": 0.0}, "top_p"),
    )
    for raw, message in wrong:
        with pytest.raises(ConfigError, match=message):
            Decoding.parse(raw, "decoding")


def test_the_plan_of_the_sources_must_be_that_of_the_writer(world: tuple[M6, Tokenizer]) -> None:
    source, kept_MD = asked([3])
    late, full = writer(world), writer(world, "full")
    with pytest.raises(ConfigError, match="read under another plan"):
        full.write(late.read(source, kept_MD))
    with pytest.raises(ConfigError, match="kept_MD is missing"):
        late.read(source)
    with pytest.raises(ConfigError, match="can not stream"):
        late.stream(late.read(source, kept_MD), Decoding(method="beam"))
    empty = late.read(replace(source, **{k: v[:0] for k, v in vars(source).items()}), kept_MD)
    assert late.write(empty) == []
    assert np.all(late.words.ids[:-1] < late.words.ids[1:])
