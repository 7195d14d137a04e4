"""The journal: items, users and events in the order they came, kept before they are acknowledged.

What a server knows besides its models stands here, and everything else (the live catalogue, the
vector index, histories in memory) is made from it again by reading entries in order.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, cast

from m6rec.records import M6Error
from m6rec.stores.journal.origin import Erasure, Seed
from m6rec.stores.journal.retention import EVERYTHING, Retention

Told = Literal["item", "user", "event"]
"""What is appended."""
Kind = Literal["item", "user", "event", "erase_user", "erase_item"]
OWNER: dict[Told, str] = {"item": "item_id", "user": "user_id", "event": "user_id"}
"""Field of a body that is its entry's key."""
LONGEST_KEY = 512
MOST_FIELDS, LONGEST_FIELD, LARGEST_BODY = 256, 128, 256 << 10
"""Of a body: fields, characters of a field's name, bytes of its JSON."""
ENCODER = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
)
Body = dict[str, Any]


class JournalError(M6Error):
    """Something was not kept, or can not be read: the message says why."""


class JournalBusy(JournalError):  # noqa: N818 - a name that callers know
    """More waits to be written than is allowed; nothing was kept, and a later try may pass."""


class BodyError(JournalError):
    """A body or a key that can not be kept as it is: whoever sent it has to change it."""


class JournalConflict(JournalError):  # noqa: N818
    """An idempotency key that has already been used for something else."""


class Entry(NamedTuple):
    """One line of the journal. at: when it came, in seconds since 1970.

    key: item_id or user_id; of `erase_user` what `Journal.masked` makes of the user's id.
    """

    number: int
    kind: Kind
    key: str
    body: Body
    at: float


class EntryText(NamedTuple):
    """An entry whose body is the JSON that is kept; see Entry."""

    number: int
    kind: Kind
    key: str
    text: str
    at: float


@dataclass(frozen=True)
class Appended:
    """What an append did. last: number of the last entry when it was done.

    stored, duplicates: bodies that were kept, and events that were there already.
    repeated: the whole of it had been kept before, under the same idempotency key.
    """

    stored: int
    duplicates: int
    last: int
    repeated: bool = False


@dataclass(frozen=True)
class Receipt:
    """Proof of an erasure: what was erased, when, and as which entry that is written down.

    key: as in the entry; the id of a user does not stand in it. hash: SHA-256 of the rest, which
    stands in the entry as well. entries: how many, by kind.
    """

    kind: Literal["erase_user", "erase_item"]
    key: str
    entries: Mapping[str, int]
    number: int
    at: float
    hash: str = ""

    def sealed(self) -> Receipt:
        """The same with its hash."""
        rest = {name: value for name, value in asdict(self).items() if name != "hash"}
        digest = hashlib.sha256(to_json(rest).encode()).hexdigest()
        return Receipt(self.kind, self.key, self.entries, self.number, self.at, digest)

    def to_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return asdict(self)


@dataclass(frozen=True)
class Compacted:
    """What a compaction did: bytes of the journal before and after."""

    before: int
    after: int


