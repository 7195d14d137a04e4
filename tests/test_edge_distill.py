"""Distillation: relations by hand, a student equal to its teacher, and a run that goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from language_worlds import backbone, documents
from m6rec.config import ConfigError
from m6rec.model.checkpoint import CheckpointError, load_backbone, save_backbone
from m6rec.model.exits import exit_weights, shallow
from m6rec.model.m6 import M6
from m6rec.model.sparse import nonzero, prunable
from m6rec.training.batches import collate_pairs, collate_writing
from m6rec.training.corpus.documents import write_corpus
from m6rec.training.edge.distill import EdgeRun, distill
from m6rec.training.edge.lesson import EdgeLesson, soft_loss, word_logits
from m6rec.training.edge.recipe import SHAPES, EdgeRecipe, edge_config, edge_recipe
from m6rec.training.edge.relations import last_inputs, parts_of, relation_loss
from m6rec.training.edge.student import begin_student, factorise
from m6rec.training.loop import TrainingError
from m6rec.training.losses import pair_losses, writing_loss, written_states
from m6rec.training.objectives import Asker
from m6rec.training.pretrain import Pace, Pretrained
from m6rec.training.start import ready_to_write
from model_worlds import bert_config, close, lively, qwen_config

QUICK: dict[str, Any] = {"tokens": 90, "pairs": 4, "warmup": 3, "rare": 1, "relation_heads": 2}
SMALL = {"d_model": 16, "d_ff": 32, "heads": 2, "kv_heads": 2, "head_dim": 8, "layers": 3}
SHAPE = {**SMALL, "table_width": 8}
QUIET = Console(quiet=True)


def writer(seed: int = 0) -> tuple[M6, Any]:
    """A tiny network that can write, as a teacher."""
    model, words = backbone(seed=seed)
    return ready_to_write(model, words, np.ones(model.config.vocab_size), seed).eval(), words


def lesson(teacher: M6, **changes: Any) -> EdgeLesson:
    return EdgeLesson(edge_recipe("m6-edge-10m", **{**QUICK, **changes}), teacher)


def batches(words: Any) -> tuple[list[Any], Any]:
    """A batch of writing under each plan, and one of pairs."""
    asker, rng = Asker(words, 0.3, 3.0), np.random.default_rng(0)
    some = documents(3)
    examples = [asker.ask("describe", d, rng) for d in some if d.kind == "item"]
    pairs = [asker.pair(d, rng) for d in some if d.kind in ("item", "behaviour")]
    plans = ("full", "late", "summary")
    return (
        [collate_writing(examples, plan, words.special) for plan in plans],
        collate_pairs(pairs, words.special),
    )


# The relation loss


def by_hand(student: np.ndarray, teacher: np.ndarray, heads: int) -> float:
    """One text, one part: mean KL over heads and tokens, in plain loops."""
    total, T = 0.0, len(student)
    for head in range(heads):
        dists = []
        for x in (student, teacher):
            own = x[:, head * x.shape[1] // heads : (head + 1) * x.shape[1] // heads]
            logits = own @ own.T / np.sqrt(own.shape[1])
            p = np.exp(logits - logits.max(1, keepdims=True))
            dists.append(p / p.sum(1, keepdims=True))
        q, p = dists
        total += float((p * np.log(p / q)).sum())
    return total / (heads * T)


def test_the_relation_loss_as_worked_by_hand() -> None:
    """Widths and lengths differ; padding neither relates nor is related to."""
    rng = np.random.default_rng(0)
    student = [[rng.normal(size=(n, 8)) for n in (5, 3)] for _ in range(3)]
    teacher = [[rng.normal(size=(n, 12)) for n in (5, 3)] for _ in range(3)]
    for heads in (1, 2, 4):
        expected = 0.0
        for part in range(3):
            each = [by_hand(student[part][b], teacher[part][b], heads) for b in range(2)]
            expected += (5 * each[0] + 3 * each[1]) / 8
        valid = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()
        found = relation_loss(padded(student), padded(teacher), valid, heads)
        assert float(found) == pytest.approx(expected, rel=1e-4)
    with pytest.raises(ValueError, match="3 relation heads do not divide a width of 8"):
        relation_loss(padded(student), padded(teacher), valid, 3)


def padded(parts: list[list[np.ndarray]]) -> list[torch.Tensor]:
    """[2, 5, width] with noise where the second text has ended."""
    out = []
    for one, other in parts:
        filler = np.full((2, one.shape[1]), 7.0)
        out.append(torch.tensor(np.stack([one, np.concatenate([other, filler])])).float())
    return out


@pytest.mark.parametrize("make", [bert_config, qwen_config])
def test_parts_are_what_the_last_layer_attends_with(make: Any) -> None:
    model = lively(make())
    ids_BT = torch.tensor([[7, 8, 9, 10]])
    position_BT = torch.arange(4)[None]
    with last_inputs(model) as seen:
        model(ids_BT, position_BT, None)
        model(ids_BT, position_BT, None)
    assert len(seen) == 2
    h_BTD = model.run(model.embed(ids_BT, position_BT), position_BT, None, range(2))
    block = model.blocks[2]
    source = block.attention_norm(h_BTD) if block.pre else h_BTD
    q, k, v = parts_of(model, seen[0])
    attention = block.attention
    assert close(q, attention.queries(source, position_BT).transpose(1, 2).flatten(2))
    assert close(v, attention.v(source))
    assert q.shape == (1, 4, attention.heads * 8) and k.shape == (1, 4, attention.kv_heads * 8)
    model(ids_BT, position_BT, None)
    assert len(seen) == 2  # nobody listens any more


def test_a_student_equal_to_its_teacher_has_no_relation_and_no_soft_loss() -> None:
    teacher, words = writer()
    same = lesson(teacher, exits="last", teaching="both", soft_share=1.0)
    writing, pairs = batches(words)
    ids = torch.arange(teacher.config.vocab_size)
    rng = np.random.default_rng(0)
    for batch in writing:
        same.writing(teacher, batch, 2, ids, torch.float32, rng)
    _, more = same.pairs(teacher, pairs, 2, None, rng)
    told = same.told()
    assert told["relation"] == pytest.approx(0, abs=1e-6)
    assert told["soft"] == pytest.approx(0, abs=1e-5)
    assert float(more) == pytest.approx(0, abs=1e-6)
    assert told["words"] > 1
    assert same.told() == {}


def test_another_student_has_both_and_its_gradient_goes_into_the_shared_layer() -> None:
    teacher, words = writer()
    config = edge_config("m6-edge-10m", teacher.config, 0.0, **SHAPE)
    student = begin_student(config, teacher, np.ones(config.vocab_size), 0)
    taught = lesson(teacher, exits="last", teaching="both")
    writing, pairs = batches(words)
    ids, rng = torch.arange(config.vocab_size), np.random.default_rng(0)
    loss = taught.writing(student, writing[1], 2, ids, torch.float32, rng)
    _, more = taught.pairs(student, pairs, 2, taught.reference(student), rng)
    told = taught.told()
    assert told["relation"] > 1e-3 and told["soft"] > 1e-3
    (loss + more).backward()
    grad = student.blocks[0].attention.q.weight.grad
    assert grad is not None and bool((grad != 0).any())
    assert all(p.grad is None for p in teacher.parameters())


def test_no_teacher_is_plain_writing_and_pairs() -> None:
    teacher, words = writer()
    student, _ = writer(seed=3)
    alone = lesson(teacher, teaching="none", exits="last")
    writing, pairs = batches(words)
    ids, rng = torch.arange(teacher.config.vocab_size), np.random.default_rng(0)
    for batch in writing:
        plain = writing_loss(student, batch, 1, ids, torch.float32)
        assert torch.equal(alone.writing(student, batch, 1, ids, torch.float32, rng), plain)
    losses, more = alone.pairs(student, pairs, 1, None, rng)
    assert torch.equal(losses.read, pair_losses(student, pairs, 1).read)
    assert more == 0.0 and alone.reference(student) is None


def test_soft_loss_as_worked_by_hand() -> None:
    """Teacher (.8, .2), student (.5, .5) at T = 1: .8·ln(.8/.5) + .2·ln(.2/.5)."""
    taught = torch.tensor([[np.log(0.8), np.log(0.2)]])
    zero = torch.zeros(1, 2, dtype=torch.float64)
    expected = 0.8 * np.log(1.6) + 0.2 * np.log(0.4)
    assert float(soft_loss(zero, taught, 1.0)) == pytest.approx(expected)
    softer = torch.tensor([[2 / 3, 1 / 3]])  # √.8 : √.2
    expected = 4 * float((softer * (softer * 2).log()).sum())
    assert float(soft_loss(zero, taught, 2.0)) == pytest.approx(expected, rel=1e-5)


def test_logits_of_some_words_are_those_of_the_head() -> None:
    teacher, words = writer()
    batch = batches(words)[0][0]
    h_ND = written_states(teacher, batch, 2)
    some = torch.tensor([5, 9, 200])
    found = word_logits(teacher, h_ND, some, torch.float32)
    assert close(found, teacher.lm_head(h_ND)[:, some])


# Exits


def test_all_exits_are_the_weighted_sum_and_drawn_ones_have_it_as_their_mean() -> None:
    teacher, words = writer()
    student, _ = writer(seed=3)
    batch = batches(words)[0][1]
    ids, low = torch.arange(teacher.config.vocab_size), torch.float32
    student.requires_grad_(False)
    each = [writing_loss(shallow(student, k), batch, max(k - 2, 0), ids, low) for k in (1, 2, 3)]
    expected = sum(w * float(loss) for w, loss in zip(exit_weights(3), each, strict=True))
    assert len({round(float(loss), 2) for loss in each}) == 3
    rng = np.random.default_rng(0)
    whole = lesson(teacher, teaching="none", exits="all")
    assert float(whole.writing(student, batch, 1, ids, low, rng)) == pytest.approx(expected)
    drawn = lesson(teacher, teaching="none", exits="drawn")
    found = [float(drawn.writing(student, batch, 1, ids, low, rng)) for _ in range(120)]
    counts = [sum(abs(f - float(one)) < 1e-3 for f in found) for one in each]
    assert sum(counts) == 120
    assert counts == pytest.approx([20, 40, 60], abs=16)


# The beginning


def test_a_factorised_table_is_exact_for_rank_and_weighs_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    low = torch.randn(30, 4, generator=generator)
    exact = low @ torch.randn(4, 10, generator=generator) + torch.randn(10, generator=generator)
    weight = torch.rand(30, generator=generator)
    a, b, mean = factorise(exact, weight, 4)
    assert close(a @ b.T + mean, exact, 1e-4)
    assert close(b.T @ b, torch.eye(4), 1e-4)
    table = torch.randn(30, 10, generator=generator)
    heavy = torch.full((30,), 1e-3)
    heavy[:5] = 1
    errors = []
    for weights in (heavy, torch.ones(30)):
        a, b, mean = factorise(table, weights, 4)
        errors.append(float((a @ b.T + mean - table)[:5].pow(2).sum()))
    assert errors[0] < 0.05 * errors[1]


def test_a_student_of_its_teachers_shape_begins_as_it() -> None:
    teacher, words = writer()
    shape = {**SMALL, "layer_sets": 3, "table_width": None}
    config = edge_config("m6-edge-10m", teacher.config, 0.0, **shape)
    student = begin_student(config, teacher, np.ones(config.vocab_size), 0)
    batch = batches(words)[0][0]
    assert close(written_states(student, batch, 2), written_states(teacher, batch, 2))
    apart = begin_student(config, teacher, np.ones(config.vocab_size), 0, copied=False)
    assert not close(written_states(apart, batch, 2), written_states(teacher, batch, 2), 1e-2)


def test_shared_layers_begin_as_the_last_each_adding_its_share() -> None:
    teacher, _ = writer()
    config = edge_config("m6-edge-10m", teacher.config, 0.0, **{**SHAPE, "d_ff": 96})
    student = begin_student(config, teacher, np.ones(config.vocab_size), 0)
    x_BTD = torch.randn(2, 3, 16)
    mean = torch.stack([block.ffn(x_BTD) for block in teacher.blocks]).mean(0)
    assert close(student.blocks[0].ffn(x_BTD), mean / 3)  # FFNs side by side, a third in each layer
    own, last = student.blocks[2].attention, teacher.blocks[2].attention
    assert torch.equal(own.q.weight, last.q.weight)
    assert close(own.out(x_BTD), last.out(x_BTD) / 3)


def test_a_narrower_ffn_begins_as_the_strongest_neurons() -> None:
    teacher, _ = writer()
    strong = [3, 5, 8, 13]
    ffn = teacher.blocks[2].ffn
    with torch.no_grad():
        weak = torch.ones(ffn.up.out_features, dtype=torch.bool)
        weak[strong] = False
        ffn.down.weight[:, weak] = 0  # what they would write is nothing, so nothing is lost
    config = edge_config("m6-edge-2m", teacher.config, 0.0, **{**SHAPE, "d_ff": 4})
    student = begin_student(config, teacher, np.ones(config.vocab_size), 0)
    x_BTD = torch.randn(2, 3, 16)
    assert close(student.blocks[0].ffn(x_BTD), ffn(x_BTD) / 3)
    assert torch.equal(student.blocks[0].ffn.up.weight, ffn.up.weight[strong])


def test_a_student_of_another_width_begins_with_the_teachers_words() -> None:
    teacher, _ = writer()
    wide = {"d_model": 24, "heads": 3, "kv_heads": 3, "head_dim": 8, "d_ff": 48, "layers": 2}
    config = edge_config("m6-edge-10m", teacher.config, 0.0, **wide, table_width=12)
    student = begin_student(config, teacher, np.ones(config.vocab_size), 0)
    a = torch.nn.functional.normalize(student.tokens(torch.arange(200)) - student.tokens.up.bias)
    mean = teacher.tokens.weight.mean(0)
    b = torch.nn.functional.normalize(teacher.tokens(torch.arange(200)) - mean)
    assert np.corrcoef((a @ a.T).flatten().detach(), (b @ b.T).flatten().detach())[0, 1] > 0.8


def test_sizes_of_the_dial() -> None:
    """Of m6-small's words: parameters, and what is not zero after pruning."""
    teacher = bert_config(vocab_size=30522, max_positions=512, segment_slots=72, projection=128)
    wanted = {"m6-edge-10m": (9.5e6, 10.5e6), "m6-edge-2m": (1e6, 2.2e6)}
    for size, (least, most) in wanted.items():
        config = edge_config(size, teacher, SHAPES[size]["sparsity"])
        model = M6(config)
        total = sum(p.numel() for p in model.parameters())
        gone = sum(int(config.sparsity * p.numel()) for p in prunable(model).values())
        assert least <= total - gone <= most, (size, total, gone)
        assert config.layer_sets == 1 and config.table_width == 128


