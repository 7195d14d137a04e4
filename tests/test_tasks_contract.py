"""What every task keeps to, and what packing and the segment table do to get there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

import tiny
from m6rec.collaborative.dial import choose_boost, dial_curve
from m6rec.data.labels import LabelRule
from m6rec.data.requests import Requests
from m6rec.model import plans
from m6rec.model.tuning import Tuning, branch
from m6rec.records import Candidate, Event, Request
from m6rec.tasks.build import Backbone, TaskSpec, build_ranker, build_retriever, untrained_retriever
from m6rec.tasks.catalogue import BOOSTS, Catalogue, item_prior
from m6rec.tasks.packing import Packer, pack
from m6rec.tasks.ranking import Ranker
from m6rec.tasks.retrieval import Retriever, contrastive_loss, drop_events
from m6rec.tasks.segments import SegmentTable, read
from m6rec.text.templates import Templates
from m6rec.text.verbalize import Verbalizer

Answer = Callable[[Requests], np.ndarray]


def bought(*items: str) -> tuple[Event, ...]:
    return tuple(Event("purchase", item_id=item) for item in items)


ASKED = [
    Request(bought("red-shoe", "blue-tent"), candidates=(Candidate("red-tent"),)),
    Request((), candidates=(Candidate(None, "a yellow kite"), Candidate("blue-lamp"))),
    Request((Event("search", query="warm hat"),), candidates=(Candidate("green-boot"),)),
    Request(bought(*["red-shoe"] * 9), "u1", 5.0, candidates=(Candidate("red-hat"),)),
]
SHAPES = [
    {"plan": plan, "online_layers": online, "segment_states": states}
    for plan in ("late", "full")
    for online in (1, 2)
    for states in (1, 2, "all")
    if plan == "late" or states == 1
]


def words() -> Verbalizer:
    return Verbalizer(Templates.load(), tiny.shop().items)


def retriever(**reading: object) -> Retriever:
    spec = TaskSpec(task="retrieve", retrieval={"max_history": 5, **reading})  # type: ignore[arg-type]
    made = build_retriever(Backbone(*tiny.backbone(layers=3)), words(), spec)
    made.model.eval()
    return made


def ranker(**reading: object) -> Ranker:
    spec = TaskSpec(task="rank", ranking={"max_history": 5, "features": False, **reading})  # type: ignore[arg-type]
    made = build_ranker(Backbone(*tiny.backbone(layers=3)), words(), spec, rule=LabelRule())
    made.model.eval()
    assert made.evidence is not None
    with torch.no_grad():  # as after training: every part has its say
        made.evidence.weights.fill_(0.5)
        made.evidence.trust.fill_(1.0)
    return made


def answer_of(task: str, **reading: object) -> Answer:
    if task == "rank":
        return ranker(**reading).predict
    made = retriever(**reading)
    verbalizer = made.packer.verbalizer
    ids = tiny.shop().items["item_id"].to_list()
    return Catalogue(made, verbalizer.item_texts(), ids, "tiny").score


@pytest.mark.parametrize("task", ["retrieve", "rank"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_an_answer_does_not_depend_on_what_is_asked_beside_it(
    task: str, shape: dict[str, object]
) -> None:
    answer = answer_of(task, **shape)
    together = answer(Requests.of(ASKED))
    alone = np.concatenate([answer(Requests.of([request])) for request in ASKED])
    assert np.isfinite(together).all()
    assert together == pytest.approx(alone, abs=2e-3)


@pytest.mark.parametrize("task", ["retrieve", "rank"])
def test_no_requests_give_no_answers(task: str) -> None:
    assert len(answer_of(task)(Requests.of([]))) == 0


@pytest.mark.parametrize("task", ["retrieve", "rank"])
def test_items_and_users_that_nobody_saw_are_answered(task: str) -> None:
    strange = Request(
        (Event("context", text="ゼロ 🙂"),), "nobody", candidates=(Candidate("no-id"),)
    )
    assert np.isfinite(answer_of(task)(Requests.of([strange]))).all()


@pytest.mark.parametrize("task", ["retrieve", "rank"])
def test_only_the_newest_events_are_read(task: str) -> None:
    answer = answer_of(task)
    newest = Request(bought(*["blue-hat"] * 5), candidates=(Candidate("red-hat"),))
    longer = Request(bought(*["red-shoe"] * 30, *["blue-hat"] * 5), candidates=newest.candidates)
    assert answer(Requests.of([longer])) == pytest.approx(answer(Requests.of([newest])), abs=1e-3)


@pytest.mark.parametrize("task", ["retrieve", "rank"])
def test_the_history_matters(task: str) -> None:
    answer = answer_of(task)
    one, two = (
        Request(bought(item), candidates=(Candidate("red-hat"),))
        for item in ("red-shoe", "green-lamp")
    )
    found = answer(Requests.of([one, two])).reshape(2, -1)
    assert np.abs(found[0] - found[1]).max() > 1e-4


@pytest.mark.parametrize("states", [1, 2, "all"])
def test_the_cached_plan_equals_the_late_plan(states: object) -> None:
    made = retriever(segment_states=states)
    packed = made.pack_users(Requests.of(ASKED))
    with torch.no_grad():
        cached = read(made.table, packed, "late", frozen=True)
        late = read(made.table, packed, "late", frozen=False)
    assert torch.allclose(cached, late, atol=0.05)  # states are kept as float16, made in bfloat16
    similarity = torch.nn.functional.cosine_similarity(cached[:, 0], late[:, 0], dim=-1)
    assert float(similarity.min()) > 0.999


def test_a_ranking_answer_of_many_candidates_equals_one_at_a_time() -> None:
    made = ranker()
    candidates = tuple(Candidate(item) for item in ("red-hat", "blue-hat", "green-hat"))
    many = made.predict(Requests.of([Request(bought("red-shoe"), candidates=candidates)]))
    each = [
        made.predict(Requests.of([Request(bought("red-shoe"), candidates=(one,))]))[0]
        for one in candidates
    ]
    assert many.tolist() == pytest.approx(each, abs=1e-4)


def test_the_contrastive_loss_by_hand() -> None:
    x_BK = torch.tensor([[1.0, 0.0]])
    y_NK = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    scale = torch.tensor(2.0).log()
    expected = np.log(1 + np.exp(-2.0))  # logits (2, 0), the first is right
    assert float(contrastive_loss(x_BK, y_NK, torch.tensor([0]), scale)) == pytest.approx(expected)
    log_q = torch.tensor([0.0, np.log(3.0)])  # the other one is drawn three times as often
    corrected = float(contrastive_loss(x_BK, y_NK, torch.tensor([0]), scale, log_q))
    assert corrected == pytest.approx(np.log(1 + np.exp(-2.0) / 3))


def test_sources_are_profile_events_and_read_token_in_their_slots() -> None:
    made = retriever()
    columns = made.packer.source(Requests.of(ASKED[:1]))
    first = plans.FIRST_EVENT_SLOT
    assert columns.slot.tolist() == [[first + 1, first, plans.READ_SOURCE_SLOT]]
    assert columns.index[0, -1] == plans.READ_SOURCE
    longer = made.packer.source(Requests.of([ASKED[3]]))
    assert longer.slot[0, :-1].tolist() == [first + age for age in range(4, -1, -1)]


def test_events_are_dropped_at_random_but_never_the_newest() -> None:
    made = retriever()
    packed = pack([made.packer.source(Requests.of([ASKED[3]] * 200))])
    torch.manual_seed(0)
    kept = drop_events(packed, 0.5).index_BG >= 0
    assert kept[:, -2:].all()  # the newest event and the read token
    assert 0.4 < float(kept[:, :-2].float().mean()) < 0.6


def test_the_same_text_is_one_row_and_budgets_cut() -> None:
    model, tokenizer = tiny.backbone()
    table = SegmentTable(model, tokenizer, lower=1, segment_states=1)
    rows = table.add(["red shoe", "blue tent", "red shoe"], budget=8)
    assert rows[0] == rows[2] != rows[1]
    cut = table.add(["red shoe"], budget=1)
    assert table.tokens(cut).valid_SN.sum() == 3  # bracket, one token, bracket
    assert table.add(["red shoe"], budget=8)[0] == rows[0]


def test_states_of_new_texts_join_the_old_ones_unchanged() -> None:
    model, tokenizer = tiny.backbone()
    table = SegmentTable(model, tokenizer, lower=1, segment_states="all")
    table.add(["red shoe"], budget=8)
    before = table.states().h_SKD.clone()
    table.add(["a much longer text with many letters"], budget=32)
    after = table.states()
    old_rows, old_width = before.shape[:2]
    assert after.h_SKD[:old_rows, :old_width].equal(before)
    assert not after.valid_SK[:old_rows, old_width:].any()


def test_untrained_retrieval_is_the_decayed_mean_of_the_events_by_hand() -> None:
    verbalizer, ids = words(), tiny.shop().items["item_id"].to_list()
    made = untrained_retriever(Backbone(*tiny.backbone()), verbalizer, ids)
    asked = Requests.of([Request(bought("red-shoe", "blue-tent"))])
    rows = made.table.add(["bought: red shoe", "bought: blue tent"], made.packer.budget("event"))
    items = made.table.add(verbalizer.item_texts(), made.packer.budget("item"))
    h_SD = made.table.states().h_SKD[:, 0].float()
    mean_D = h_SD[items].mean(0)
    weights = torch.tensor([0.5, 1.0]) / 1.5
    user_D = (weights[:, None] * h_SD[rows]).sum(0) - mean_D
    directions = torch.linalg.svd(h_SD[items] - mean_D, full_matrices=False).Vh[:8]
    expected = torch.nn.functional.normalize(user_D @ directions.T, dim=0)
    found = torch.from_numpy(made.encode_users(asked)[0])
    assert torch.allclose(found, expected, atol=1e-2)


def test_a_spec_knows_its_classes_and_refuses_the_other_tasks_settings() -> None:
    assert TaskSpec(task="rank").tuning.classes == 2
    assert TaskSpec(task="retrieve", tuning=Tuning(method="adapter", classes=5)).tuning.classes == 0
    with pytest.raises(ValueError, match="no settings of the other task"):
        TaskSpec(task="rank", retrieval={})  # type: ignore[arg-type]


def test_a_packer_gives_codes_to_known_items_only() -> None:
    model, tokenizer = tiny.backbone()
    table = SegmentTable(model, tokenizer, lower=1, segment_states=1)
    packer = Packer(table, words(), 5, code_of={"red-shoe": 0})
    columns = packer.candidates(["red-shoe", "red-tent", None], [None, None, "free text"])
    assert columns.code[:, 0].tolist() == [0, -1, -1]


def test_of_equal_texts_the_popular_item_comes_first_and_no_difference_is_outweighed() -> None:
    made = retriever()
    texts, ids = ["red shoe", "red shoe", "blue tent"], ["a", "b", "c"]
    asked = Requests.of([Request(bought("red-shoe"))])
    plain = Catalogue(made, texts, ids, "plain").score(asked)[0]
    prior = item_prior(np.array([0.0, 7.0, 100.0]), np.zeros(3, bool), 0.3)
    counted = Catalogue(made, texts, ids, "counted", prior).score(asked)[0]
    assert plain[0] == plain[1]
    assert counted[1] > counted[0]
    assert np.abs(counted - plain).max() <= 2e-5


def test_the_boost_is_the_least_under_which_new_items_are_found_nearly_as_well() -> None:
    new_I = np.arange(20) == 19
    scores = np.full((4, 20), 0.1, dtype=np.float32)
    scores[:, :2] = 0.5  # two known items lead, and the first 2 of 20 count as found
    scores[:, 19] = [0.46, 0.42, 0.36, 0.3]
    all_new, half_new = np.array([19] * 4), np.array([19, 19, 0, 1])

    def boost(target_R: np.ndarray, parity: float) -> float:
        return choose_boost(dial_curve(scores, target_R, new_I, BOOSTS), parity)

    assert boost(half_new, parity=0.75) == 0.09  # .08 only ties
    assert boost(half_new, parity=0.5) == 0.05
    assert boost(half_new, parity=0) == 0.0
    assert boost(all_new, parity=0.75) == 0.0
    assert boost(np.array([0, 1, 0, 1]), parity=0.75) == 0.0
    assert item_prior(None, new_I, 0.2)[-2:].tolist() == pytest.approx([0, 0.2])


@pytest.mark.parametrize("method", ["full", "adapter", "prompt", "option", "option-adapter"])
def test_a_branch_shares_what_is_frozen_and_leaves_the_backbone_trainable(method: str) -> None:
    model, _ = tiny.backbone(layers=3)
    own = branch(model, Tuning(method=method, classes=2, prompts=3), lower=2)  # type: ignore[arg-type]
    assert all(parameter.requires_grad for parameter in model.parameters())
    theirs = {p.data_ptr() for p in model.parameters()}
    for name, parameter in own.named_parameters():
        assert parameter.requires_grad != (parameter.data_ptr() in theirs), name
    assert own.lm_head.decoder.weight is own.tokens.weight


def test_tasks_of_one_backbone_share_states_unless_they_tune_below() -> None:
    backbone = Backbone(*tiny.backbone(layers=3))
    first = build_ranker(backbone, words(), TaskSpec(task="rank"))
    second = build_retriever(backbone, words(), TaskSpec(task="retrieve"))
    rows = first.table.add(["red shoe"], budget=8)
    assert second.table.add(["red shoe"], budget=8).tolist() == rows.tolist()
    assert second.table.states() is first.table.states()
    deep = TaskSpec(task="rank", tuning=Tuning(method="adapter", layers="all"))
    assert build_ranker(backbone, words(), deep).table.memory is not first.table.memory
