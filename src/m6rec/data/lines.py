"""The lines of a text file, and an account that every one of them is put down in.

The law: the lines of a file are its header, rows, rejected lines, blank lines, and the further
lines of records that go over several (a quoted field, an object). Every reader of text takes its
lines from a `LineAccount` and settles it, so that no row can vanish without a count.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from m6rec.data.batches import Batch, Broken
from m6rec.data.schema import DataError

UTF_16 = (b"\xff\xfe", b"\xfe\xff")
FIRST_BYTES = 1 << 16
"""Of a file, in which the end of its first line is looked for."""


class LineAccount:
    """What became of the lines of one file.

    read: lines taken from the file. header, rows, rejects, blank: lines that begin these;
    inside: further lines of a record that goes over several, and of an array's brackets. shared:
    rows that begin on the line of another one, which only an array has.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.read = 0
        self.header = 0
        self.rows = 0
        self.rejects = 0
        self.blank = 0
        self.inside = 0
        self.shared = 0

    def lines(self) -> Iterator[str]:
        """The lines of the file, plain or gzipped, with their ends, counted.

        The first line tells what ends a line: `\\n` (then a `\\r` within a line is white space), or
        `\\r`. Bytes that are not UTF-8 become lone surrogates. Raises DataError for UTF-16, and for
        gzip that ends too early.
        """
        path = self.path
        try:
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as raw:
                head = raw.read(FIRST_BYTES)
                raw.seek(0)
                if head[:2] in UTF_16:
                    raise DataError(f"{path}: saved as UTF-16; save it as UTF-8")
                end = _line_end(head)
                with io.TextIOWrapper(raw, "utf-8-sig", "surrogateescape", newline=end) as text:
                    for words in text:
                        self.read += 1
                        yield words
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(
                f"{path}: the gzip file is cut off or damaged after line {self.read} ({error}); "
                "fetch it again, or unpack what is whole yourself"
            ) from error

    def add(self, batch: Batch) -> Batch:
        """Puts down the rows and rejected lines of a batch, as they are handed over."""
        self.rows += batch.frame.height
        self.rejects += len(batch.broken)
        return batch

    @property
    def counted(self) -> int:
        """Lines that are accounted for."""
        rows = self.rows + self.rejects - self.shared
        return self.header + rows + self.blank + self.inside

    def settle(self, ahead: int = 0) -> None:
        """Raises DataError where lines were lost or counted twice.

        ahead: lines that were taken from the file and are still to be cut.
        """
        done = self.read - ahead
        if self.counted != done:
            raise DataError(
                f"{self.path}: up to line {done} there are {self.counted} lines in the account "
                f"(header {self.header}, rows {self.rows}, rejected {self.rejects}, blank "
                f"{self.blank}, inside records {self.inside}): rows would be lost, so nothing is "
                "read; this is a fault of the reader, please report it with these lines"
            )


def is_blank(text: str) -> bool:
    """Whether a line says nothing."""
    return not text or text.isspace()


def bare(text: str) -> str:
    """A line without its end; tools that turn line ends into others leave `\\r\\r\\n`."""
    return text.rstrip("\n").rstrip("\r")


def text_lines(path: Path) -> Iterator[str]:
    """The lines of a file; see `LineAccount.lines`."""
    return LineAccount(path).lines()


def _line_end(head: bytes) -> str:
    """The `newline` of `io`: only `\\n` ends a line, or also `\\r`, as it does the first one."""
    first = re.search(rb"[\r\n]+", head)
    return "" if first and b"\n" not in first.group() else "\n"


def is_unicode(text: str) -> bool:
    """Whether all of a text was UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def as_latin_1(text: str) -> str:
    """The text with bytes that were no UTF-8 taken for Latin-1."""
    return text if is_unicode(text) else text.encode(errors="surrogateescape").decode("latin-1")


def displayable(text: str) -> str:
    """Bytes that were no UTF-8 become the replacement character."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


def not_utf8(row: int, line: int, text: str) -> Broken:
    """What is said of a line with such bytes."""
    return Broken(row, line, displayable(text), "bytes that are not UTF-8", "a file saved as UTF-8")
