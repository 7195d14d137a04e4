"""Writing beside `transformers.generate`: the same shapes, the same number of tokens.

    python benchmarks/bench_generate.py [--json FILE] [--repeats 5] [--threads 1]

Random networks of 6 layers, width 384, FFN 1536, 12 heads and BERT's 30,522 wordpieces: ours, and
Hugging Face's `BertLMHeadModel` (post-norm, learned positions) or `LlamaForCausalLM`. Each reads a
source of 128 tokens and writes 32, with no end before; time is that of reading and writing. Calls
of all writers take turns; the figure is the least time of each (other work on the machine only
adds), tokens a second count all rows. "all words": as many words compete as in transformers.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch
import transformers
from transformers import BertConfig, BertLMHeadModel, LlamaConfig, LlamaForCausalLM

from m6rec.config import ModelConfig
from m6rec.model.generation.decoding import Decoding
from m6rec.model.generation.writer import Writer
from m6rec.model.hf import load_start
from m6rec.model.language import SourceRows
from m6rec.model.m6 import M6
from m6rec.text.tokenizer import Tokenizer

SOURCE, NEW = 128, 32
Write = Callable[[], int]
"""Writes once; returns the number of tokens."""


def configs(tokenizer: Tokenizer) -> dict[str, ModelConfig]:
    """One shape in both families."""
    bert = ModelConfig.sized(6, 30_522, tokenizer.special)
    bert = bert.model_copy(update={"lm_head": "transform"})
    family = {"norm": "rms", "norm_position": "pre", "norm_eps": 1e-6, "position": "rope"}
    more = {"ffn": "swiglu", "bias": False, "qkv_bias": False, "lm_head": "linear"}
    return {"bert": bert, "llama": bert.model_copy(update={**family, **more})}


def theirs(family: str, config: ModelConfig) -> torch.nn.Module:
    """The same shape in transformers."""
    shape = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.d_ff,
        "max_position_embeddings": config.max_positions,
        "tie_word_embeddings": True,
        "bos_token_id": config.special.bos,
        "eos_token_id": config.special.eos,
        "pad_token_id": config.special.pad,
    }
    if family == "bert":
        return BertLMHeadModel(BertConfig(**shape, is_decoder=True)).eval()
    return LlamaForCausalLM(LlamaConfig(**shape)).eval()


def their_write(model: torch.nn.Module, ids_BR: torch.Tensor, beams: int, bf16: bool) -> Write:
    """`generate`, greedy or with beams."""
    model = model.to(torch.bfloat16 if bf16 else torch.float32)
    options = {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False}

    def write() -> int:
        with torch.inference_mode():
            out = model.generate(
                ids_BR, attention_mask=torch.ones_like(ids_BR), num_beams=beams, **options
            )
        assert out.shape == (len(ids_BR), SOURCE + NEW)
        return len(ids_BR) * NEW

    return write


def our_write(writer: Writer, ids_BR: torch.Tensor, beams: int) -> Write:
    """`Writer.read` and `Writer.write`; under the late plan segment states are at hand."""
    B, R = ids_BR.shape
    kept_MD = torch.randn(B * R, writer.model.config.d_model)
    index_BR = torch.arange(B * R).view(B, R) if writer.plan == "late" else ids_BR
    valid_BR, slot_BR = torch.ones(B, R, dtype=torch.bool), torch.full((B, R), 8)
    source = SourceRows(index_BR, valid_BR, slot_BR, slot_BR * 0, torch.full((B, 1), R - 1))
    method = "greedy" if beams == 1 else "beam"
    decoding = Decoding(method=method, beams=beams, max_tokens=NEW, min_tokens=NEW)

    def write() -> int:
        found = writer.write(writer.read(source, kept_MD), decoding)
        assert all(len(texts[0].ids) == NEW for texts in found)
        return B * NEW

    return write


def all_words(writer: Writer) -> Writer:
    """As many words compete as in transformers: special ones too, for the same work."""
    words, V = writer.words, writer.model.config.vocab_size
    words.ids, words.place_of = torch.arange(V).numpy(), torch.arange(V).numpy()
    words.eos = writer.tokenizer.special.eos
    writer._head = type(writer._head)(writer.model, words)
    return writer


def writers(
    family: str, model: M6, tokenizer: Tokenizer, ids_BR: torch.Tensor, beams: int
) -> dict[str, Write]:
    """What is compared, by name."""
    out: dict[str, Write] = {}
    for bf16 in (False, True):
        kind = "bfloat16" if bf16 else "float32"
        rival = theirs(family, model.config)
        out[f"transformers, {kind}"] = their_write(rival, ids_BR, beams, bf16)
        full = Writer(model, tokenizer, 5, "full", bf16=bf16)
        out[f"full, all words, {kind}"] = our_write(all_words(full), ids_BR, beams)
        for plan in ("full", "late"):
            writer = Writer(model, tokenizer, 5, plan, bf16=bf16)  # type: ignore[arg-type]
            out[f"{plan}, {kind}"] = our_write(writer, ids_BR, beams)
    return out


def measure(named: dict[str, Write], repeats: int) -> dict[str, dict[str, float]]:
    """Least time of each, calls taking turns."""
    best, tokens = dict.fromkeys(named, float("inf")), dict.fromkeys(named, 0)
    for turn in range(repeats + 1):  # the first turn warms up
        for name, write in named.items():
            begin = time.perf_counter()
            tokens[name] = write()
            if turn:
                best[name] = min(best[name], time.perf_counter() - begin)
    return {
        name: {"seconds": round(s, 4), "tokens_per_second": round(tokens[name] / s, 1)}
        for name, s in best.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--json", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cases", default="bert:1:1 bert:32:1 llama:1:1 llama:32:1 bert:8:4")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    transformers.logging.set_verbosity_error()
    tokenizer = load_start("minilm-l6")[1]
    results: list[dict[str, object]] = []
    for case in options.cases.split():
        family, batch, beams = case.split(":")
        torch.manual_seed(0)
        model = M6(configs(tokenizer)[family]).eval()
        ids_BR = torch.randint(2000, 20_000, (int(batch), SOURCE))
        found = measure(writers(family, model, tokenizer, ids_BR, int(beams)), options.repeats)
        results.append({"family": family, "batch": int(batch), "beams": int(beams), **found})
        print(json.dumps(results[-1], indent=1), flush=True)
    machine = {
        "threads": options.threads,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "cpu": platform.processor() or platform.machine(),
    }
    if options.json:
        body = {"source": SOURCE, "new": NEW, **machine, "cases": results}
        options.json.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
