"""Which tokens of a foreign vocabulary become our special tokens.

Tokens that already mean the same keep their ids; the rest take tokens that were left free for
such use ([unused0], <|reserved_special_token_0|>), and rows are added where none are free.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
import torch
from torch import Tensor

from m6rec.config import SpecialIds
from m6rec.model.checkpoint import TOKENIZER, CheckpointError
from m6rec.text.tokenizer import Tokenizer

BERT_NAMES = {"pad": "[PAD]", "bos_source": "[CLS]", "eos_source": "[SEP]", "mask": "[MASK]"}
DECODER_NAMES = {"eos": "eos", "bos_source": "bos", "pad": "pad", "mask": "mask"}
"""Our role → what tokenizer_config.json and config.json call it (eos_token, eos_token_id)."""
ROLES = ("bos_source", "eos_source", "bos", "eos", "mask", "pad")
FREE = re.compile(r"\[unused(\d+)\]|<.*(?:reserved|unused).*>")
NOISE = 0.1
"""Added rows: the mean embedding and this share of the embeddings' spread, at random."""


class ForeignVocabulary:
    """A tokenizer.json as its makers wrote it, added tokens included."""

    def __init__(self, definition: str, path: Path, rows: int) -> None:
        self.definition, self.rows = definition, rows
        self.path = path / TOKENIZER if path.is_dir() else path
        try:
            self._inner = tokenizers.Tokenizer.from_str(self.definition)
        except Exception as error:  # tokenizers raises bare Exception on a damaged definition
            raise CheckpointError(f"{self.path} is not a tokenizer definition: {error}") from None
        self.added = {token.content for token in self._inner.get_added_tokens_decoder().values()}

    def id_of(self, token: object) -> int | None:
        """Id of a token that has a row in the embedding, else None."""
        found = self._inner.token_to_id(token) if isinstance(token, str) else None
        return found if found is not None and found < self.rows else None

    def token_of(self, number: object) -> str | None:
        """An added token by id; None where the id is an ordinary word or nothing."""
        token = self._inner.id_to_token(number) if isinstance(number, int) and number >= 0 else None
        return token if token in self.added else None

    def free_ids(self) -> list[int]:
        """Ids of tokens that were left free, in order."""
        vocabulary = self._inner.get_vocab(with_added_tokens=True)
        return sorted(i for t, i in vocabulary.items() if FREE.fullmatch(t) and i < self.rows)

    def is_own(self, number: int) -> bool:
        """Whether an id is a token that the model was trained with."""
        token = self._inner.id_to_token(number) if number < self.rows else None
        return token is not None and not FREE.fullmatch(token)

    def puts_first(self, token: object) -> bool:
        """Whether the tokenizer puts a token before every text."""
        number = self.id_of(token)
        return number is not None and self._inner.encode("a").ids[:1] == [number]

    def check(self, special: SpecialIds) -> Tokenizer:
        """Our tokenizer; CheckpointError where some text would become a special token."""
        tokenizer = Tokenizer(self.definition, special)
        if tokenizer.vocab_size > self.rows:
            raise CheckpointError(
                f"{self.path} has {tokenizer.vocab_size} tokens, but the embedding {self.rows} rows"
            )
        for role, number in special.model_dump().items():
            text = self._inner.id_to_token(number) if number < self.rows else None
            if text and number in tokenizer.encode(text, budget=len(text)):
                raise CheckpointError(
                    f"{self.path}: the text {text!r} is read as the special token {role} (id "
                    f"{number}); no text may become a special token. Give the tokenizer a "
                    "pre-tokenizer that splits punctuation"
                )
        return tokenizer


def choose(
    raw: Mapping[str, Any], said: Mapping[str, Any], vocabulary: ForeignVocabulary
) -> SpecialIds:
    """Six distinct ids; those from `vocabulary.rows` on are rows that are still to be added.

    raw: config.json. said: tokenizer_config.json.
    """
    if raw.get("model_type") == "bert":
        wanted: dict[str, object] = dict(BERT_NAMES)
    else:
        wanted = _decoder_tokens(raw, said, vocabulary)
    ids: dict[str, int] = {}
    for role, token in wanted.items():
        number = vocabulary.id_of(token)
        if number is not None and number not in ids.values():
            ids[role] = number
    fresh = [number for number in vocabulary.free_ids() if number not in ids.values()]
    fresh += range(vocabulary.rows, vocabulary.rows + len(ROLES))
    for role in ROLES:
        if role not in ids:
            ids[role] = fresh.pop(0)
    return SpecialIds(**ids)


def add_rows(tensors: dict[str, Tensor], rows: int) -> None:
    """Widens embedding and decoder to `rows` tokens, in place; the same rows every time.

    Their numbers are those of bfloat16, so that a table of such a file can be written as one.
    """
    generator = torch.Generator().manual_seed(0)
    for name in ("tokens.weight", "lm_head.decoder.weight", "lm_head.decoder.bias"):
        table = tensors.get(name)
        if table is None or len(table) >= rows:
            continue
        noise = torch.randn(rows - len(table), *table.shape[1:], generator=generator)
        rows_ND = table.mean(0) + NOISE * table.std(0) * noise
        tensors[name] = torch.cat([table, rows_ND.bfloat16().to(table.dtype)])


def begin_like_newline(
    tensors: dict[str, Tensor], tokenizer: Tokenizer, vocabulary: ForeignVocabulary
) -> None:
    """[BOS'], [EOS'] and [BOS], where they are no tokens of the model's own, begin as the newline.

    In texts that a language model has read, a line's end stands where these stand in ours. A
    vocabulary without a newline (BERT's) leaves them as they are.
    """
    newline = tokenizer.encode("\n", budget=2)
    if len(newline) != 1:
        return
    special = tokenizer.special
    table = tensors["tokens.weight"] = tensors["tokens.weight"].clone()
    for number in (special.bos_source, special.eos_source, special.bos):
        if not vocabulary.is_own(number):
            table[number] = table[newline[0]]


def _decoder_tokens(
    raw: Mapping[str, Any], said: Mapping[str, Any], vocabulary: ForeignVocabulary
) -> dict[str, object]:
    """Role → token by tokenizer_config.json, or by the ids of config.json where it is silent.

    A token for the beginning counts where the tokenizer puts it before texts; elsewhere (SmolLM2
    names one of its chat format) the network has never read a text after it.
    """
    out: dict[str, object] = {}
    for role, name in DECODER_NAMES.items():
        token = said.get(f"{name}_token")
        token = token.get("content") if isinstance(token, dict) else token
        if token is None:
            number = raw.get(f"{name}_token_id")
            number = number[0] if isinstance(number, list) and number else number
            token = vocabulary.token_of(number)
        out[role] = token
    if not said.get("add_bos_token", vocabulary.puts_first(out["bos_source"])):
        del out["bos_source"]
    return out


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; CheckpointError names the file and the cause."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} should hold a JSON object, not {type(value).__name__}")
    return value


def read_definition(path: Path) -> str:
    """tokenizer.json as text; CheckpointError where it is missing or no JSON object."""
    if not path.is_file():
        raise CheckpointError(
            f"{path} is missing; write one with transformers: "
            "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
        )
    return json.dumps(read_json(path), ensure_ascii=False)
