"""Writes src/classes.ts: which characters the tokenizers library drops, splits at and parts.

Its tables are of an older Unicode than a browser's, and stay as they are while browsers move on, so
they are asked for here, character by character: `python edge-web/classes.py`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path

from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

LAST = 0x110000
CLEAN = BertNormalizer(
    clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=False
)
STRIP = BertNormalizer(
    clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False
)
SPLIT = BertPreTokenizer()


def dropped(char: str) -> bool:
    return CLEAN.normalize_str(f"a{char}b") == "ab"


def space(char: str) -> bool:
    return CLEAN.normalize_str(f"a{char}b") == "a b"


def mark(char: str) -> bool:
    return unicodedata.normalize("NFD", char) == char and STRIP.normalize_str(char) == ""


def punctuation(char: str) -> bool:
    return [part for part, _ in SPLIT.pre_tokenize_str(f"a{char}b")] == ["a", char, "b"]


def ranges(belongs: Callable[[str], bool]) -> list[tuple[int, int]]:
    """Runs of code points for which it holds."""
    found: list[tuple[int, int]] = []
    for code in range(1, LAST):
        if 0xD800 <= code <= 0xDFFF or not belongs(chr(code)):
            continue
        if found and found[-1][1] == code - 1:
            found[-1] = (found[-1][0], code)
        else:
            found.append((code, code))
    return found


def base36(number: int) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    return base36(number // 36) + digits[number % 36] if number >= 36 else digits[number]


def packed(runs: list[tuple[int, int]]) -> str:
    """Distance from the run before, and length less one; base 36."""
    parts, at = [], 0
    for first, last in runs:
        parts += [base36(first - at), base36(last - first)]
        at = last
    return " ".join(parts)


def main() -> None:
    """Writes the file."""
    lines = [
        "// Characters as the tokenizers library sorts them; written by classes.py. Runs of code",
        "// points: distance from the end of the run before, and length less one, in base 36.",
    ]
    for name, belongs in (
        ("DROPPED", dropped),
        ("SPACES", space),
        ("MARKS", mark),
        ("PUNCTUATION", punctuation),
    ):
        lines.append(f'export const {name} =\n  "{packed(ranges(belongs))}";')
    path = Path(__file__).resolve().parent / "src" / "classes.ts"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
