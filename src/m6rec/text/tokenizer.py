"""Text ↔ token ids. Special tokens exist as ids only: no text, however written, becomes one.

Two ways from text to ids: `encode` for what the network reads (segments), and `write` for what it
is to write, which keeps capitals, spaces and every character (text/spelling.py).
Built on the `tokenizers` library (huggingface.co/docs/tokenizers).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import tokenizers

from m6rec.config import SpecialIds
from m6rec.records import M6Error
from m6rec.text.spelling import Reader, Spelling

CHARS_PER_TOKEN = 12
"""No text needs more characters than this for its token budget; the rest is cut unread."""


class TokenizerError(M6Error):
    """tokenizer.json is missing or damaged."""


class Tokenizer:
    """A `tokenizers` pipeline that has forgotten its added tokens, and the ids of ours."""

    def __init__(self, definition: str, special: SpecialIds) -> None:
        self.definition = _forget_added_tokens(definition)
        self.special = special
        self._inner = tokenizers.Tokenizer.from_str(self.definition)
        pieces = self._inner.get_vocab()
        self._spelling = Spelling(pieces, self._read) if Spelling.fits(pieces) else None
        self._drop = frozenset(special.model_dump().values())
        self.unknown_id = _unknown_id(self.definition, pieces)

    @classmethod
    def load(cls, path: Path, special: SpecialIds) -> Tokenizer:
        """Reads a tokenizer.json; raises TokenizerError naming the file and the cause."""
        try:
            return cls(path.read_text(encoding="utf-8"), special)
        except FileNotFoundError:
            raise TokenizerError(f"{path} is missing") from None
        except Exception as error:  # tokenizers raises bare Exception on a damaged definition
            raise TokenizerError(f"{path} is not a tokenizer definition: {error}") from None

    def save(self, path: Path) -> None:
        """Writes tokenizer.json, without the added tokens it has forgotten."""
        path.write_text(self.definition, encoding="utf-8")

    @property
    def vocab_size(self) -> int:
        """Number of wordpieces, special ids included."""
        return self._inner.get_vocab_size()

    def encode(self, text: str, budget: int) -> list[int]:
        """At most `budget` ids of the text alone, cut at the end."""
        cut = text[: budget * CHARS_PER_TOKEN]
        return list(self._inner.encode(cut, add_special_tokens=False).ids[:budget])

    def encode_batch(self, texts: Sequence[str], budgets: Sequence[int]) -> list[list[int]]:
        """`encode` for many texts at once, on all cores."""
        cut = [t[: b * CHARS_PER_TOKEN] for t, b in zip(texts, budgets, strict=True)]
        encodings = self._inner.encode_batch(cut, add_special_tokens=False)
        return [list(e.ids[:b]) for e, b in zip(encodings, budgets, strict=True)]

    def unread_characters(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Characters of each text that no piece stands for, and all of its characters, spaces left
        out of both; int64 [len(texts)] each."""
        total = np.array([sum(not c.isspace() for c in text) for text in texts], dtype=np.int64)
        unread = np.zeros(len(texts), dtype=np.int64)
        if self.unknown_id is None or not len(texts):
            return unread, total
        encodings = self._inner.encode_batch(list(texts), add_special_tokens=False)
        for place, (text, encoding) in enumerate(zip(texts, encodings, strict=True)):
            for number, (start, stop) in zip(encoding.ids, encoding.offsets, strict=True):
                if number == self.unknown_id:
                    unread[place] += sum(not c.isspace() for c in text[start:stop])
        return unread, total

    @cached_property
    def wordless_ids(self) -> frozenset[int]:
        """Ids that tell no word: the unknown one and those of punctuation, where there is an
        unknown one."""
        if self.unknown_id is None:
            return frozenset()
        pieces = self._inner.get_vocab()
        marks = {number for piece, number in pieces.items() if not any(map(str.isalnum, piece))}
        return frozenset(marks | {self.unknown_id})

    def tells_nothing(self, ids: Sequence[int], besides: Collection[int] = ()) -> bool:
        """Whether a text with these ids is unreadable whole: unknown words, and no known one.

        All such texts are the same to a network. besides: ids that count for nothing.
        """
        if self.unknown_id is None or self.unknown_id not in ids:
            return False
        return self.wordless_ids.issuperset(set(ids).difference(besides))

    def write(self, text: str, budget: int | None = None) -> list[int]:
        """Ids of a text that is to be written: decode(write(text)) == text, without loss.

        At most `budget` ids, cut at the end. With a vocabulary of another family (it has no room
        for markers), what the vocabulary itself does.
        """
        cut = text if budget is None else text[: budget * CHARS_PER_TOKEN]
        ids = self._read(cut) if self._spelling is None else self._spelling.write(cut)
        return ids if budget is None else ids[:budget]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of written ids; special ids are left out."""
        kept = [i for i in ids if i not in self._drop]
        if self._spelling is None:
            return self._inner.decode(kept, skip_special_tokens=False)
        return self._spelling.read(kept)

    def reader(self) -> Reader | None:
        """Turns written ids into text one by one (None where `write` has no markers)."""
        return None if self._spelling is None else self._spelling.reader()

    @property
    def marker_ids(self) -> list[int]:
        """Ids of markers and bytes, which only written text uses."""
        spelling = self._spelling
        return [] if spelling is None else [*spelling.marker.values(), *spelling.byte]

    @property
    def writable_ids(self) -> list[int]:
        """Every id that `write` can give, in order: no special one, and none for "unknown"."""
        if self._spelling is not None:
            return self._spelling.writable()
        if self.written_bytes:
            return sorted(self.written_bytes)
        named = re.compile(r"\[[^\]]+\]|<unk>")
        pieces = self._inner.get_vocab()
        return sorted(
            i for p, i in pieces.items() if i not in self._drop and not named.fullmatch(p)
        )

    @cached_property
    def written_bytes(self) -> Mapping[int, bytes]:
        """What each id spells that `write` can give, of a byte-level vocabulary; else empty.

        Such ids are single bytes and what merges make; special tokens are neither.
        """
        return _byte_level(self.definition, self._drop)

    @cached_property
    def id_of_bytes(self) -> Mapping[bytes, int]:
        """The inverse of `written_bytes`."""
        return {spelled: number for number, spelled in self.written_bytes.items()}

    @cached_property
    def begun_bytes(self) -> Mapping[bytes, bytes]:
        """Each beginning of what ids spell → the bytes that can go on with it."""
        following: dict[bytes, set[int]] = {}
        for spelled in self.written_bytes.values():
            for end in range(len(spelled)):
                following.setdefault(spelled[:end], set()).add(spelled[end])
        return {prefix: bytes(sorted(found)) for prefix, found in following.items()}

    @property
    def spelling(self) -> Spelling | None:
        """Markers and pieces of written text (None where `write` has no markers)."""
        return self._spelling

    def _read(self, text: str) -> list[int]:
        return list(self._inner.encode(text, add_special_tokens=False).ids)

    def segments(
        self, texts: Sequence[str], budgets: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Texts as segments `[BOS'] text [EOS']`: ids int64 [S, N] and valid bool [S, N].

        `budgets` count the tokens between the brackets.
        """
        rows = [
            [self.special.bos_source, *ids, self.special.eos_source]
            for ids in self.encode_batch(texts, budgets)
        ]
        width = max((len(row) for row in rows), default=0)
        ids_SN = np.full((len(rows), width), self.special.pad, dtype=np.int64)
        for index, row in enumerate(rows):
            ids_SN[index, : len(row)] = row
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        return ids_SN, np.arange(width)[None, :] < lengths[:, None]


