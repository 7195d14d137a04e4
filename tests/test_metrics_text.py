"""BLEU and ROUGE: by hand, and against sacrebleu and rouge-score."""

from __future__ import annotations

import random

import numpy as np
import pytest
import sacrebleu
from rouge_score import rouge_scorer

from m6rec.metrics import text as metrics
from m6rec.metrics.text import TextMetricError


def corpus_bleu(written: list[str], references: list[list[str]], most: int = 4) -> float:
    return float(metrics.bleu(metrics.bleu_counts(written, references).sum(0), most))


def test_counts_of_a_text_are_those_counted_by_hand() -> None:
    # "the the tent": 1-grams the×2 tent; the reference has "the" once and "tent" once.
    row = metrics.bleu_counts(["the the tent"], [["the red tent ."]])[0]
    assert row.tolist() == [2, 0, 0, 0, 3, 2, 1, 0, 3, 4]


def test_a_group_counts_as_often_as_it_stands_in_one_reference() -> None:
    row = metrics.bleu_counts(["tea tea tea"], [["tea", "tea tea"]])[0]
    assert row[0] == 2  # not 1 + 2


def test_bleu_2_by_hand() -> None:
    # matches 3 of 4 words and 1 of 3 pairs, lengths 4 and 5
    found = corpus_bleu(["a dry red tent"], [["a red tent for two"]], 2)
    assert found == pytest.approx((3 / 4 * 1 / 3) ** 0.5 * np.exp(1 - 5 / 4))


def test_a_text_like_its_reference_scores_one_and_one_without_a_match_zero() -> None:
    assert corpus_bleu(["so dry and warm"], [["So dry and warm"]]) == pytest.approx(1)
    assert corpus_bleu(["so dry and warm"], [["nothing of the kind"]]) == 0
    assert corpus_bleu([""], [["nothing"]]) == 0


def test_no_match_of_four_words_is_zero_since_nothing_is_smoothed() -> None:
    assert corpus_bleu(["a dry tent"], [["a dry tent"]], 3) == pytest.approx(1)
    assert corpus_bleu(["a dry tent"], [["a dry tent"]], 4) == 0


def sentences(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    pool = ["the", "dry", "red", "tent", "warm", ",", "it"]
    return [" ".join(rng.choices(pool, k=rng.randint(3, 14))) for _ in range(count)]


@pytest.mark.parametrize("most", [1, 2, 4])
def test_bleu_is_that_of_sacrebleu(most: int) -> None:
    written, one, two = (sentences(60, seed) for seed in (1, 2, 3))
    reference = sacrebleu.BLEU(
        tokenize="none", smooth_method="none", max_ngram_order=most, effective_order=False
    )
    expected = reference.corpus_score(written, [one, two]).score / 100
    ours = corpus_bleu(written, [list(pair) for pair in zip(one, two, strict=True)], most)
    assert expected > 0.01
    assert ours == pytest.approx(expected, abs=1e-9)


def test_rouge_is_that_of_rouge_score_on_plain_words() -> None:
    written, references = sentences(40, 4), sentences(40, 5)
    judge = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=False)
    ours = metrics.rouge(written, [[one] for one in references])
    for place, (text, reference) in enumerate(zip(written, references, strict=True)):
        for name, expected in judge.score(reference, text).items():
            assert ours[name][place] == pytest.approx(expected.fmeasure, abs=1e-9)


HARD = [
    "Don't miss the café: naïve 2-in-1 hats!",
    "dont miss the cafe, it's a naive hat",
    "It’s STRASSE or Straße_42, İstanbul",
    "its strasse or stra e 42 istanbul",
    "婚礼 wedding 菜单 menu",
    "...",
    "",
    "a-b c.d e/f 3.5",
]


def test_rouge_of_ascii_words_is_that_of_rouge_score_on_any_text() -> None:
    pairs = [(one, other) for one in HARD for other in HARD]
    written, references = [one for one, _ in pairs], [[other] for _, other in pairs]
    judge = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=False)
    theirs, ours = metrics.rouge_ascii(written, references), metrics.rouge(written, references)
    for place, (text, reference) in enumerate(pairs):
        for name, expected in judge.score(reference, text).items():
            assert theirs[f"{name}-ascii"][place] == pytest.approx(expected.fmeasure, abs=1e-9)
    assert (abs(theirs["rouge1-ascii"] - ours["rouge1"]) > 0.1).any(), "they are not the same"


def test_rouge_by_hand() -> None:
    found = metrics.rouge(["dry dry tent"], [["a dry tent"]])
    assert found["rouge1"][0] == pytest.approx(2 * 2 / 6)
    assert found["rouge2"][0] == pytest.approx(2 * 1 / 4)
    assert found["rougeL"][0] == pytest.approx(2 * 2 / 6)
    assert found["rouge1-set"][0] == pytest.approx(2 * 2 / 5)  # {dry, tent} and {a, dry, tent}


def test_the_best_of_several_references_counts() -> None:
    found = metrics.rouge(["dry tent"], [["a lamp", "dry tent", "tent"]])
    assert found["rouge1"][0] == 1


def test_weighted_counts_give_the_bleu_of_another_draw() -> None:
    written, references = sentences(6, 7), [[one] for one in sentences(6, 8)]
    weights = np.array([[2.0, 0, 1, 1, 2, 0]])
    drawn = [i for i, w in enumerate(weights[0]) for _ in range(int(w))]
    sums = weights @ metrics.bleu_counts(written, references)
    expected = corpus_bleu([written[i] for i in drawn], [references[i] for i in drawn], 2)
    assert metrics.bleu(sums, 2)[0] == pytest.approx(expected)


def test_words_leave_out_punctuation_and_tokens_keep_it() -> None:
    assert metrics.words("Café, 2-person “tent”") == ["café", "2", "person", "tent"]
    assert metrics.tokens("it’s 5.5 in.") == ["it’s", "5", ".", "5", "in", "."]


def test_perplexity_is_the_exponential_of_the_mean() -> None:
    assert metrics.perplexity(np.log(8) * 3, 3) == pytest.approx(8)
    with pytest.raises(TextMetricError, match="no tokens"):
        metrics.perplexity(0.0, 0)


def test_errors_name_the_numbers() -> None:
    with pytest.raises(TextMetricError, match="2 texts, but 1 references"):
        metrics.rouge(["a", "b"], [["a"]])
    with pytest.raises(TextMetricError, match="no texts"):
        metrics.bleu_counts([], [])
