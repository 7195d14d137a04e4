"""What people chose next, in a bundle: the file, the score on a device, and the score in numpy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

pytest.importorskip("onnx", reason="bundles need the extra edge")
pytest.importorskip("onnxruntime", reason="bundles need the extra edge")

from rich.console import Console
from typer.testing import CliRunner

import tiny
from m6rec.cli import app
from m6rec.collaborative.head import (
    COUNTS_ALONE,
    SIMILARITY_ALONE,
    Features,
    Head,
    Logit,
    chosen_feature,
    popularity_feature,
    repeat_features,
    similarity_feature,
)
from m6rec.collaborative.score import CollaborativeScore, fit_score
from m6rec.collaborative.sequences import Histories
from m6rec.collaborative.settings import ScoreSettings
from m6rec.data.requests import Requests
from m6rec.edge.agreement import agreement
from m6rec.edge.bundle import EdgeBundle
from m6rec.edge.export import EdgeSettings, Source, export_bundle
from m6rec.edge.export_transitions import (
    Log,
    Shipped,
    drawn_histories,
    in_numpy,
    on_device,
    same_ten,
    shipped,
    whole_score,
)
from m6rec.edge.graph import EdgeError
from m6rec.edge.manifest import FILES, check, compressed
from m6rec.edge.parity import Drawing
from m6rec.edge.personal import Personal
from m6rec.edge.transitions import (
    TRANSITIONS,
    NextChoice,
    Transitions,
    levels_of,
    packed_numbers,
    unpacked_numbers,
    weights_of,
)
from m6rec.model.int8 import rounded
from m6rec.records import Event, Request
from test_edge_export import edge_rec, source_of

ITEMS, WIDTH = 120, 12
SCORING = ScoreSettings(shrinkage=5, prior=20)


def some_log(seed: int = 0, people: int = 200) -> Log:
    """People whose choices run through a catalogue in steps of one to five."""
    draw = np.random.default_rng(seed)
    rows = []
    for person in range(people):
        place = int(draw.integers(ITEMS))
        for day in range(8):
            rows.append((f"p{person}", f"i{place}", "purchase", float(day)))
            place = (place + int(draw.integers(0, 6))) % ITEMS
    names = ("user_id", "item_id", "event", "timestamp")
    events = pl.DataFrame(rows, schema=names, orient="row")
    return Log(events, [f"i{place}" for place in range(ITEMS)], SCORING)


def some_vectors(seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Int8 and scale; directions of unlike size around a mean, one text twice."""
    draw = np.random.default_rng(seed)
    v_IK = draw.standard_normal((ITEMS, WIDTH)) * np.linspace(0.2, 2, WIDTH) + 1
    v_IK[7] = v_IK[50]
    v_IK /= np.linalg.norm(v_IK, axis=1, keepdims=True)
    int8_IK, scale_I = rounded(torch.tensor(v_IK, dtype=torch.float32))
    return int8_IK.numpy(), scale_I.numpy()


def read(made: Shipped, vectors_IK: np.ndarray, scale_I: np.ndarray) -> NextChoice:
    """By way of the bytes of the file."""
    numbers = Transitions.unpack(made.numbers.pack(), made.config, *vectors_IK.shape)
    return NextChoice(made.config, numbers, vectors_IK, scale_I)


def test_numbers_are_packed_in_seven_bits() -> None:
    assert packed_numbers(np.array([0, 127, 128, 300, 1 << 27])) == bytes(
        [0, 127, 128, 1, 172, 2, 128, 128, 128, 64]
    )
    draw = np.random.default_rng(0)
    for most in (1, 200, 1 << 14, 1 << 28):
        number_N = draw.integers(0, most, 300)
        assert np.array_equal(unpacked_numbers(packed_numbers(number_N)), number_N)
    assert not len(unpacked_numbers(packed_numbers(np.zeros(0, np.int64))))


