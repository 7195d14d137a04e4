"""The schema in the footer of a Parquet file: what its columns are, beyond what polars tells.

Polars can not say that 16 bytes are a UUID, ends with a panic at a column of INTERVAL, and gives
a whole file up for one text that is not UTF-8. The footer names those columns, and can be written
again so that they are plain bytes.
Source: https://github.com/apache/parquet-format (parquet.thrift) and Thrift's compact protocol.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MAGIC = b"PAR1"
TAIL = 8
"""Bytes at the end: the footer's length, and MAGIC."""
ARROW_SCHEMA, HIDDEN = b"ARROW:schema", b"arrow-schema"
"""Key of the schema that Arrow adds, and one of the same length that no reader knows."""
I32, BINARY, LIST, STRUCT = 5, 8, 9, 12
WITHIN = "\0"
"""Between the names of a path: the name of a column may hold a dot."""
NAME, CHILDREN, CONVERTED, LOGICAL = 4, 5, 6, 10
"""Fields of a schema element."""
UTF8, ENUM, JSON, INTERVAL = 0, 4, 19, 21
"""Converted types; of the logical ones: 1 STRING, 4 ENUM, 12 JSON, 14 UUID."""
TEXT_LOGICAL, UUID_LOGICAL = (1, 4, 12), 14


class FooterError(ValueError):
    """Why a file is no Parquet file."""


@dataclass(frozen=True)
class Element:
    """One node of the schema. path: names from the top, with WITHIN between; kind: what it holds.

    start, stop: its bytes in the footer; plain: the same bytes without what it means.
    """

    path: str
    kind: str
    children: int
    start: int
    stop: int
    plain: bytes


@dataclass(frozen=True)
class Footer:
    """A footer's bytes, and the elements of its schema but the root, in order."""

    data: bytes
    elements: tuple[Element, ...]

    def of(self, kind: str) -> frozenset[str]:
        """Paths of all columns of a kind: "interval", "uuid" or "text"."""
        return frozenset(one.path for one in self.elements if one.kind == kind)

    def plain(self, kinds: tuple[str, ...]) -> bytes:
        """The footer with these kinds of columns as plain bytes."""
        parts, position = [], 0
        for one in self.elements:
            if one.kind in kinds:
                parts += [self.data[position : one.start], one.plain]
                position = one.stop
        parts.append(self.data[position:])
        return b"".join(parts).replace(ARROW_SCHEMA, HIDDEN)


def read_footer(path: Path) -> Footer:
    """The footer of a file. Raises FooterError for what is no Parquet file."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - TAIL, 0))
        tail = file.read()
        length = int.from_bytes(tail[:4], "little") if len(tail) == TAIL else -1
        if tail[4:] != MAGIC or not 0 < length <= size - TAIL:
            raise FooterError("its end is not that of a Parquet file")
        file.seek(size - TAIL - length)
        data = file.read(length)
    try:
        return Footer(data, _elements(_Compact(data)))
    except (LookupError, UnicodeError, RecursionError) as error:
        raise FooterError("its footer is damaged") from error


class _Compact:
    """A reader of Thrift's compact protocol."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def byte(self) -> int:
        self.position += 1
        return self.data[self.position - 1]

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def integer(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def binary(self) -> bytes:
        length = self.varint()
        self.position += length
        if self.position > len(self.data):
            raise IndexError("a text goes on behind the end")
        return self.data[self.position - length : self.position]

    def list_head(self) -> tuple[int, int]:
        """Length and type of a list's elements."""
        head = self.byte()
        length = head >> 4
        return (self.varint() if length == 15 else length), head & 15

    def fields(self) -> list[tuple[int, int, int]]:
        """(id, type, position of its value) of a struct's fields, which are skipped."""
        found = []
        number = 0
        while head := self.byte():
            number = number + (head >> 4) if head >> 4 else self.integer()
            found.append((number, head & 15, self.position))
            self.skip(head & 15)
        return found

    def skip(self, kind: int, inside: bool = False) -> None:
        """Goes behind a value; inside: of a list, where true and false take a byte."""
        if kind in (1, 2):
            self.position += inside
        elif kind == 3:
            self.position += 1
        elif kind in (4, I32, 6):
            self.varint()
        elif kind == 7:
            self.position += 8
        elif kind == BINARY:
            self.binary()
        elif kind in (LIST, 10):
            length, of = self.list_head()
            for _ in range(length):
                self.skip(of, inside=True)
        elif kind == STRUCT:
            self.fields()
        else:
            raise IndexError(f"type {kind} is none that a footer has")


def _elements(reader: _Compact) -> tuple[Element, ...]:
    """The schema: the second field of the footer, a list of nodes in depth-first order."""
    while True:
        head = reader.byte()
        if head & 15 == LIST:
            break
        reader.skip(head & 15)
    count, _ = reader.list_head()
    found: list[Element] = []
    open_nodes: list[tuple[str, int]] = []
    for i in range(count):
        while open_nodes and not open_nodes[-1][1]:
            open_nodes.pop()
        above = open_nodes[-1][0] if open_nodes else ""
        element = _element(reader, above)
        if open_nodes:
            open_nodes[-1] = (above, open_nodes[-1][1] - 1)
        if i:
            found.append(element)
        open_nodes.append((element.path if i else "", element.children))
    return tuple(found)


def _element(reader: _Compact, above: str) -> Element:
    start = reader.position
    fields = {number: (kind, at) for number, kind, at in reader.fields()}
    stop = reader.position

    def value(number: int) -> int:
        if number not in fields:
            return -1
        reader.position = fields[number][1]
        return reader.integer()

    reader.position = fields[NAME][1]
    name = reader.binary().decode()
    children, converted = max(value(CHILDREN), 0), value(CONVERTED)
    logical = -1
    if LOGICAL in fields:
        reader.position = fields[LOGICAL][1]
        logical = next((number for number, _, _ in reader.fields()), -1)
    kind = "other"
    if converted == INTERVAL:
        kind = "interval"
    elif logical == UUID_LOGICAL:
        kind = "uuid"
    elif converted in (UTF8, ENUM, JSON) or logical in TEXT_LOGICAL:
        kind = "text"
    plain = _without_meaning(reader, fields)
    reader.position = stop
    return Element(f"{above}{WITHIN}{name}" if above else name, kind, children, start, stop, plain)


def _without_meaning(reader: _Compact, fields: dict[int, tuple[int, int]]) -> bytes:
    """A schema element again, without its converted and its logical type."""
    out = bytearray()
    last = 0
    for number in sorted(fields):
        kind, at = fields[number]
        if number in (CONVERTED, LOGICAL):
            continue
        reader.position = at
        reader.skip(kind)
        out.append((number - last) << 4 | kind)
        out += reader.data[at : reader.position]
        last = number
    out.append(0)
    return bytes(out)
