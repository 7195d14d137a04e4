"""Written texts judged, and the writers that need no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from m6rec.data.passages import Passage, WritingSplit
from m6rec.data.writing import writing_split
from m6rec.evaluation.baselines import writing as baselines
from m6rec.evaluation.result import EvaluationError, compare
from m6rec.evaluation.writing import WritingJudge
from m6rec.records import Event
from m6rec.tasks.grounds import Grounds
from m6rec.text.aspects import facts
from m6rec.text.text_index import TextIndex
from writing_worlds import dataset


def split_of(task: str, **options: object) -> WritingSplit:
    return writing_split(dataset(), task, test_fraction=0.3, **options)  # type: ignore[arg-type]


def judged(split: WritingSplit, texts: Sequence[str], **settings: object) -> dict[str, float]:
    result = WritingJudge(split, **settings).judge("me", texts)  # type: ignore[arg-type]
    return {name: estimate.value for name, estimate in result.metrics.items()}


def with_test(split: WritingSplit, *passages: Passage) -> WritingSplit:
    return replace(split, test=tuple(passages))


def test_what_people_wrote_is_like_itself_and_faithful_here() -> None:
    split = split_of("explain")
    found = judged(split, [p.references[0] for p in split.test])
    assert found["bleu-4"] == pytest.approx(1) and found["rougeL"] == 1
    assert found["fmr"] == 1 and found["faithful"] == 1 and found["faithful-texts"] == 1
    assert found["fcr"] == 1  # all three colours


def test_a_claim_that_is_in_neither_item_nor_history_is_counted() -> None:
    past = (Event("purchase", "blue-tent"),)
    split = with_test(
        split_of("explain"),
        Passage("u90", "red-shoe", ("x",), past, feature="red"),
        Passage("u91", "red-shoe", ("x",), (), feature="red"),
    )
    text = "A red shoe, because you like a blue tent."
    found = judged(split, [text, text])
    assert found["claims"] == 2
    assert found["faithful"] == 3 / 4 and found["faithful-texts"] == 1 / 2


def test_fmr_and_div_by_hand() -> None:
    split = with_test(
        split_of("explain"),
        *(Passage(f"v{i}", "red-shoe", ("x",), feature="red") for i in range(3)),
    )
    found = judged(split, ["a red shoe", "the blue shoe", "so blue and red"])
    assert found["fmr"] == pytest.approx(2 / 3)
    assert found["div"] == pytest.approx((0 + 1 + 1) / 3)
    assert found["fcr"] == pytest.approx(2 / 3)  # of red, blue, green


def test_features_are_learned_where_no_column_names_them() -> None:
    data = dataset()
    assert data.reviews is not None
    plain = replace(data, reviews=data.reviews.with_columns(feature=pl.lit(None, pl.String)))
    split = writing_split(plain, "explain", test_fraction=0.3)
    result = WritingJudge(split).judge("people", [p.references[0] for p in split.test])
    assert "learned from the texts of train" in result.notes[0]
    assert result.metrics["fmr"].value == 1


def test_intervals_resample_users_and_figures_of_the_whole_set_have_none() -> None:
    split = split_of("explain")
    texts = [p.references[0] if n % 2 else "nothing" for n, p in enumerate(split.test)]
    metrics = WritingJudge(split).judge("me", texts).metrics
    rouge = metrics["rouge1"]
    assert rouge.low is not None and rouge.high is not None
    assert rouge.low < rouge.value < rouge.high
    assert metrics["usr"].low is None and metrics["dist-2"].low is None


def test_the_same_protocol_lets_two_writers_be_compared() -> None:
    split = split_of("title")
    judge = WritingJudge(split)
    right = judge.judge("right", [p.references[0] for p in split.test])
    wrong = judge.judge("wrong", ["nothing"] * len(split.test))
    assert compare(right, wrong)["rouge1"].value == 1


def test_titles_are_new_or_known_and_copies_where_a_long_run_stands_in_the_catalogue() -> None:
    long = "one two three four five six seven eight nine"
    split = split_of("title")
    more = split.items.head(1).with_columns(item_id=pl.lit("x"), title=pl.lit(long))
    split = with_test(
        replace(split, items=pl.concat([split.items, more])),
        *(Passage(f"v{i}", "red-shoe", ("Red Shoe",)) for i in range(4)),
    )
    found = judged(split, ["Red Shoe", "Pink Shoe", f"So {long}", long[: -len(" nine")]])
    assert found["novel"] == 3 / 4
    assert found["copied"] == 1 / 4


def test_the_round_trip_asks_each_search_for_the_item() -> None:
    split = with_test(
        split_of("query"),
        Passage(None, "red-shoe", ("red shoe",)),
        Passage(None, "blue-tent", ("blue tent",)),
    )

    def search(queries: Sequence[str]) -> list[list[str]]:
        return [["x"] * (9 if "red" in q else 10) + ["red-shoe", "blue-tent"] for q in queries]

    found = judged(split, ["red shoe", "tent"], searches={"round-trip": search})
    assert found["round-trip"] == 1 / 2  # the second one's item is the 12th


def test_a_writer_is_not_shown_what_people_wrote() -> None:
    class Curious:
        name = "curious"

        def write(self, passages: Sequence[Passage]) -> list[str]:
            assert all(p.references == () for p in passages)
            return ["x"] * len(passages)

    WritingJudge(split_of("title")).evaluate(Curious())


def test_a_wrong_number_of_texts_is_an_error() -> None:
    with pytest.raises(EvaluationError, match="wrote 1 texts"):
        WritingJudge(split_of("title")).judge("me", ["x"])


@pytest.mark.parametrize("task", ["explain", "title", "query"])
def test_every_baseline_writes_for_every_passage_the_same_each_time(task: str) -> None:
    split = split_of(task)
    judge = WritingJudge(split)
    for made, again in zip(
        baselines.writing_baselines(split), baselines.writing_baselines(split), strict=True
    ):
        texts = made.write(judge.questions)
        assert texts == again.write(judge.questions) and all(texts), made.name
    empty = [Passage(), Passage(item_id="unknown")]
    for made in baselines.writing_baselines(split):
        assert len(made.write(empty)) == 2, made.name


def test_the_nearest_explanation_tells_of_the_item_at_hand() -> None:
    data = dataset()
    assert data.reviews is not None
    told = data.reviews.with_columns(
        explanation=pl.col("item_id").replace_strict(
            data.items["item_id"], data.items["title"]
        ) + " suits you."
    )  # fmt: skip
    split = writing_split(replace(data, reviews=told), "explain", test_fraction=0.3)
    writer = baselines.nearest_explanation(split, Grounds(split.items, split.users))
    assert writer.write([Passage("u", "green-lamp")]) == ["Green Lamp suits you."]


def test_the_template_has_gaps_for_item_and_feature() -> None:
    data = dataset()
    assert data.reviews is not None
    lines = (
        "We picked "
        + pl.col("item_id").replace_strict(data.items["item_id"], data.items["title"])
        + " as it is so "
        + pl.col("feature")
    )
    split = writing_split(
        replace(data, reviews=data.reviews.with_columns(explanation=lines)), "explain"
    )
    writer = baselines.best_template(split, Grounds(split.items, split.users))
    assert writer.write([Passage("u", "green-lamp")]) == ["We picked Green Lamp as it is so green"]


def test_queries_and_titles_are_copied_from_train_alone() -> None:
    split = split_of("query")
    split = replace(split, train=(Passage(None, "red-shoe", ("a red one",)),))
    assert split.train[0].item_id is not None
    grounds = Grounds(split.items, split.users)
    assert baselines.nearest_query(split, grounds).write([Passage(None, "red-lamp")]) == [
        "a red one"
    ]
    titles = replace(split_of("title"), train=(Passage("u", "blue-tent", ("Blue Tent",)),))
    copy = baselines.nearest_title(titles, grounds)
    asked = Passage(history=(Event("search", query="red lamp"), Event("click", "blue-shoe")))
    assert copy.write([asked]) == ["Blue Tent"]


def test_head_words_are_as_many_as_people_type() -> None:
    split = split_of("query")
    first, last = baselines.head_words(split, Grounds(split.items, split.users))
    long = split.items.with_columns(title=pl.lit("One Two, Three Four"))
    first, last = baselines.head_words(split, Grounds(long, None))
    assert first.write([Passage(None, "red-shoe")]) == ["one two"]
    assert last.write([Passage(None, "red-shoe")]) == ["three four"]


def test_an_index_ranks_by_rare_words_and_returns_nothing_without_a_shared_one() -> None:
    index = TextIndex(["red tents", "red lamp", "red red hat"])
    assert index.best("a red tent", 3) == [0, 2, 1]
    assert index.best("chair") == []
    # idf = ln(1 + 2.5 / 1.5), the text has 2 of on average 7/3 words
    norm = 1.2 * (1 - 0.75 + 0.75 * 2 / (7 / 3))
    expected = np.log(1 + 2.5 / 1.5) * 2.2 / (1 + norm)
    assert index.scores("tent")[0] == pytest.approx(expected)


def test_facts_are_of_item_user_history_and_reviews() -> None:
    data = dataset()
    grounds = Grounds(data.items, data.users)
    passage = Passage(
        "u0", "red-shoe", (), (Event("search", query="wide"), Event("click", "blue-lamp")),
        own=("size: too big",), others=("grip: holds well",), profile="young",
    )  # fmt: skip
    known = grounds.facts(passage)
    assert facts(["red shoe wide blue lamp size grip young tent"]) <= known
    assert "green" not in known
    assert grounds.facts(Passage()) == frozenset()