def test_the_file_gives_back_its_rows_those_without_pairs_too() -> None:
    numbers = Transitions(
        norm_I=np.array([1.5, 0, 7, 0], np.float32),
        key_I=np.arange(4, dtype=np.float32),
        popularity_I=np.arange(4, 8, dtype=np.float32),
        mean_K=np.array([0.5, -1, 2], np.float32),
        turn_DK=np.arange(6, dtype=np.float32).reshape(2, 3),
        m_D=np.array([3, 4], np.float32),
        start=np.array([0, 2, 2, 5, 5]),
        later_W=np.array([0, 3, 0, 1, 2]),
        level_W=np.array([0, 255, 9, 8, 7], np.uint8),
    )
    config = shipped(some_log(), *some_vectors(), 3).config
    config = config.model_copy(update={"pairs": 5, "directions": 2})
    body = numbers.pack()
    found = Transitions.unpack(body, config, 4, 3)
    for name in Transitions.__dataclass_fields__:
        assert np.array_equal(getattr(found, name), getattr(numbers, name)), name
    assert len(body) == 4 * (4 + 4 + 4 + 3 + 6 + 2) + 2 * 4 + 5 + 5
    for wrong in (body[:-1], body + b"\0", body[:20]):
        with pytest.raises(EdgeError, match=r"transitions\.bin"):
            Transitions.unpack(wrong, config, 4, 3)


def test_a_weight_is_off_by_half_a_step_at_most() -> None:
    weight_W = np.array([1, 0.5, 2**-9, 3.25, 4096, 0.5])
    level_W, low, step = levels_of(weight_W)
    assert (low, step) == (-9, 21 / 255) and level_W[1] == level_W[5]
    off_W = np.log2(weights_of(level_W, low, step)) - np.log2(weight_W)
    assert np.abs(off_W).max() <= step / 2 and 2 ** (step / 2) < 1.03
    level_W, low, step = levels_of(np.array([2.0, 2.0]))  # one weight is met exactly
    assert weights_of(level_W, low, step).tolist() == [2, 2]


def test_a_device_finds_the_ten_of_the_score_in_numpy() -> None:
    log, (vectors_IK, scale_I) = some_log(), some_vectors()
    made = shipped(log, vectors_IK, scale_I, 6)
    histories = drawn_histories(log.choices, Drawing(1000, 12))
    assert max(map(len, histories)) == 12 and min(map(len, histories)) == 1
    device, numpy = on_device(read(made, vectors_IK, scale_I)), in_numpy(made.score)
    assert same_ten(device, numpy, histories).order >= 0.995
    for history in ([3], [5, 5, 9, 5], [7, 50], [0, 119, 1]):  # repeats, and one text twice
        assert np.allclose(device(history), numpy(history), rtol=1e-4, atol=1e-6)
    other = shipped(some_log(seed=5), vectors_IK, scale_I, 6)
    assert same_ten(device, in_numpy(other.score), histories).order < 0.2


def test_only_the_strongest_pairs_are_kept_and_norms_count_all() -> None:
    log, (vectors_IK, scale_I) = some_log(), some_vectors()
    few, all_pairs = (shipped(log, vectors_IK, scale_I, best).numbers for best in (2, 1000))
    assert np.diff(few.start).max() == 3 < np.diff(all_pairs.start).max()  # two, and the item's own
    assert np.array_equal(few.norm_I, all_pairs.norm_I) and few.norm_I.any()
    exact = log.matrix(1000)
    for item in range(ITEMS):
        later, weight = exact.row(item)
        row = few.later_W[few.start[item] : few.start[item + 1]]
        others = weight[later != item]
        kept = weight[np.isin(later, row) & (later != item)]
        assert set(kept) == set(np.sort(others)[::-1][:2])


def test_a_free_text_speaks_by_its_vector() -> None:
    log, (vectors_IK, scale_I) = some_log(), some_vectors()
    made = shipped(log, vectors_IK, scale_I, 6)
    device = read(made, vectors_IK, scale_I)
    v_IK = vectors_IK * scale_I[:, None].astype(np.float64)
    told_K = v_IK[4] * 0.5 + v_IK[90] * 0.5
    found = device.scores(device.entries([3, None], np.stack([v_IK[3], told_K])))
    score = CollaborativeScore(
        SCORING,
        {},
        made.score.transitions,
        made.score.prior,
        made.score.g_ID,
        lambda texts: told_K[None].astype(np.float32),
    )
    history = (Event("purchase", "i3"), Event("search", None, text="a wish"))
    codes = {name: code for code, name in enumerate(log.item_ids)}
    entries = Histories.of(Requests.of([Request(history)]), codes, SCORING.recency_decay)
    assert np.allclose(found, score(entries)[0], rtol=1e-4, atol=1e-6)