def _unknown_id(definition: str, pieces: Mapping[str, int]) -> int | None:
    """The id of what the vocabulary can not read; None where it spells everything (bytes)."""
    model = json.loads(definition)["model"]
    if model.get("byte_fallback"):
        return None
    number = model.get("unk_id")
    return pieces.get(model.get("unk_token") or "") if number is None else int(number)


def _byte_level(definition: str, besides: Collection[int]) -> dict[int, bytes]:
    tree = json.loads(definition)
    model = tree["model"]
    if model.get("type") != "BPE" or "ByteLevel" not in json.dumps(tree.get("decoder")):
        return {}
    # GPT-2's alphabet: bytes that can be printed stand for themselves, the others from 256 on.
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in plain]
    byte_of = {chr(byte): byte for byte in plain}
    byte_of |= {chr(256 + n): byte for n, byte in enumerate(hidden)}
    made = (merge if isinstance(merge, list) else merge.split(" ") for merge in model["merges"])
    pieces = {*byte_of, *("".join(pair) for pair in made)}
    return {
        number: bytes(byte_of[character] for character in piece)
        for piece, number in model["vocab"].items()
        if piece in pieces and number not in besides and set(piece) <= byte_of.keys()
    }


def _forget_added_tokens(definition: str) -> str:
    """Without added tokens the string "[SEP]" is five characters, not a separator."""
    tree = json.loads(definition)
    tree["added_tokens"] = []
    tree["post_processor"] = None
    tree["truncation"] = None
    tree["padding"] = None
    return json.dumps(tree, ensure_ascii=False)
