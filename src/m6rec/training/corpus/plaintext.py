"""Plain text → documents: .txt files with one document a line, or paragraphs with blank lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from m6rec.data.lines import LineAccount, bare, is_blank, is_unicode
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
            parts = cut_at_sentences(cleaned) or [""]  # counted there, where it is left out
            for first in range(0, len(parts), PARTS):
                some = tuple(parts[first : first + PARTS])
                key = cleaned[:KEY].lower()
                yield Document(source, "text", key, ("text",) * len(some), some)


def _texts(path: Path) -> list[str]:
    """Paragraphs where the file has blank lines between others, else lines."""
    account = LineAccount(path)
    paragraphs: list[list[str]] = [[]]
    try:
        for number, text in enumerate(account.lines(), 1):
            if not is_unicode(text):
                raise CorpusError(
                    f"{path}, line {number}: bytes that are not UTF-8; save the file as UTF-8"
                )
            if is_blank(text):
                account.blank += 1
                if paragraphs[-1]:
                    paragraphs.append([])
            else:
                paragraphs[-1].append(bare(text))
    except OSError as error:
        raise CorpusError(f"{path}: can not be read ({error.strerror})") from None
    found = [lines for lines in paragraphs if lines]
    account.rows += sum(map(len, found))
    account.settle()
    return ["\n".join(lines) for lines in found] if len(found) > 1 else paragraphs[0]


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
