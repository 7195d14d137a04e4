"""The batches that pretraining's speed is measured on are what the benchmark says they are."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from bench_pretraining import LENGTH, ROWS, WRITTEN, made_up, same_batches

from m6rec.model.hf import load_start
from m6rec.training.batches import collate_writing
from m6rec.training.corpus.documents import read_corpus
from m6rec.training.draws import Draws
from m6rec.training.objectives import Asker


def test_every_text_has_128_tokens_of_which_32_are_written(tmp_path: Path) -> None:
    tokenizer = load_start("m6-small")[1]
    made_up(tmp_path, tokenizer)
    draws = Draws(read_corpus(tmp_path), Asker(tokenizer, 0.3, 3.0), same_batches())
    batches = [
        collate_writing(draws.examples(step, 0), "full", tokenizer.special) for step in range(8)
    ]
    for batch in batches:
        assert batch.source.index_BR.shape[1] == LENGTH - WRITTEN
        assert batch.target_BT.shape[1] == WRITTEN
        assert batch.tokens == LENGTH * len(batch.target_BT)
    assert ROWS - 1 <= sum(len(b.target_BT) for b in batches) / len(batches) <= ROWS + 1