# Runs


@pytest.fixture
def world(tmp_path: Path) -> Path:
    write_corpus(tmp_path / "corpus", documents(8), {"sources": {}})
    teacher, words = writer()
    save_backbone(teacher, words, tmp_path / "teacher")
    return tmp_path


def go(world: Path, name: str, steps: int, start: str | None = None, **recipe: Any) -> Pretrained:
    given = {**QUICK, **recipe}
    run = EdgeRun("m6-edge-2m", str(world / "teacher"), start, given, SHAPE)
    pace = Pace(save=1e9, check=1e9)
    corpus = world / "corpus"
    return distill(run, corpus, world / name, max_steps=steps, pace=pace, console=QUIET)


PRUNED = {"prune_steps": 6, "prune_from": 0.1, "prune_until": 0.9, "prune_every": 1}


@pytest.mark.parametrize("teaching", ["relation", "both"])
def test_killed_and_resumed_equals_never_killed(world: Path, teaching: str) -> None:
    whole = go(world, "whole", 6, teaching=teaching, **PRUNED)
    go(world, "part", 4, teaching=teaching, **PRUNED)
    again = go(world, "part", 6, teaching=teaching, **PRUNED)
    one, other = (load_file(done.checkpoint / "model.safetensors") for done in (whole, again))
    assert set(one) == set(other)
    assert all(torch.equal(one[name], other[name]) for name in one)
    state = [load_file(world / name / "state" / "state.safetensors") for name in ("whole", "part")]
    assert any(name.startswith("kept.") for name in state[0])  # the masks
    state[0].pop("random")  # nobody draws from it
    assert all(torch.equal(tensor, state[1][name]) for name, tensor in state[0].items())


