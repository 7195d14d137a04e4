"""A tokenizer with room for markers, a few documents, and walks under constraints: for tests of
writing and pretraining."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Sequence

import tokenizers
import torch

from m6rec.config import ModelConfig, SpecialIds
from m6rec.model.generation.constrain import Constraint
from m6rec.model.m6 import M6
from m6rec.text.tokenizer import Tokenizer
from m6rec.training.corpus.documents import Document

SPECIAL = SpecialIds(pad=0, bos_source=101, eos_source=102, bos=1, eos=2, mask=103)
WORDS = (
    *("red", "blue", "green", "shoe", "tent", "lamp", "bought", "clicked", "write", "the", "title"),
    *("review", "reply", "good", "bad", "for", "of", "non", "slip", "phone", "wi", "fi"),
)


def tokenizer() -> Tokenizer:
    """Uncased wordpieces laid out as BERT's: specials, [unusedN], characters, words."""
    unused = [f"[unused{n}]" for n in range(99)]
    pieces = ["[PAD]", *unused, "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces += [f"[unused{n}]" for n in range(99, 500)]
    signs = [*string.punctuation, *string.digits, *string.ascii_lowercase, "–", "’"]
    pieces += [*signs, *(f"##{c}" for c in string.digits + string.ascii_lowercase), *WORDS]
    model = {
        "type": "WordPiece",
        "vocab": {piece: number for number, piece in enumerate(dict.fromkeys(pieces))},
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 30,
    }
    normalizer = {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "strip_accents": None,
        "lowercase": True,
    }
    definition = {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": normalizer,
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": model,
    }
    return Tokenizer(json.dumps(definition), SPECIAL)


def byte_level(texts: Sequence[str], size: int = 340) -> Tokenizer:
    """A tokenizer as Llama's family has one, whose merges were learned from some texts."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size,
        show_progress=False,
        special_tokens=list(SPECIAL.model_dump()),
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    )
    made.train_from_iterator(texts, trainer)
    special = {role: made.token_to_id(role) for role in SPECIAL.model_dump()}
    return Tokenizer(made.to_str(), SpecialIds(**special))


def backbone(layers: int = 3, seed: int = 0) -> tuple[M6, Tokenizer]:
    """Random weights over that vocabulary, lively enough that texts differ."""
    words = tokenizer()
    config = ModelConfig(
        vocab_size=words.vocab_size,
        d_model=16,
        layers=layers,
        heads=2,
        kv_heads=2,
        head_dim=8,
        d_ff=32,
        max_positions=512,
        special=SPECIAL,
        projection=8,
    )
    torch.manual_seed(seed)
    model = M6(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
        model.segments.weight.normal_(std=0.3)
        model.read_token.normal_(std=0.3)
    return model.eval(), words


def documents(times: int = 6) -> list[Document]:
    """One document of every kind, several times with other colours."""
    out = []
    for number in range(times):
        colour, other = WORDS[number % 3], WORDS[(number + 1) % 3]
        title, about = (
            f"{colour.title()} Shoe {number}",
            f"A {colour} shoe of the good kind, {number}.",
        )
        events = tuple(f"{c.title()} {t}" for c in (colour, other) for t in ("Tent", "Lamp"))
        out += [
            Document(
                "shop", "item", f"i{number}", ("title", "category", "description"),
                (title, "Shoe", about),
            ),
            Document(
                "shop", "review", f"r{number}", ("item", "rating", "summary", "review"),
                (title, "rated 5 of 5", f"Good for the {colour} tent", f"The {other} one is bad."),
            ),
            Document(
                "talk", "dialogue", f"d{number}", ("user", "system", "user", "system"),
                ("a tent", f"the {colour} one?", "good", f"Write of the {other} lamp."),
            ),
            Document(
                "why", "explanation", f"e{number}", ("profile", "item", "explanation"),
                (f"likes {colour}", title, f"The user would enjoy {colour}."),
            ),
            Document(
                "shop", "behaviour", f"u{number}", ("bought",) * 4, events,
                tuple(f"{e} of the shop" for e in events),
            ),
        ]  # fmt: skip
    return out


def accepts(held: Constraint, ids: Sequence[int]) -> bool:
    """Whether a constraint lets a text be written, and end there."""
    state = held.start()
    for token in ids:
        if token not in held.allowed(state):
            return False
        state = held.step(state, token)
    return held.may_end(state) and held.eos in held.allowed(state)


def walk_along(
    held: Constraint, known: Sequence[Sequence[int]], length: int, seed: int
) -> tuple[list[int], int]:
    """A text of ids that would rather go on as a known one does than anywhere else, and how often
    it was not let."""
    draws, state, ids, refused = random.Random(seed), held.start(), list[int](), 0
    source, at = draws.choice(known), 0
    for _ in range(length):
        allowed = set(held.allowed(state).tolist())
        assert allowed > {held.eos}
        if at == len(source) or draws.random() < 0.04:
            source, at = draws.choice(known), 0
        token = source[at]
        if token not in allowed:
            refused += 1
            token = draws.choice(sorted(allowed - {held.eos}))
        at += 1
        ids.append(token)
        state = held.step(state, token)
    return ids, refused
