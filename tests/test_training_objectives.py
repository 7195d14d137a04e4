"""What pretraining asks, how it is laid out, and that its losses are what they say."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from language_worlds import SPECIAL, backbone, documents, tokenizer
from m6rec.model import plans
from m6rec.model.plans import FIRST_EVENT_SLOT, SLOTS, SegmentStates
from m6rec.training.batches import ReadPlan, collate_pairs, collate_writing, to_device
from m6rec.training.corpus.documents import Corpus, Document
from m6rec.training.cross_entropy import cross_entropy_sum
from m6rec.training.draws import Draws, alike
from m6rec.training.losses import (
    contrast,
    pair_losses,
    plain_means,
    writing_loss,
    written_states,
)
from m6rec.training.objectives import (
    JOBS,
    Asker,
    Example,
    Job,
    Pair,
    draw_spans,
    fits,
    pairs_up,
)
from m6rec.training.recipe import m6_small

WORDS = tokenizer()
ASKER = Asker(WORDS, infill_share=0.3, span=3.0)
DOCUMENTS = documents()
PLANS: tuple[ReadPlan, ...] = ("full", "late", "summary")


def of_kind(kind: str) -> Document:
    return next(d for d in DOCUMENTS if d.kind == kind)


def examples(job: Job, count: int = 3) -> list[Example]:
    rng = np.random.default_rng(1)
    return [ASKER.ask(job, d, rng) for d in DOCUMENTS if fits(job, d)][:count]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("job", JOBS)
def test_every_job_has_a_document_and_a_target(job: Job) -> None:
    for example in examples(job):
        assert example.target
        assert example.target_bytes > 0


def test_a_description_is_written_from_the_title() -> None:
    document = of_kind("item")
    example = ASKER.ask("describe", document, rng())
    assert WORDS.decode(example.target) == document.part("description")
    assert [slot for slot, _ in example.source] == [SLOTS["context"], SLOTS["item"]]
    assert list(example.source[1][1]) == WORDS.encode("Red Shoe 0 (Shoe)", 99)


def test_a_conversation_goes_on_to_its_end() -> None:
    document = of_kind("dialogue")
    seen = set()
    for seed in range(20):
        example = ASKER.ask("converse", document, rng(seed))
        turns = WORDS.decode(example.target).split("\n")
        place = len(document.parts) - len(turns)
        assert tuple(turns) == document.parts[place:]
        assert document.roles[place] == "system"
        before = range(max(0, place - 2), place)
        told = [f"{document.roles[i]}: {document.parts[i]}" for i in before]
        assert [list(ids) for _, ids in example.source[1:]] == [WORDS.encode(t, 48) for t in told]
        seen.add(place)
    assert seen == {1, 3}


def test_the_next_event_is_written_after_its_history() -> None:
    document = of_kind("behaviour")
    for seed in range(20):
        example = ASKER.ask("next", document, rng(seed))
        verb, _, title = WORDS.decode(example.target).partition(": ")
        place = document.parts.index(title)
        ages = [slot - FIRST_EVENT_SLOT for slot, _ in example.source]
        assert ages == list(range(len(ages) - 1, -1, -1))
        told = [WORDS.encode(f"{verb}: {t}", 32) for t in document.parts[:place]]
        assert [list(ids) for _, ids in example.source] == told[len(told) - len(ages) :]


def test_gaps_and_what_fills_them_make_the_text_again() -> None:
    document = Document("s", "review", "k", ("review",), ("red tent for the blue lamp of green",))
    for seed in range(20):
        example = ASKER.ask("infill", document, rng(seed))
        read = list(example.source[1][1])
        spans: list[list[int]] = [[]]
        for number in example.target:
            spans.append([]) if number == SPECIAL.mask else spans[-1].append(number)
        assert read.count(SPECIAL.mask) == len(spans)
        filled = []
        for number in read:
            text = WORDS.decode(spans.pop(0)) if number == SPECIAL.mask else ""
            filled += WORDS.encode(text, 99) if text else [number]
        assert filled == WORDS.encode(document.text, 99)


def test_spans_are_poisson_and_cover_their_share() -> None:
    lengths, covered = [], 0
    for seed in range(400):
        spans = draw_spans(60, 0.3, 3.0, rng(seed))
        lengths += [b - a for a, b in spans]
        covered += sum(b - a for a, b in spans)
        assert all(b < c for (_, b), (c, _) in itertools.pairwise(spans))
    assert covered / (400 * 60) == pytest.approx(0.3, abs=0.01)
    # Poisson(3), at least 1, and the last span of a text is cut short.
    assert 2.6 < np.mean(lengths) < 3.2


def test_the_fused_loss_equals_cross_entropy_with_its_gradients() -> None:
    torch.manual_seed(0)
    leaves = [torch.randn(1500, 8), torch.randn(40, 8), torch.randn(40)]
    label = torch.randint(40, (1500,))
    ours = [leaf.clone().requires_grad_() for leaf in leaves]
    theirs = [leaf.clone().requires_grad_() for leaf in leaves]
    a = cross_entropy_sum(*ours, label, torch.float32) / 7
    b = F.cross_entropy(theirs[0] @ theirs[1].T + theirs[2], label, reduction="sum") / 7
    a.backward()
    b.backward()
    assert a.item() == pytest.approx(b.item(), rel=1e-5)
    for x, y in zip(ours, theirs, strict=True):
        torch.testing.assert_close(x.grad, y.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("plan", PLANS)
def test_a_row_never_sees_its_own_label_nor_what_follows(plan: ReadPlan) -> None:
    model, _ = backbone()
    example = examples("next", 1)[0]
    changed = Example(example.source, (*example.target[:3], 140, 141), 1)
    batches = [collate_writing([e], plan, SPECIAL) for e in (example, changed)]
    with torch.no_grad():
        a, b = (written_states(model, batch, 2) for batch in batches)
    torch.testing.assert_close(a[:4], b[:4])
    assert not torch.allclose(a[4], b[4], atol=1e-3)


@pytest.mark.parametrize("plan", PLANS)
def test_states_do_not_depend_on_what_else_is_in_the_batch(plan: ReadPlan) -> None:
    model, _ = backbone()
    some = [*examples("describe", 2), *examples("reply", 2), *examples("next", 2)]
    with torch.no_grad():
        together = written_states(model, collate_writing(some, plan, SPECIAL), 2)
        alone = [written_states(model, collate_writing([e], plan, SPECIAL), 2) for e in some]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_plans_differ_and_the_full_plan_sees_across_segments() -> None:
    model, _ = backbone()
    some = examples("explain", 2)
    with torch.no_grad():
        states = [written_states(model, collate_writing(some, p, SPECIAL), 2) for p in PLANS]
    assert not torch.allclose(states[0], states[1], atol=1e-3)
    assert not torch.allclose(states[1], states[2], atol=1e-3)


def test_the_loss_over_competing_words_is_the_softmax_among_them() -> None:
    model, _ = backbone()
    batch = collate_writing(examples("headline", 2), "late", SPECIAL)
    words = torch.unique(batch.label_BT[batch.label_BT >= 0])
    with torch.no_grad():
        h = written_states(model, batch, 2)
        logits = model.lm_head(h)[:, words]
        label = torch.searchsorted(words, batch.label_BT[batch.label_BT >= 0])
        expected = F.cross_entropy(logits, label, reduction="sum").item()
        found = writing_loss(model, batch, 2, words, torch.float32).item()
        every = writing_loss(model, batch, 2, None, torch.float32).item()
    assert found == pytest.approx(expected, rel=1e-5)
    assert every > found


def test_contrast_by_hand() -> None:
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    found = contrast(x, x, torch.tensor([0, 1]), torch.tensor(2.0))
    assert found.item() == pytest.approx(math.log(1 + math.exp(-2)), rel=1e-5)
    same = contrast(x, x, torch.tensor([5, 5]), torch.tensor(2.0))
    assert same.item() == pytest.approx(0.0, abs=1e-6)


def test_pairs_are_read_as_retrieval_reads_them() -> None:
    model, _ = backbone()
    pairs = [ASKER.pair(d, rng(3)) for d in DOCUMENTS if d.kind == "behaviour"][:3]
    batch = collate_pairs(pairs, SPECIAL)
    with torch.no_grad():
        found = pair_losses(model, batch, 2, plain_means(model, batch))
        users, items = [], []
        for pair in pairs:
            means = [state(model, ids) for _, ids in pair.source]
            weight = [0.5**age for age in range(len(means) - 1, -1, -1)]
            users.append(sum(w * m for w, m in zip(weight, means, strict=True)) / sum(weight))
            items.append(state(model, pair.item))
        scale = torch.tensor(20.0)
        expected = contrast(torch.stack(users), torch.stack(items), batch.item_B, scale)
    assert found.plain.item() == pytest.approx(expected.item(), rel=2e-3)
    assert math.isfinite(found.read.item())
    assert found.anchor.item() == pytest.approx(0.0, abs=1e-3)
    turned = pair_losses(model, batch, 2, -plain_means(model, batch))
    assert turned.anchor.item() == pytest.approx(2.0, abs=1e-3)


def state(model: torch.nn.Module, ids: tuple[int, ...]) -> torch.Tensor:
    row = torch.tensor([[SPECIAL.bos_source, *ids, SPECIAL.eos_source]])
    tokens = plans.SegmentTokens(row, torch.ones_like(row, dtype=torch.bool))
    states: SegmentStates = plans.encode_segments(model, tokens, 3)  # type: ignore[arg-type]
    return states.h_SKD[0].mean(0)


def tensors_in(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    inner = value if isinstance(value, tuple) else vars(value).values()
    return [t for one in inner if not isinstance(one, str | int) for t in tensors_in(one)]


def test_a_batch_moves_to_a_device_with_every_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [ASKER.pair(d, rng(3)) for d in DOCUMENTS if d.kind == "behaviour"][:3]
    writing = collate_writing(examples("reply", 2), "late", SPECIAL)
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, device: tensor.clone())
    for batch in (writing, collate_pairs(pairs, SPECIAL)):
        there = to_device(batch, torch.device("cuda"))
        stayed, moved = tensors_in(batch), tensors_in(there)
        assert len(moved) > 8
        for one, other in zip(stayed, moved, strict=True):
            assert one is not other and torch.equal(one, other)
        assert there.tokens == batch.tokens


def test_two_texts_of_a_document_pair_up() -> None:
    assert all(pairs_up(d) for d in DOCUMENTS if d.kind != "dialogue")
    pair = ASKER.pair(of_kind("item"), rng())
    assert list(pair.source[0][1]) == WORDS.encode("Red Shoe 0", 32)
    assert list(pair.item) == WORDS.encode(of_kind("item").part("description"), 96)


def test_draws_are_a_function_of_seed_and_step() -> None:
    recipe = m6_small().model_copy(update={"tokens": 200, "pairs": 4})
    corpus = Corpus(tuple(DOCUMENTS), (), {"fingerprint": "x"})
    first, again = (Draws(corpus, Asker(WORDS, 0.3, 3.0), recipe) for _ in range(2))
    forward = [(first.examples(s, 1), first.pairs(s)) for s in range(20)]
    backward = [(again.examples(s, 1), again.pairs(s)) for s in reversed(range(20))]
    assert forward == backward[::-1]
    sizes = [sum(e.tokens for e in some) for some, _ in forward]
    assert 100 < np.mean(sizes) < 400


def of_lengths(read: int, written: int) -> Example:
    return Example(((1, (1,) * read),), (1,) * written, written)


def test_batches_hold_like_lengths_and_lose_nothing() -> None:
    draw = np.random.default_rng(0)
    lengths = [(int(a), int(b)) for a, b in draw.integers(1, 128, (1600, 2))]
    some = [of_lengths(*pair) for pair in lengths]
    batches = alike(some, 32)
    laid = [(len(e.source[0][1]), len(e.target)) for batch in batches for e in batch]
    assert sorted(laid) == sorted(lengths)
    sizes = [sum(e.tokens for e in batch) for batch in batches]
    assert max(sizes) <= sum(sizes) / 32 + 5 * 260  # a text more or less at each of five cuts

    def padded(batch: list[Example]) -> int:
        longest = max(len(e.source[0][1]) for e in batch) + max(len(e.target) for e in batch)
        return len(batch) * longest

    by_sum = sorted(some, key=lambda e: e.tokens)
    consecutive = [by_sum[i : i + 50] for i in range(0, 1600, 50)]
    real = sum(e.tokens - 4 for e in some)
    assert sum(map(padded, batches)) < 1.3 * real < sum(map(padded, consecutive))


def test_lengths_of_either_side_alone_are_told_apart() -> None:
    short, long = of_lengths(5, 50), of_lengths(60, 5)
    first, second = alike([short, long, short, long], 2)
    assert [first, second] in ([[short] * 2, [long] * 2], [[long] * 2, [short] * 2])
    assert sorted(map(len, alike([short, long], 2))) == [1, 1]


def test_the_summary_plan_is_never_asked_to_fill_gaps(tmp_path: Path) -> None:
    recipe = m6_small().model_copy(update={"tokens": 400})
    corpus = Corpus(tuple(DOCUMENTS), (), {"fingerprint": "x"})
    draws = Draws(corpus, ASKER, recipe)
    mask = SPECIAL.mask
    for part, plan in enumerate(recipe.plans):
        masked = [
            any(mask in ids for _, ids in e.source)
            for step in range(8)
            for e in draws.examples(step, part)
        ]
        assert any(masked) == (plan != "summary")


def test_the_pairs_of_a_step_come_from_one_kind_and_source(monkeypatch: Any) -> None:
    documents = tuple(
        replace(document, source=f"{document.source}-{half}")
        for document in DOCUMENTS
        for half in ("a", "b")
    )
    draws = Draws(Corpus(documents, (), {}), ASKER, m6_small())
    seen: list[tuple[str, str]] = []
    pair = ASKER.pair

    def watched(document: Document, rng: np.random.Generator) -> Pair:
        seen.append((document.kind, document.source))
        return pair(document, rng)

    monkeypatch.setattr(ASKER, "pair", watched)
    steps = []
    for step in range(20):
        seen.clear()
        draws.pairs(step)
        assert len(seen) == m6_small().pairs
        assert len(set(seen)) == 1
        steps.append(seen[0])
    assert len(set(steps)) > 3


def test_some_events_are_foretold_without_a_history() -> None:
    examples = [ASKER.ask("next", of_kind("behaviour"), rng(seed)) for seed in range(200)]
    alone = sum(not example.source for example in examples)
    assert 8 <= alone <= 35
    batch = collate_writing([e for e in examples if not e.source][:2], "late", SPECIAL)
    assert batch.source.index_BR.shape[1] == 1