def test_a_run_prunes_to_the_weight_and_its_checkpoint_says_so(world: Path) -> None:
    done = go(world, "run", 8, **PRUNED)
    model, _ = load_backbone(done.checkpoint)
    assert model.config.sparsity == 0.8 and model.config.layer_sets == 1
    for name, weight in prunable(model).items():
        assert int((weight == 0).sum()) == int(0.8 * weight.numel()), name
    assert nonzero(model) < 0.45 * sum(p.numel() for p in model.parameters())
    again = go(world, "again", 3, start=str(done.checkpoint), sparsity=0.9, **PRUNED)
    deeper, _ = load_backbone(again.checkpoint)
    assert deeper.config.sparsity == 0.9


def test_a_run_goes_on_only_as_it_began(world: Path) -> None:
    go(world, "run", 1, **PRUNED)
    with pytest.raises(CheckpointError, match=r"other settings \(teaching"):
        go(world, "run", 2, teaching="logits", **PRUNED)
    other, words = writer(seed=5)
    save_backbone(other, words, world / "teacher")
    with pytest.raises(TrainingError, match="began with"):
        go(world, "run", 2, **PRUNED)


def test_what_can_not_be_run_is_said(world: Path) -> None:
    with pytest.raises(TrainingError, match="give minutes, or prune_steps, or sparsity=0"):
        go(world, "run", 1)
    with pytest.raises(ConfigError, match="did you mean 'relation_heads'"):
        go(world, "run", 1, relation_head=3)
    model, words = backbone()
    save_backbone(model, words, world / "teacher")
    with pytest.raises(TrainingError, match="never trained to write"):
        go(world, "run", 1, teaching="logits", **PRUNED)
    with pytest.raises(ValueError, match="prune_from must be below"):
        EdgeRecipe(jobs={"infill": 1.0}, prune_from=0.5, prune_until=0.5)


def test_a_student_learns_its_teachers_relations_and_its_words(world: Path) -> None:
    go(world, "run", 40, sparsity=0.0, exits="last", rate=3e-3)
    lines = (world / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    first, last = (json.loads(line) for line in lines)
    assert (first["step"], last["step"]) == (20, 40)
    for name in ("relation", "words", "anchor"):
        assert last[name] < 0.98 * first[name], name