def test_shares_add_up_to_the_score() -> None:
    log, (vectors_IK, scale_I) = some_log(), some_vectors()
    device = read(shipped(log, vectors_IK, scale_I, 6), vectors_IK, scale_I)
    history = [3, 8, 8, 20]
    told = device.entries(history, vectors_IK[history] * scale_I[history, None].astype(np.float64))
    share_NA = device.shares(told, np.array([4, 8, 25]))
    assert np.allclose(share_NA.sum(0), device.scores(told)[[4, 8, 25]])
    assert share_NA[:, 2].argmax() == 3  # people go on by five at most: from 20 to 25


def test_texts_that_are_all_the_same_leave_the_counts() -> None:
    log = some_log()
    vectors_IK = np.full((ITEMS, WIDTH), 127, np.int8)
    scale_I = np.full(ITEMS, 12**-0.5 / 127, np.float32)
    device = on_device(read(shipped(log, vectors_IK, scale_I, 6), vectors_IK, scale_I))
    score_I = device([3])
    later, _ = log.matrix(6).row(3)
    assert set(np.flatnonzero(np.abs(score_I) > 1e-6)) == set(later.tolist())


def test_items_that_only_the_log_names_lie_between_others() -> None:
    whole, (vectors_IK, scale_I) = some_log(), some_vectors()
    kept = [item_id for item_id in whole.item_ids if not item_id.endswith("7")]
    log = replace(whole, item_ids=kept)
    f_ID = (vectors_IK * scale_I[:, None]).astype(np.float32)[: len(kept)]
    score = fit_score(log.events, kept, f_ID, _no_embedding, SCORING)
    matrix = log.matrix(SCORING.best_per_item)
    assert np.allclose(matrix.norm_I, score.transitions.norm_I[: len(kept)])
    for item in range(len(kept)):
        later, weight = score.transitions.row(item)
        others = (later < len(kept)) & (later != item)
        found, found_weight = matrix.row(item)
        assert found[found != item].tolist() == later[others].tolist()
        assert np.allclose(found_weight[found != item], weight[others])
        history = Histories(np.zeros(1, np.int64), np.array([item]), np.ones(1), [None], 1)
        own = found_weight[found == item].sum() / (matrix.norm_I[item] + SCORING.shrinkage)
        assert own == pytest.approx(score.again(history)[0], rel=1e-6)
    assert log.choices.max() < len(kept)


def _no_embedding(texts: Sequence[str]) -> np.ndarray:
    raise AssertionError("nothing is embedded")


def test_a_head_joins_as_in_numpy() -> None:
    log, (vectors_IK, scale_I) = some_log(), some_vectors()
    choices = Logit(chosen=1.2, similarity=0.7, popularity=0.3, repeated=-0.5, last=-0.9, new=0.4)
    head = Head(choices=choices, share=0.6, emphasis=0.2, boost=0.3)
    log = replace(log, events=log.events.filter(pl.col("item_id") != "i11"), head=head)
    made = shipped(log, vectors_IK, scale_I, 6)
    device = read(made, vectors_IK, scale_I)
    similarity_I = np.random.default_rng(4).standard_normal(ITEMS)
    history = [3, 8, 8, 20]
    told = device.entries(history, vectors_IK[history] * scale_I[history, None].astype(np.float64))
    names = [f"i{place}" for place in history]
    codes = {name: code for code, name in enumerate(log.item_ids)}
    requests = Requests.of([Request(tuple(Event("purchase", name) for name in names))])
    histories = Histories.of(requests, codes, SCORING.recency_decay)
    counted = dict(log.events.group_by("item_id").agg(pl.col("user_id").n_unique()).iter_rows())
    people_I = np.array([counted.get(name, 0) for name in log.item_ids])
    assert (people_I == 0).sum() == 1
    features = Features(
        chosen_feature(in_numpy(made.score)(history)[None], SCORING.shrinkage),
        similarity_feature(similarity_I[None]),
        popularity_feature(people_I),
        *repeat_features(histories, ITEMS),
        (people_I == 0).astype(np.float32),
    )
    assert np.allclose(device.joined(told, similarity_I), head(features)[0], atol=1e-4)


