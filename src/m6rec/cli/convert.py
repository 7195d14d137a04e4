"""`m6rec convert-hf SRC OUT`: a Hugging Face folder becomes a backbone folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from m6rec.cli.common import Json, out, verb, write_json
from m6rec.model.hf import convert_hf as convert


@verb
def convert_hf(
    source: Annotated[Path, typer.Argument(help="Folder with config.json and safetensors.")],
    target: Annotated[Path, typer.Argument(help="Folder to write.")],
    json: Json = None,
) -> None:
    """Convert BERT, MiniLM, Llama, Qwen3 or SmolLM weights; they give the same logits as before."""
    config = convert(source, target)
    out.print(
        f"{target}: {config.layers} layers of width {config.d_model}, {config.vocab_size:,} tokens"
    )
    write_json(config.model_dump(), json)
