"""Plain text → documents: .txt files with one document a line, or paragraphs with blank lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from m6rec.training.corpus.cleaning import clean_part
from m6rec.training.corpus.documents import CorpusError, Document

WORDS = 60
"""Most words of a part: a gap-filling example reads about so many."""
PARTS = 4
"""Most parts of a document; a longer text becomes several, which are held out together."""
KEY = 200
"""Characters that name a text."""
SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+")


def text_documents(source: str, files: list[Path]) -> Iterator[Document]:
    """Documents of .txt files, in order. CorpusError names a file that is not UTF-8."""
    for path in files:
        for text in _texts(path):
            cleaned = clean_part(text, longest=len(text))
            parts = cut_at_sentences(cleaned)
            for first in range(0, len(parts), PARTS):
                some = tuple(parts[first : first + PARTS])
                key = cleaned[:KEY].lower()
                yield Document(source, "text", key, ("text",) * len(some), some)


def _texts(path: Path) -> list[str]:
    """Paragraphs where the file has blank lines between others, else lines."""
    try:
        whole = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise CorpusError(
            f"{path}, line {line}: bytes that are not UTF-8; save the file as UTF-8"
        ) from None
    except OSError as error:
        raise CorpusError(f"{path}: can not be read ({error.strerror})") from None
    paragraphs = re.split(r"\n(?:[^\S\n]*\n)+", whole.strip())
    return paragraphs if len(paragraphs) > 1 else whole.strip().split("\n")


def cut_at_sentences(text: str, most: int = WORDS) -> list[str]:
    """Parts of at most `most` words that end with a sentence, where sentences are no longer."""
    parts: list[list[str]] = [[]]
    for sentence in SENTENCE_END.split(text):
        words = sentence.split()
        if parts[-1] and len(parts[-1]) + len(words) > most:
            parts.append([])
        for word in words:
            if len(parts[-1]) == most:
                parts.append([])
            parts[-1].append(word)
    return [" ".join(words) for words in parts if words]
