"""Zero-shot scoring: likelihoods by hand, one source for many targets, what is taken off."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from torch import Tensor
from typer.testing import CliRunner

import tiny
from m6rec.cli.app import build_app
from m6rec.config import ConfigError
from m6rec.data.requests import Requests
from m6rec.model import plans, precision
from m6rec.model.language import SourceRows, full_writing, late_writing
from m6rec.model.m6 import M6
from m6rec.model.masks import Layout, unilm
from m6rec.model.prefix import full_prefix, late_prefix, write_full, write_late
from m6rec.recommender import M6Rec
from m6rec.records import Candidate, Event, Request
from m6rec.tasks import likelihood
from m6rec.tasks.likelihood import Questions, Target, log_likelihood_of
from m6rec.tasks.zero_shot import ZeroShot, ZeroShotSettings
from m6rec.text.templates import Templates
from m6rec.text.verbalize import Verbalizer
from model_worlds import CONFIGS, lively

LIVE = {"cached": False}
SHAPES = [
    {"plan": "late", "segment_states": "all", "online_layers": 1},
    {"plan": "late", "segment_states": 1, "online_layers": 2},
    {"plan": "full", "online_layers": 1},
]
TITLES = ["red tent", "blue lamp", "a green hat and boot", "red shoe"]


def zero(seed: int = 0, **reading: object) -> ZeroShot:
    model, tokenizer = tiny.backbone(layers=3, seed=seed)
    with torch.no_grad():  # so that the segment embedding and the read tokens matter
        torch.manual_seed(9)
        model.segments.weight.normal_()
        model.read_token.normal_()
    words = Verbalizer(Templates.load(), tiny.shop().items)
    return ZeroShot(model, tokenizer, words, ZeroShotSettings(**reading))  # type: ignore[arg-type]


def asked(history: list[str], candidates: list[str]) -> Request:
    """History of item ids, candidates as texts."""
    events = tuple(Event("purchase", item_id=item) for item in history)
    return Request(events, candidates=tuple(Candidate(None, text) for text in candidates))


HISTORIES = [["red-shoe", "blue-tent"], [], ["green-hat"] * 3, ["red-boot"]]
ASKED = Requests.of([asked(h, TITLES[: 4 - i]) for i, h in enumerate(HISTORIES)])


def log_p(model: M6, h_TD: Tensor, labels: list[int]) -> list[float]:
    """By the definition of softmax, in double precision."""
    logits = model.lm_head(h_TD).double()
    return [
        float(row[label] - row.exp().sum().log()) for row, label in zip(logits, labels, strict=True)
    ]


@pytest.mark.parametrize("told", [0, 2])
def test_the_full_plan_is_a_softmax_over_the_logits_of_one_plain_sequence(told: int) -> None:
    """[BOS'] red shoe [EOS'] [BOS] blue tent [EOS], every layer under a mask written out here."""
    model, tokenizer = tiny.backbone(layers=3)  # its segment embedding is zero
    with torch.no_grad():
        model.read_gate.copy_(torch.tensor([0.0, 1.0]))  # [EOS'] keeps its own state
    words = Verbalizer(Templates.load(), tiny.shop().items)
    scorer = ZeroShot(model, tokenizer, words, ZeroShotSettings(plan="full"))
    event = Event("context", text="red shoe")
    target = Target(tuple(tokenizer.write("blue tent")), told)
    questions = Questions()
    questions.add(scorer.source(Request((event,))), target)
    found = scorer.log_likelihoods(questions)

    s = tiny.SPECIAL
    source = [s.bos_source, *tokenizer.encode("red shoe", 9), s.eos_source]
    ids = torch.tensor([[*source, s.bos, *target.ids]])
    T, P = ids.shape[1], len(source)
    mask = torch.tensor([[[k < P or k <= q for k in range(T)] for q in range(T)]])
    mask[:, :P, P:] = False
    with torch.no_grad():
        h = model(ids, torch.arange(T)[None], mask)[0, P:]
        expected = log_p(model, h, [*target.ids, s.eos])
    assert len(expected) == 3
    assert found == pytest.approx([sum(expected[told:])], abs=1e-4)
    assert target.judged == 3 - told


def random_sources(rows: int) -> SourceRows:
    """Two sources over `rows` kept states, the second one shorter."""
    index = torch.randint(rows, (2, 6), generator=torch.Generator().manual_seed(1))
    valid = torch.arange(6) < torch.tensor([[6], [4]])
    slot = torch.tensor([[9, 9, 8, 8, 8, 6], [8, 8, 8, 6, 0, 0]])
    segment = torch.tensor([[0, 0, 1, 1, 1, 2], [0, 0, 0, 1, 0, 0]])
    return SourceRows(index, valid, slot, segment, torch.tensor([[5], [3]]))


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("lower", [0, 1, 2])
def test_one_source_for_many_targets_equals_reading_it_again(family: str, lower: int) -> None:
    model = lively(CONFIGS[family]())
    source = random_sources(20)
    owner = torch.tensor([1, 0, 1, 0, 1])
    lengths = torch.tensor([4, 1, 2, 3, 4])
    ids = torch.randint(6, 60, (5, 4), generator=torch.Generator().manual_seed(2))
    ids[4] = ids[0]
    valid = torch.arange(4) < lengths[:, None]
    ids[~valid] = 0
    again = SourceRows(*(value[owner] for value in vars(source).values()))
    kept = torch.randn(20, 16, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        late = late_writing(model, kept, again, (ids, valid), lower)
        full = full_writing(model, again, (ids, valid), lower)
        shared_late = write_late(model, late_prefix(model, kept, source, lower), owner, ids, valid)
        shared_full = write_full(model, full_prefix(model, source, lower), owner, ids, valid)
    assert torch.allclose(shared_late[valid], late[valid], atol=1e-5)
    assert torch.allclose(shared_full[valid], full[valid], atol=1e-5)
    assert not torch.allclose(late[valid], full[valid], atol=1e-2)


@pytest.mark.parametrize("reading", SHAPES)
def test_likelihoods_equal_the_writing_of_pretraining(reading: dict[str, object]) -> None:
    """Against model/language.py, one request and one candidate at a time."""
    scorer = zero(calibration=0.0, normalise="sum", form="event", **LIVE, **reading)
    found = scorer.score(ASKED)
    expected = [
        sum(one_by_one(scorer, request, candidate))
        for request in ASKED
        for candidate in request.candidates
    ]
    assert found == pytest.approx(expected, abs=1e-3)
    assert len(set(np.round(found, 3))) == len(found)


@torch.no_grad()
def one_by_one(
    scorer: ZeroShot, request: Request, candidate: Candidate, empty: bool = False
) -> list[float]:
    """log p of every token of the event, with rows laid out by hand (empty: without history)."""
    model, words, special = scorer.model, scorer.tokenizer, tiny.SPECIAL
    history = () if empty else request.history
    texts = [scorer.verbalizer.event(event, None, 0).text for event in history]
    ids = words.write(f"{'bought' if request.history else 'clicked'}: {candidate.text}")
    target = torch.tensor([[special.bos, *ids]]), torch.ones(1, len(ids) + 1, dtype=torch.bool)
    slots = [plans.FIRST_EVENT_SLOT + len(texts) - 1 - i for i in range(len(texts))]
    segments = [words.encode(text, 32) for text in texts]
    if scorer.settings.plan == "full":
        rows = [(special.bos_source, (slots or [plans.READ_SOURCE_SLOT])[0], 0)]
        for i, segment in enumerate(segments):
            rows += [(token, slots[i], i) for token in segment]
        rows.append((special.eos_source, plans.READ_SOURCE_SLOT, len(texts)))
        h = full_writing(model, as_source(rows), target, scorer.lower)
    else:
        bracketed = [[special.bos_source, *s, special.eos_source] for s in segments]
        kept, rows = [], []
        for i, segment in enumerate([*bracketed, [special.eos_source]]):
            tokens = plans.SegmentTokens(
                torch.tensor([segment]), torch.ones(1, len(segment), dtype=torch.bool)
            )
            states = plans.encode_segments(model, tokens, scorer.lower)
            if scorer.settings.segment_states != "all":
                states = plans.summarise(states, scorer.settings.segment_states)
            slot = slots[i] if i < len(slots) else plans.READ_SOURCE_SLOT
            for state in states.h_SKD[0]:
                rows.append((len(kept), slot, i))
                kept.append(state)
        h = late_writing(model, torch.stack(kept), as_source(rows), target, scorer.lower)
    return log_p(model, h[0], [*ids, special.eos])


def as_source(rows: list[tuple[int, int, int]]) -> SourceRows:
    index, slot, segment = (torch.tensor([[row[i] for row in rows]]) for i in range(3))
    valid = torch.ones_like(index, dtype=torch.bool)
    return SourceRows(index, valid, slot, segment, torch.tensor([[len(rows) - 1]]))


def test_cached_equals_late() -> None:
    """Remembered states are of half precision."""
    for states in (1, "all"):
        cached = zero(segment_states=states, calibration=0.0).score(ASKED)
        live = zero(segment_states=states, calibration=0.0, cached=False).score(ASKED)
        assert cached == pytest.approx(live, abs=0.1)
        assert np.corrcoef(cached, live)[0, 1] > 0.999


@pytest.mark.parametrize("reading", SHAPES)
def test_an_answer_depends_neither_on_order_nor_on_company(reading: dict[str, object]) -> None:
    scorer = zero(**LIVE, **reading)
    whole = scorer.score(ASKED)
    place = 0
    for request in ASKED:
        count = len(request.candidates)
        own = whole[place : place + count]
        turned = replace(request, candidates=request.candidates[::-1])
        assert zero(**LIVE, **reading).score(Requests.of([turned]))[::-1] == pytest.approx(
            own, abs=1e-4
        )
        place += count
    assert place == len(whole) == 10


@pytest.mark.parametrize("rows_at_once", [1, 40, 200])
def test_small_memory_gives_the_same(rows_at_once: int) -> None:
    for reading in SHAPES:
        small = zero(rows_at_once=rows_at_once, **LIVE, **reading).score(ASKED)
        assert small == pytest.approx(zero(**LIVE, **reading).score(ASKED), abs=1e-4)


def test_no_pass_holds_more_rows_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def spy(model: M6, prefix: object, owner: Tensor, ids: Tensor, valid: Tensor) -> Tensor:
        rows = prefix.valid_BR.shape  # type: ignore[attr-defined]
        seen.append(max(rows.numel(), ids.shape[0] * (ids.shape[1] + rows[1])))
        return write_late(model, prefix, owner, ids, valid)  # type: ignore[arg-type]

    monkeypatch.setattr(likelihood, "write_late", spy)
    zero(rows_at_once=120, **LIVE).score(ASKED)
    assert 60 < max(seen) <= 120
    assert len(seen) >= 3


def test_each_source_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def spy(model: M6, kept: Tensor, source: SourceRows, lower: int) -> object:
        read.append(len(source.index_BR))
        return late_prefix(model, kept, source, lower)

    monkeypatch.setattr(likelihood, "late_prefix", spy)
    request = asked(["red-shoe"], [f"{c} {t}" for c in tiny.COLOURS for t in tiny.THINGS])
    zero(**LIVE, rows_at_once=64).score(Requests.of([request]))
    assert sum(read) == 2  # the history and the empty one, for 15 candidates


def test_normalisation_and_calibration_by_hand() -> None:
    """(sum after the history - w · sum alone) / judged tokens, from numbers of `one_by_one`."""
    request = asked(["red-shoe"], ["blue lamp"])
    whole = one_by_one(zero(**LIVE), request, request.candidates[0])
    # alone, the event is still told as bought
    alone = one_by_one(zero(**LIVE), request, request.candidates[0], empty=True)
    assert len(whole) == len(alone) == 5  # bought : blue lamp [EOS]
    for form, first in (("event", 0), ("item", 2)):
        mine, own = sum(whole[first:]), sum(alone[first:])
        for weight in (0.0, 0.5, 1.0):
            reading = {"form": form, "calibration": weight, **LIVE}
            total = zero(normalise="sum", **reading).score(Requests.of([request]))
            assert total == pytest.approx([mine - weight * own], abs=1e-3)
            mean = zero(normalise="mean", **reading).score(Requests.of([request]))
            assert mean == pytest.approx([(mine - weight * own) / (5 - first)], abs=1e-3)


def test_a_title_alone_can_be_judged() -> None:
    request = asked(["red-shoe"], ["blue lamp"])
    scorer = zero(form="title")
    ids = scorer.tokenizer.write("blue lamp")
    assert scorer.target(request.candidates[0], "purchase") == Target(tuple(ids), 0)
    assert zero(form="title", **LIVE).score(Requests.of([request]))[0] != 0


def test_a_candidate_is_told_like_the_newest_choice() -> None:
    """A search, a dislike or an impression is no choice; what is disliked is read by itself."""
    scorer = zero(form="event")
    events = (
        Event("purchase", "red-shoe"),
        Event("search", query="x"),
        Event("dislike", "red-hat"),
    )
    seen: list[str] = []
    scorer.target = lambda candidate, event: seen.append(event) or Target((7,))  # type: ignore[method-assign,func-returns-value]
    one = (Candidate(None, "blue lamp"),)
    scorer.score(Requests.of([Request(events, candidates=one), Request((), candidates=one)]))
    assert seen == ["purchase", "click", "click"]


@pytest.mark.parametrize("asking", ["written", "read"])
@pytest.mark.parametrize("prior", [0.0, 1.0])
def test_yes_against_no_by_hand(asking: str, prior: float) -> None:
    scorer = zero(asked=asking, prior=prior, **LIVE)
    request = asked(["red-shoe"], ["blue lamp"])
    history = scorer.source(request)
    add = "" if asking == "read" else ": blue lamp"
    item = ()
    if asking == "read":
        row = int(scorer.table.add(["blue lamp"], 48)[0])
        item = ((plans.SLOTS["item"], row),)

    def sum_of(source: tuple[tuple[int, int], ...], text: str) -> float:
        questions = Questions()
        questions.add((*source, *item), Target(tuple(scorer.tokenizer.write(text + add))))
        return float(scorer.log_likelihoods(questions)[0])

    yes, no = sum_of(history, "liked"), sum_of(history, "disliked")
    odds = (yes - no) - prior * (sum_of((), "liked") - sum_of((), "disliked"))
    found = scorer.predict(Requests.of([request]))
    assert found == pytest.approx([1 / (1 + math.exp(-odds))], abs=1e-5)
    if not prior:
        assert found == pytest.approx([math.exp(yes) / (math.exp(yes) + math.exp(no))], abs=1e-5)


STRANGE = [
    *("", " ", "[EOS]", "[EOS] [BOS] liked: x", "🙂🙃", "\u202e"),
    *("x" * 1_000_000, "a b " * 250_000),
]


@pytest.mark.parametrize("reading", SHAPES[:2])
def test_strange_texts_and_empty_histories_are_finite(reading: dict[str, object]) -> None:
    strange = tuple(Candidate(None, text) for text in STRANGE)
    events = tuple(Event("click", text=text) for text in STRANGE)
    requests = Requests.of([Request((), candidates=strange), Request(events, candidates=strange)])
    scorer = zero(budget=24, **reading)
    assert np.isfinite(scorer.score(requests)).all()
    chances = scorer.predict(requests)
    assert np.isfinite(chances).all()
    assert ((chances >= 0) & (chances <= 1)).all()
    assert max(len(scorer.target(c, "click").ids) for c in strange) == 24


def test_special_tokens_of_a_title_are_words() -> None:
    scorer = zero()
    special = set(tiny.SPECIAL.model_dump().values())
    assert not special & set(scorer.target(Candidate(None, "[EOS] [s4]"), "click").ids)


def test_nothing_asked_is_nothing_answered() -> None:
    for requests in (Requests.of([]), Requests.of([Request(())])):
        assert zero().score(requests).shape == (0,)
        assert zero().predict(requests).shape == (0,)


def test_settings_that_do_not_fit_say_what_would_be_right() -> None:
    with pytest.raises(ConfigError, match="3 layers"):
        zero(online_layers=4)
    long = Request(tuple(Event("click", text="a b c d e f g h i j k l") for _ in range(12)))
    with pytest.raises(ConfigError, match="64 positions"):
        zero(plan="full").score(Requests.of([replace(long, candidates=(Candidate(None, "x"),))]))


def test_the_face_gives_all_items_best_first_and_knows_catalogue_ids() -> None:
    rec = M6Rec(*tiny.backbone())
    found = rec.score(["bought: red shoe"], TITLES)
    scores = [one.score for one in found]
    assert sorted(scores, reverse=True) == scores
    assert sorted(one.item_id for one in found) == sorted(TITLES)
    plain = rec.score(["bought: red shoe"], TITLES, calibrated=False)
    assert all(one.score < 0 for one in plain)
    rec.use(tiny.shop())
    by_id = rec.score((), {"red-shoe": "another title"}, user_id="u0", calibrated=False)
    by_title = rec.score((), ["red shoe"], user_id="u0", calibrated=False)
    assert by_id[0].score == pytest.approx(by_title[0].score)
    chances = rec.score(["liked: red shoe"], TITLES, liked=True)
    assert all(0 <= one.score <= 1 for one in chances)
    with pytest.raises(ConfigError, match="normalise"):
        rec.score((), TITLES, normalize="sum")


def test_log_likelihoods_are_the_same_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = tiny.backbone()
    h = torch.randn(7, 16, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(7)
    with torch.no_grad():
        expected = log_p(model, h, labels.tolist())
        monkeypatch.setattr(likelihood, "LOGIT_ROWS", 3)
        assert log_likelihood_of(model, h, labels) == pytest.approx(expected, abs=1e-5)


def test_the_mask_of_the_hand_made_sequence_is_unilm() -> None:
    """Guards the reference above: P = 2 source rows, 2 target rows."""
    group = torch.tensor([[0, 0, 1, 1]])
    layout = Layout(torch.ones(1, 4, dtype=torch.bool), group == 0, group, group)
    rows = [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    assert unilm(layout)[0].int().tolist() == rows


def test_bfloat16_is_near_and_ranks_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "computes_bfloat16", lambda device: True)  # if only by emulation
    exact = zero(calibration=0.0).score(ASKED)
    quick = zero(calibration=0.0, bf16=True).score(ASKED)
    assert quick == pytest.approx(exact, rel=0.05)
    assert not np.array_equal(quick, exact)
    assert np.corrcoef(quick, exact)[0, 1] > 0.99


def test_own_likelihoods_are_remembered_between_requests() -> None:
    scorer = zero(**LIVE)
    first = scorer.score(ASKED)
    known = len(scorer._alone)
    assert known == 7  # four titles told as bought, three told as clicked
    assert scorer.score(ASKED) == pytest.approx(first, abs=1e-6)
    assert len(scorer._alone) == known


def test_what_is_taken_off_is_the_mean_likelihood_under_none_and_others() -> None:
    others = [asked(history, []) for history in (["red-shoe"], ["green-hat", "blue-tent"], [])]
    scorer = zero(**LIVE, others=4)
    alone = scorer.evidence(ASKED)
    scorer = ZeroShot(
        scorer.model, scorer.tokenizer, scorer.verbalizer, scorer.settings, others=others[:2]
    )
    found = scorer.evidence(ASKED)
    under = [
        zero(**LIVE).evidence(
            Requests.of([replace(r, history=other.history) for r in ASKED]), alone=False
        )
        for other in others
    ]
    # The verb of an empty history is another, so likelihoods without one are those of `alone`.
    mean = np.mean([np.exp(alone.alone_N), *(np.exp(e.after_N) for e in under[:2])], axis=0)
    same = np.array([r.history != () for r in ASKED for _ in r.candidates])
    np.testing.assert_allclose(found.alone_N[same], np.log(mean)[same], atol=1e-4)
    np.testing.assert_allclose(found.after_N, alone.after_N, atol=1e-5)
    none = zero(**LIVE, others=0)
    none = ZeroShot(none.model, none.tokenizer, none.verbalizer, none.settings, others=others)
    np.testing.assert_allclose(none.evidence(ASKED).alone_N, alone.alone_N, atol=1e-6)


def test_scores_are_told_what_other_users_of_the_data_did() -> None:
    rec = M6Rec(*tiny.backbone(layers=3)).use(tiny.shop())
    scorer = rec.zero_shot(ZeroShotSettings(others=2))
    assert len(scorer.others) == 2 and all(len(r.history) > 1 for r in scorer.others)
    again = M6Rec(*tiny.backbone(layers=3)).use(tiny.shop())
    assert again.zero_shot(ZeroShotSettings(others=2)).others == scorer.others
    assert rec.zero_shot(ZeroShotSettings(others=0)).others == ()
    assert M6Rec(*tiny.backbone(layers=3)).zero_shot(ZeroShotSettings()).others == ()


def test_the_verb_scores_titles_ids_and_files(tmp_path: Path) -> None:
    tiny.write_shop(tmp_path / "data")
    model = str(tiny.write_backbone(tmp_path / "model"))
    (tmp_path / "titles.txt").write_text("green boot\n\nblue lamp\n")
    (tmp_path / "items.csv").write_text("item_id,title\n7,green boot\n")
    (tmp_path / "items.pdf").write_text("x")

    def run(*words: str) -> Result:
        return CliRunner().invoke(build_app(["score"]), ["score", "--model", model, *words])

    history = ["--data", str(tmp_path / "data"), "--history", "bought: red shoe"]
    out = tmp_path / "out.json"
    result = run(
        *history, "--item", "red-tent", "--items", str(tmp_path / "titles.txt"), "--json", str(out)
    )
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text())["items"]
    assert sorted(i["title"] for i in found) == ["blue lamp", "green boot", "red tent"]
    assert "red tent" in result.output
    table = run(*history, "--items", str(tmp_path / "items.csv"), "--set", "normalise=sum")
    assert table.exit_code == 0, table.output
    assert run("--item", "x", "--liked", "--plain").exit_code == 0
    for words, right in (
        (["--items", str(tmp_path / "items.pdf")], ".txt"),
        (["--item", "x", "--set", "normalize=sum"], "normalise"),
        (["--history", "x"], "--item"),
        (["--item", "x", "--user", "u0"], "--data"),
    ):
        wrong = run(*words)
        assert wrong.exit_code == 2
        assert right in wrong.output
