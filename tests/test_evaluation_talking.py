"""Conversation judged: recall with and without what was named, BLEU, Dist, and the baselines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from m6rec.data.talks import NEW, OLD, Ask, TalkSplit, talk_split
from m6rec.evaluation.baselines.talking import people, repeat_last, talking_baselines
from m6rec.evaluation.result import EvaluationError
from m6rec.evaluation.talking import TalkJudge, as_words
from m6rec.metrics.bootstrap import Resampling
from talk_worlds import dataset, parts

FEW = Resampling(replicates=50)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> TalkSplit:
    return talk_split(dataset(tmp_path_factory.mktemp("talk"), split=parts))


class Says:
    """A talker with the same scores for everybody, and the same words."""

    name = "says"

    def __init__(self, scores: np.ndarray | None, text: str | None) -> None:
        self._scores, self._text = scores, text

    def scores(self, asks: Sequence[Ask]) -> np.ndarray | None:
        assert all(ask.reply is None for ask in asks), "no talker may see the answer"
        return None if self._scores is None else np.tile(self._scores, (len(asks), 1))

    def replies(self, asks: Sequence[Ask]) -> list[str] | None:
        return None if self._text is None else [self._text] * len(asks)


def value(result: object, name: str) -> float:
    return float(result.metrics[name].value)  # type: ignore[attr-defined]


def test_recall_counts_each_item_of_a_reply(split: TalkSplit) -> None:
    order = [f"{c}-{t}" for c in ("red", "blue", "green") for t in ("tent", "lamp", "shoe")]
    scores = np.array([-float(order.index(i)) for i in split.items["item_id"]])
    found = TalkJudge(split, resampling=FEW).evaluate(Says(scores, None))
    # Twenty targets; red tents (21, 24, 27) stand first: 3 of 20.
    assert found.counts["items"] == 20 and found.counts["new items"] == 20
    assert value(found, "recall@1") == pytest.approx(3 / 20)
    assert value(found, "recall@10") == 1.0
    # Without what was named: the red tent is gone when the red lamp is asked for, so that leads.
    assert value(found, "recall@1-new") == pytest.approx(6 / 20)
    assert found.metrics["recall@1"].low is not None


def test_equal_scores_are_worth_nothing(split: TalkSplit) -> None:
    found = TalkJudge(split, resampling=FEW).evaluate(Says(np.zeros(9), None))
    assert value(found, "recall@1") == 0.0
    assert value(found, "recall@10") == 1.0


def test_an_item_named_before_is_left_out_of_the_new_figures(tmp_path: Path) -> None:
    data = dataset(tmp_path, split=parts)
    assert data.dialogs is not None
    lines = data.dialogs.read_text().replace("then a Red Lamp", "then a Red Tent")
    lines = lines.replace('"red-lamp", "title": "Red Lamp"', '"red-tent", "title": "Red Tent"')
    data.dialogs.write_text(lines)
    again = talk_split(data)
    judge = TalkJudge(again, resampling=FEW)
    found = judge.evaluate(repeat_last(again))
    assert (found.counts["items"], found.counts["new items"]) == (20, 17)
    # The three red dialogues name the tent twice running: the last item is the answer there.
    assert value(found, "recall@1") == pytest.approx(3 / 20)


def test_what_people_said_has_bleu_one_and_their_own_variety(split: TalkSplit) -> None:
    judge = TalkJudge(split, resampling=FEW)
    found = judge.judge("people", None, people(judge.asks))
    assert value(found, "bleu-2") == 1.0
    assert value(found, "recommends") == pytest.approx(2 / 3)
    # "what are you looking for", "if you love the item get a item", "then a item", ten times each.
    assert value(found, "dist-3") == pytest.approx((3 + 6 + 1) / (10 * (3 + 6 + 1)))
    assert value(found, "dist-4") == pytest.approx((2 + 5) / (10 * (2 + 5)))
    assert not any(name.startswith("recall") for name in found.metrics)


def test_bleu_2_of_one_reply_worked_by_hand(split: TalkSplit) -> None:
    found = TalkJudge(split, resampling=FEW).evaluate(Says(None, f"then a {OLD}"))
    # tokens "then a item" (3) beside 6 ("… for ?"), 8 and 3: unigrams 0+2+3 of 9 (a, item | all),
    # bigrams 0+1+2 of 6 ("a item" | both); 9 tokens against 17.
    expected = np.sqrt(5 / 9 * 3 / 6) * np.exp(1 - 17 / 9)
    assert value(found, "bleu-2") == pytest.approx(expected)
    assert value(found, "recommends") == 0.0


def test_perplexity_is_per_token_over_all_replies(split: TalkSplit) -> None:
    judge = TalkJudge(split, resampling=FEW)
    nats = (np.full(30, 4.0), np.full(30, 2.0))
    found = judge.judge("x", None, None, nats)
    assert value(found, "ppl") == pytest.approx(np.exp(2.0))


@pytest.mark.parametrize("place", range(4))
def test_every_baseline_has_lists_with_intervals(split: TalkSplit, place: int) -> None:
    talker = talking_baselines(split)[place]
    found = TalkJudge(split, resampling=FEW).evaluate(talker)
    names = {f"recall@{k}{new}" for k in (1, 10, 50) for new in ("", "-new")}
    assert names <= set(found.metrics)
    assert found.to_dict()["task"] == "chat"


def test_the_nearest_dialogue_says_more_than_the_commonest_reply(split: TalkSplit) -> None:
    judge = TalkJudge(split, resampling=FEW)
    popular, *_, nearest = [judge.evaluate(talker) for talker in talking_baselines(split)]
    assert value(nearest, "bleu-2") > value(popular, "bleu-2")
    assert value(nearest, "recall@1-new") > value(popular, "recall@1-new")


def test_wrong_shapes_and_numbers_are_told(split: TalkSplit) -> None:
    judge = TalkJudge(split, resampling=FEW)
    with pytest.raises(EvaluationError, match=r"shape \(30, 4\)"):
        judge.evaluate(Says(np.zeros(4), None))
    with pytest.raises(EvaluationError, match="without NaN"):
        judge.evaluate(Says(np.full(9, np.nan), None))
    with pytest.raises(EvaluationError, match="1 replies where 30"):
        judge.judge("short", None, ["hi"])


def test_slots_count_as_one_word() -> None:
    assert as_words(f"see {NEW}, or {OLD}").split() == ["see", "item", ",", "or", "item"]