def test_a_tuned_bundle_hears_its_similarity(tmp_path: Path) -> None:
    source, tens = with_log(), []
    for number, head in enumerate((None, SIMILARITY_ALONE, COUNTS_ALONE)):
        settings = EdgeSettings(requests=10)
        export_bundle(replace(source, head=head), tmp_path / str(number), settings)
        bundle = EdgeBundle.open(tmp_path / str(number))
        tens.append([r.item_id for r in bundle.rerank(["red-shoe", "red-tent"], k=13)])
    export_bundle(replace(source, events=None), tmp_path / "texts", EdgeSettings(requests=10))
    texts = EdgeBundle.open(tmp_path / "texts").rerank(["red-shoe", "red-tent"], k=13)
    assert tens[0] == tens[2] and tens[1] == [r.item_id for r in texts] != tens[0]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A bundle with the log of the tiny shop, and the same without."""
    folder, source = tmp_path_factory.mktemp("edge"), with_log()
    settings = EdgeSettings(requests=40, best_per_item=4)
    export_bundle(source, folder / "log", settings)
    export_bundle(replace(source, events=None), folder / "texts", settings)
    return folder / "log", folder / "texts"


def with_log() -> Source:
    rec = edge_rec()
    return replace(source_of(rec), events=tiny.shop().events, embed=rec.embed)


def test_a_bundle_with_a_log_ranks_by_what_people_chose_next(folders: tuple[Path, Path]) -> None:
    bundle, plain = (EdgeBundle.open(folder) for folder in folders)
    assert bundle.config.transitions is not None and plain.config.transitions is None
    assert bundle.config.transitions.parity >= 0.99
    # Everybody keeps to one colour and buys the things in turn: after the tent comes the lamp.
    (found,) = bundle.rerank(["red-shoe", "red-tent"], k=1)
    assert (found.item_id, found.because) == ("red-lamp", 1)
    assert plain.rerank(["red-shoe", "red-tent"], k=1)[0].item_id != "red-lamp"
    everything = [answer.item_id for answer in bundle.rerank(["blue-hat"], k=14)]
    some = everything[::3]
    assert [r.item_id for r in bundle.rerank(["blue-hat"], candidates=some[::-1])] == some
    assert {r.item_id for r in bundle.rerank(["blue-hat", "a red lamp"], k=15)} == (
        set(bundle.shelf.ids) - {"blue-hat"}
    )


def test_the_file_stands_in_the_manifest_and_its_damage_is_named(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    manifest = check(folders[0])
    assert set(manifest["files"]) == {*FILES, TRANSITIONS}
    assert manifest["files"][TRANSITIONS]["bytes"] == (folders[0] / TRANSITIONS).stat().st_size
    assert TRANSITIONS in compressed(folders[0])
    for path in folders[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    body = bytearray((tmp_path / TRANSITIONS).read_bytes())
    body[-1] ^= 1
    (tmp_path / TRANSITIONS).write_bytes(body)
    with pytest.raises(EdgeError, match=r"transitions\.bin is damaged"):
        EdgeBundle.open(tmp_path)
    (tmp_path / TRANSITIONS).unlink()
    with pytest.raises(EdgeError, match=r"transitions\.bin is missing"):
        EdgeBundle.open(tmp_path)


def test_without_choices_nothing_changes(folders: tuple[Path, Path], tmp_path: Path) -> None:
    source, settings = with_log(), EdgeSettings(requests=40, best_per_item=4)
    events = tiny.shop().events
    assert events is not None and source.events is not None
    refused = events.with_columns(event=pl.lit("dislike"))
    shown = events.filter(event="impression")
    plain = check(folders[1])["sha256"]
    for number, log in enumerate((refused, shown)):
        made = export_bundle(replace(source, events=log), tmp_path / str(number), settings)
        assert made["sha256"] == plain
    assert set(check(folders[1])["files"]) == set(FILES)


def test_a_hide_is_no_choice_and_a_like_still_counts(folders: tuple[Path, Path]) -> None:
    personal = Personal(EdgeBundle.open(folders[0]))
    history = ["red-shoe", "blue-hat"]
    before = personal.rerank(history, k=15)
    assert before == personal.bundle.rerank(history, k=15)
    personal.hide("blue-hat", history)
    after = personal.rerank(history, k=15)
    assert "blue-hat" not in [answer.item_id for answer in after]
    assert {answer.because for answer in after} == {0}
    wanted = [a.item_id for a in personal.bundle.rerank(["red-shoe"], k=3)]
    assert [a.item_id for a in after[:3]] == wanted
    personal.forget()
    for _ in range(3):
        personal.like(before[-1].item_id, history, [a.item_id for a in before])
    liked = [answer.item_id for answer in personal.rerank(history, k=15)]
    assert liked.index(before[-1].item_id) < len(before) - 1


def test_where_all_of_a_history_is_hidden_texts_rank(folders: tuple[Path, Path]) -> None:
    answers = []
    for folder in folders:
        personal = Personal(EdgeBundle.open(folder))
        personal.hide("red-shoe", ["red-shoe"])
        answers.append([answer.item_id for answer in personal.rerank(["red-shoe"], k=14)])
    assert answers[0] == answers[1] and len(answers[0]) == 14


def test_a_bundle_is_held_against_the_score_of_its_log(folders: tuple[Path, Path]) -> None:
    source, settings = with_log(), EdgeSettings(requests=100)
    found = agreement(source, folders[0], settings)
    assert found.transitions is not None and found.transitions >= 0.99
    assert found.whole is not None and 0.5 < found.whole <= 1
    assert agreement(source, folders[1], settings).transitions is None
    with pytest.raises(EdgeError, match="with its log"):
        agreement(replace(source, events=None), folders[0], settings)
    assert source.events is not None
    backwards = source.events.with_columns(timestamp=-pl.col("timestamp"))
    backwards = backwards.sort("user_id", "timestamp")
    other = agreement(replace(source, events=backwards), folders[0], settings)
    assert other.transitions is not None and other.transitions < 0.5


def test_all_pairs_and_the_same_vectors_are_the_whole_score() -> None:
    log, (vectors_IK, scale_I) = some_log(), some_vectors()
    device = on_device(read(shipped(log, vectors_IK, scale_I, 1000), vectors_IK, scale_I))
    whole = in_numpy(whole_score(log, (vectors_IK * scale_I[:, None]).astype(np.float32)))
    histories = drawn_histories(log.choices, Drawing(200, 12))
    assert same_ten(device, whole, histories).overlap > 0.97  # weights are rounded, no more


def test_the_command_line_says_what_the_log_weighs(tmp_path: Path) -> None:
    data, model = tiny.write_shop(tmp_path / "shop"), tiny.write_backbone(tmp_path / "model")
    words = [str(model), "--data", str(data), "--requests", "20"]
    verbs = app.build_app(["edge export", "edge check"])
    runner, out = CliRunner(), tmp_path / "bundle"
    done = runner.invoke(verbs, ["edge export", *words, str(out), "--pairs", "2"])
    assert done.exit_code == 0, done.output
    assert "transitions.bin" in done.output and "2 of an item at most" in done.output
    config = json.loads((out / "bundle.json").read_text(encoding="utf-8"))["transitions"]
    assert config["best_per_item"] == 2 and 15 < config["pairs"] <= 30
    report = tmp_path / "report.json"
    asked = ["--model", str(model), "--data", str(data), "--requests", "50"]
    done = runner.invoke(verbs, ["edge check", str(out), *asked, "--json", str(report)])
    assert done.exit_code == 0, done.output
    told = json.loads(report.read_text(encoding="utf-8"))["agreement"]
    assert told["transitions"] >= 0.98 and 0 < told["whole"] <= 1
    done = runner.invoke(verbs, ["edge export", *words, str(tmp_path / "texts"), "--text-only"])
    assert done.exit_code == 0, done.output
    assert not (tmp_path / "texts" / TRANSITIONS).exists() and "chose next" not in done.output


def test_a_tuned_retriever_goes_with_the_numbers_of_its_task(tmp_path: Path) -> None:
    rec, data = edge_rec(), tiny.shop()
    train = {"epochs": 1, "batch": 16, "bf16": False}
    quiet = Console(quiet=True)
    rec.fit("retrieve", data, split="leave-one-out", train=train, console=quiet)
    rec.save_pretrained(tmp_path / "model")
    shop, out = tiny.write_shop(tmp_path / "shop"), tmp_path / "bundle"
    words = [str(tmp_path / "model"), str(out), "--data", str(shop), "--requests", "20"]
    done = CliRunner().invoke(app.build_app(["edge export"]), ["edge export", *words])
    assert done.exit_code == 0, done.output
    held = EdgeBundle.open(out).config.transitions
    task = rec.tasks["retrieve"]
    assert held is not None and held.head is not None
    head, scoring = task.head or Head(), task.score_settings or ScoreSettings()
    assert held.head.model_dump() == head.model_dump(include=set(held.head.model_dump()))
    assert (held.shrinkage, held.recency_decay) == (scoring.shrinkage, scoring.recency_decay)
    events = [{"event": "purchase", "item_id": name} for name in ("red-shoe", "red-tent")]
    wanted = [r.item_id for r in rec.use(data).recommend(events, k=10)]
    found = [r.item_id for r in EdgeBundle.open(out).rerank(["red-shoe", "red-tent"], k=10)]
    assert len(set(found) & set(wanted)) >= 7