class Journal(ABC):
    """Entries with numbers from 1 on, in one order for all who read. Safe to use from threads."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Tells this journal from any other, so that a snapshot is not read beside a wrong one."""

    @abstractmethod
    def submit(
        self, kind: Told, bodies: Sequence[Body], *, idempotency: str | None = None
    ) -> Future[Appended]:
        """As `append`, for callers that wait in another way.

        Raises JournalError at once where a body can not be kept, and JournalBusy.
        """

    def append(
        self, kind: Told, bodies: Sequence[Body], *, idempotency: str | None = None
    ) -> Appended:
        """Keeps all bodies or none; they are on the disk when this returns.

        Each names its `item_id` or `user_id`. An event may carry an `event_id`: the same one
        twice is kept once, as are, without one, events that say the same with a timestamp or a
        position. The same idempotency key with the same bodies keeps nothing twice and
        gives the same answer; with others it raises JournalConflict. Raises JournalBusy where too
        much waits, JournalError where a body or the disk does not allow it.
        """
        return self.submit(kind, bodies, idempotency=idempotency).result()

    @abstractmethod
    def entries(self, after: int = 0, limit: int = 10_000) -> list[Entry]:
        """Entries with numbers above `after`, in order; what was erased is left out."""

    @abstractmethod
    def entry_texts(self, after: int = 0, limit: int = 10_000) -> list[EntryText]:
        """As `entries`, with bodies unread: for who reads many of them at once."""

    @abstractmethod
    def last(self) -> int:
        """Number of the last entry; 0: there is none."""

    @abstractmethod
    def item(self, item_id: str) -> Body | None:
        """The newest body of an item."""

    @abstractmethod
    def items(self, after: str | None = None, limit: int = 1000) -> list[Body]:
        """Newest bodies of items by item_id, those above `after` (the last page's last id)."""

    @abstractmethod
    def user(self, user_id: str) -> Body | None:
        """The newest body of a user."""

    @abstractmethod
    def history(self, user_id: str, limit: int = 100) -> list[Body]:
        """A user's newest events, newest last: by `timestamp`, or by when they came."""

    @property
    @abstractmethod
    def salt(self) -> str:
        """Key of this journal's hashes, in hex."""

    @abstractmethod
    def masked(self, user_id: str, salt: str | None = None) -> str:
        """What stands for a user in `erase_user`: a keyed hash, the same for the same id.

        salt: of another journal, as the body of an erasure that was made there names it.
        """

    @abstractmethod
    def seed(self) -> Seed | None:
        """What it was filled from while it was empty; None: it began empty, or it was filled before
        that was written down."""

    @abstractmethod
    def begin_seed(
        self,
        seed: Seed,
        before: Sequence[str] = (),
        own: Sequence[Erasure] = (),
        later: Sequence[Erasure] = (),
    ) -> Seed:
        """Writes down what an empty journal will be filled from; returns that as it stands there.

        before: names of the journals that it continues. own: erasures that the rows to come know
        of. later: others; rows that users left before them are not taken in. Raises JournalConflict
        where the journal is not empty.
        """

    @abstractmethod
    def grow_seed(self, seed: Seed, kind: Told, bodies: Sequence[Body]) -> Seed:
        """Takes in the next rows, and writes down how far that is, in one transaction.

        seed: as it stands in the journal; raises JournalConflict where it has grown since.
        """

    @abstractmethod
    def before(self) -> tuple[str, ...]:
        """Names of the journals that this one continues: those that its rows were restored from."""

    @abstractmethod
    def erasures(self) -> list[Erasure]:
        """Users who were erased, here or in the journals that this one continues."""

    @abstractmethod
    def honour(self, made: Sequence[Erasure]) -> int:
        """Erases who was erased elsewhere, where this journal does not know of it: a copy that is
        older than the erasure. Returns how many entries that were."""

    @abstractmethod
    def erase_user(self, user_id: str) -> Receipt:
        """Removes a user and all their events, also from what the disk keeps of older states."""

    @abstractmethod
    def erase_item(self, item_id: str) -> Receipt:
        """Removes an item; events that name it stay with their users."""

    @abstractmethod
    def compact(self, least: float = 0.0, keep: Retention = EVERYTHING) -> Compacted | None:
        """Removes what is of no more use: erased rows, older bodies of items and users, and events
        that `keep` leaves out.

        least: the share of the entries from which on it is worth it; None is returned below it.
        Others write and read meanwhile. Raises JournalBusy where it has to be tried again,
        JournalError where the disk does not allow it; nothing is lost then.
        """

    @abstractmethod
    def dropped(self) -> int:
        """How many events were left out by `compact` so far."""

    @abstractmethod
    def snapshot(self, folder: str | Path) -> dict[str, Any]:
        """Writes a copy of all of it as it is at one moment, while others write; returns its
        manifest. Where the database has none to give (PostgreSQL), it is an export."""

    @abstractmethod
    def check(self) -> list[str]:
        """What is wrong in it, in words; reads all of it."""

    @abstractmethod
    def shared(self, name: str) -> bytes | None:
        """What one server made for all servers of this journal; None: nobody did."""

    @abstractmethod
    def share(self, name: str, value: bytes) -> bytes:
        """Gives all servers what was made here, or returns what another one gave before."""

    @abstractmethod
    def waiting(self) -> int:
        """Bodies that wait to be written."""

    @abstractmethod
    def export(self, folder: str | Path) -> dict[str, Any]:
        """Writes canonical tables and a manifest with counts and hashes; returns the manifest."""

    @abstractmethod
    def restore(self, folder: str | Path, later: Sequence[Erasure] = ()) -> dict[str, Any]:
        """Reads what `export` wrote, into a journal that is empty; returns the manifest.

        later: erasures that were made after the export; who was erased by them is not brought back.
        Stopped half-way, it goes on when it is called again.
        """

    @abstractmethod
    def close(self) -> None:
        """Writes what waits and gives back files; the journal is not used afterwards."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()


@dataclass(frozen=True)
class Line:
    """A body ready to be written. event_id: its own, or of an event that says when or where it
    happened all that it says: the same event again is a copy. happened: seconds since 1970; None:
    when it comes."""

    key: str
    text: str
    event_id: str | None
    happened: float | None


def to_json(body: object) -> str:
    """One form for one meaning: sorted keys, no spaces. Raises ValueError for NaN and the like."""
    return ENCODER.encode(body)


def check_key(field: str, value: object, where: str = "") -> str:
    """A key as it may stand in a journal. Raises BodyError."""
    if not isinstance(value, str) or not value:
        raise BodyError(f"{where}{field}: right is a text that is not empty, not {value!r}")
    if len(value) > LONGEST_KEY:
        raise BodyError(f"{where}{field}: {len(value)} characters, right is {LONGEST_KEY}")
    if "\0" in value or not _encodes(value):
        raise BodyError(f"{where}{field}: {value!r} holds characters that are no text")
    return value


def check_lines(kind: Told, bodies: Sequence[Body]) -> list[Line]:
    """Bodies as they are written. Raises BodyError that names the body and the field."""
    if kind not in OWNER:
        raise BodyError(f"no kind {kind!r} of entry: right is {', '.join(OWNER)}")
    return [_line(kind, number, body) for number, body in enumerate(bodies)]


def _line(kind: Told, number: int, body: Body) -> Line:
    where = f"{kind} {number}: "
    if not isinstance(body, dict):
        raise BodyError(f"{where}right is an object with fields, not {type(body).__name__}")
    key = check_key(OWNER[kind], body.get(OWNER[kind]), where)
    event_id: str | None = None
    happened: float | None = None
    if kind == "event":
        if body.get("event_id") is not None:
            event_id = check_key("event_id", body["event_id"], where)
        when = body.get("timestamp")
        if when is not None and (isinstance(when, bool) or not isinstance(when, int | float)):
            raise BodyError(f"{where}timestamp: right is seconds since 1970, not {when!r}")
        happened = cast("float | None", when)
    if (problem := beyond(body)) is not None:
        raise BodyError(f"{where}{problem}")
    try:
        text = to_json(body)
    except (TypeError, ValueError, RecursionError) as error:
        raise BodyError(f"{where}is not JSON: {error}") from None
    if not _encodes(text):
        raise BodyError(f"{where}holds characters that are no text (half of a pair)")
    if (problem := beyond(body, text)) is not None:
        raise BodyError(f"{where}{problem}")
    placed = happened is not None or (kind == "event" and body.get("position") is not None)
    if event_id is None and placed:
        event_id = said(text)
    return Line(key, text, event_id, happened)


def said(text: str) -> str:
    """Stands for the event_id of an event that has none; no event_id of a caller's has a zero in
    it. text: JSON of the body."""
    return f"\0{text}"


def beyond(body: Body, text: str = "") -> str | None:
    """Which bound a body is beyond, in words. text: its JSON, where that is known."""
    if len(body) > MOST_FIELDS:
        return f"{len(body):,} fields, right is at most {MOST_FIELDS}"
    longest = max((len(str(name)) for name in body), default=0)
    if longest > LONGEST_FIELD:
        return f"the name of a field has {longest:,} characters, right is at most {LONGEST_FIELD}"
    size = len(text.encode("utf-8", "replace"))
    if size > LARGEST_BODY:
        return f"{size:,} bytes, right is at most {LARGEST_BODY:,}"
    return None


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
