"""What the server does, without HTTP: who asks, what they did, which model answers, in which lane.

Two lanes keep quick answers quick. Recommendations go through a model's batcher; what writes or
encodes texts goes to one thread with a bounded queue. The journal is read in threads of its own.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar, final

from pydantic import Field, field_validator

from m6rec.config import Settings
from m6rec.data.kinds import kind_of
from m6rec.data.schema import event_kind
from m6rec.offers import Filter
from m6rec.records import Event, M6Error, Request
from m6rec.serving.keeper import Keeper
from m6rec.serving.keys import KeyRing
from m6rec.serving.known import HISTORY, acts
from m6rec.serving.lane import Lane
from m6rec.serving.limits import RateLimit
from m6rec.serving.live import LiveModel
from m6rec.serving.metrics import Metrics
from m6rec.serving.place import Place
from m6rec.serving.registry import Registry
from m6rec.serving.state import StateFolder
from m6rec.serving.steps import EVERYTHING, Served, Wanted
from m6rec.stores.journal.base import Appended, Body, Journal, JournalError, Receipt, Told
from m6rec.stores.journal.retention import Retention

T = TypeVar("T")
JOURNAL_THREADS = 4
READY_SECONDS = 3.0
"""How long the journal may take to say that it is there."""
SNAPSHOTS = 7
"""Newest copies of the journal that stay in the folder of backups."""


class LateError(M6Error):
    """An answer that took longer than it may."""


class ServiceSettings(Settings):
    """sockets: connections that may be open. idle_seconds: how long one may stay open until the
    head of its next request is whole. under_way: requests that are answered at once; others are
    refused for now. reading: bytes of bodies that are being read, all together.
    most_body: bytes of a request. body_seconds: how long a client may take to send one.
    answer_seconds, writing_seconds: how long an answer may take. rate: requests per second for
    each client (0: no limit). lane: requests that may wait to be written. drain_seconds: how long
    answers under way may take when the server stops. compact_seconds: between two looks whether
    the journal is worth compacting (0: never). keep_events: the newest events that are kept, a
    number or days such as 365d ("": all)."""

    sockets: int = Field(default=8192, ge=1)
    idle_seconds: float = Field(default=75.0, gt=0)
    under_way: int = Field(default=512, ge=1)
    reading: int = Field(default=256 << 20, ge=1024)
    most_body: int = Field(default=8 << 20, ge=1024)
    body_seconds: float = Field(default=15.0, gt=0)
    answer_seconds: float = Field(default=10.0, gt=0)
    writing_seconds: float = Field(default=60.0, gt=0)
    rate: float = Field(default=0.0, ge=0)
    lane: int = Field(default=32, ge=1)
    drain_seconds: float = Field(default=20.0, ge=0)
    compact_seconds: float = Field(default=3600.0, ge=0)
    keep_events: str = ""

    @field_validator("keep_events")
    @classmethod
    def _is_kept(cls, text: str) -> str:
        try:
            Retention.parse(text)
        except M6Error as error:
            raise ValueError(str(error)) from None
        return text


@dataclass(frozen=True)
class Question:
    """Who asks for what. history: in words or as events; None: the user's own from the journal."""

    user_id: str | None = None
    history: tuple[Event, ...] | None = None
    where: Filter = EVERYTHING
    seen_too: bool = False
    k: int = 10
    retrieve: int = 500
    given: tuple[str, ...] | None = None
    rank: bool = True
    diversity: float = 0.0
    variant: str | None = None


@dataclass(frozen=True)
class Answered:
    """An answer, by which model, for which history."""

    served: Served
    model: LiveModel
    history: tuple[Event, ...]


@final
class Service:
    """All of a server that is no HTTP. `open_model` opens one by name, for hot swaps."""

    def __init__(
        self,
        journal: Journal,
        registry: Registry,
        keys: KeyRing,
        open_model: Callable[[str, str, Sequence[str]], LiveModel],
        settings: ServiceSettings | None = None,
        place: Place | None = None,
        state: StateFolder | None = None,
    ) -> None:
        self.journal, self.registry, self.keys = journal, registry, keys
        self.open_model, self._place = open_model, place
        self._state = state
        self.settings = settings or ServiceSettings()
        self.limit = RateLimit(self.settings.rate)
        self.metrics = Metrics(self)
        self.draining = False
        self._keeper = Keeper(
            journal, self.settings.compact_seconds, Retention.parse(self.settings.keep_events)
        )
        self._journal_lane = ThreadPoolExecutor(JOURNAL_THREADS, "m6rec-journal")
        self._metrics_lane = ThreadPoolExecutor(1, "m6rec-metrics")
        self._slow_lane = Lane(self.settings.lane)
        self._opening_lane = ThreadPoolExecutor(1, "m6rec-opening")

    @property
    def writing(self) -> int:
        """Requests in the lane of what writes, the one under way included."""
        return self._slow_lane.waiting

    @property
    def scale(self) -> float:
        """Highest rating of the data, in histories that come in words."""
        return self.registry.current.scale

    async def append(self, kind: Told, bodies: Sequence[Body], idempotency: str | None) -> Appended:
        """Keeps bodies; they are on the disk afterwards, and every model is told."""
        submitted = await self.read(
            lambda: self.journal.submit(kind, bodies, idempotency=idempotency)
        )
        try:
            appended = await asyncio.wait_for(
                asyncio.wrap_future(submitted), self.settings.answer_seconds
            )
        except TimeoutError:
            raise LateError(
                f"not kept within {self.settings.answer_seconds:.0f} s, and not known to be kept "
                "later; try again with the same Idempotency-Key"
            ) from None
        self.registry.notify(appended.last)
        return appended

    async def read(self, work: Callable[[], T], seconds: float | None = None) -> T:
        """Runs what reads the journal. seconds: how long that may take (default: as an answer).

        Raises LateError.
        """
        most = seconds or self.settings.answer_seconds
        future = asyncio.get_running_loop().run_in_executor(self._journal_lane, work)
        try:
            return await asyncio.wait_for(future, most)
        except TimeoutError:
            raise LateError(
                f"the journal did not answer within {most:.0f} s; try again later"
            ) from None

    async def figures(self) -> bytes:
        """The figures for Prometheus, read beside everything else."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._metrics_lane, self.metrics.text)

    async def erase_user(self, user_id: str) -> tuple[Receipt, int]:
        """Erases a user from the journal, then from what the models hold in memory; how many pairs
        of choices are no longer counted stands beside the receipt."""
        current = self.registry.current
        pairs = await self.read(lambda: current.counted_pairs(user_id))
        most = self.settings.writing_seconds
        receipt = await self.read(lambda: self.journal.erase_user(user_id), most)
        await self.read(self._keep_state)
        for model in self.registry.models():
            await self.read(partial(model.forget_user, user_id))
        self.registry.notify(receipt.number)
        return receipt, pairs

    async def erase_item(self, item_id: str) -> Receipt:
        """Erases an item."""
        most = self.settings.writing_seconds
        receipt = await self.read(lambda: self.journal.erase_item(item_id), most)
        self.registry.notify(receipt.number)
        return receipt

    async def snapshot(self) -> tuple[str, dict[str, Any]]:
        """Writes a snapshot of the journal; its name in the folder of backups, and the manifest.

        The newest SNAPSHOTS stay there, older ones go.
        """
        if self._place is None:
            raise JournalError("this server has no folder for snapshots")
        backups = self._place.backups
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{self.journal.name}"

        def make() -> dict[str, Any]:
            manifest = self.journal.snapshot(backups / name)
            for old in sorted(one for one in backups.iterdir() if one.is_dir())[:-SNAPSHOTS]:
                shutil.rmtree(old, ignore_errors=True)
            return manifest

        return name, await self.opening(make)

    async def answer(self, questions: Sequence[Question], client: str) -> list[Answered]:
        """Answers, in order. Raises OverloadedError, LateError, RegistryError."""
        wanted = await self.read(lambda: [self._wanted(question) for question in questions])
        return list(
            await asyncio.gather(
                *(self._ask(q, w, client) for q, w in zip(questions, wanted, strict=True))
            )
        )

    async def _ask(self, question: Question, wanted: Wanted, client: str) -> Answered:
        with self.registry.use(question.user_id or client, question.variant) as model:
            future = model.submit(wanted, client)
            served = await _in_time(future, self.settings.answer_seconds)
            assert served is not None
            self.metrics.stages(model.name, served.seconds)
            return Answered(served, model, wanted.request.history)

    def _wanted(self, question: Question) -> Wanted:
        own = self.own_events(question.user_id) if question.user_id is not None else []
        history = question.history
        if history is None:
            history = acts(own)
        told = [event.item_id for event in history]
        seen = {i for i in told if i is not None and not question.seen_too}
        bought = {
            body["item_id"]
            for body in own
            if kind_of(event_kind(body["event"])).bought and body.get("item_id")
        }
        where = question.where
        out = seen if question.given is None else set()
        kept = set() if question.seen_too or question.given is not None else bought
        where = Filter(
            where.categories,
            where.least_price,
            where.most_price,
            where.now,
            {*where.hide, *out},
            kept,
        )
        request = Request(history=history, user_id=question.user_id, timestamp=time.time())
        return Wanted(
            request,
            question.k,
            question.retrieve,
            where,
            question.given,
            question.rank,
            question.diversity,
        )

    def own_events(self, user_id: str) -> list[Body]:
        """A user's newest events, newest last."""
        return self.journal.history(user_id, HISTORY)

    async def slow(self, work: Callable[[LiveModel], T], key: str, client: str = "") -> T:
        """Runs what writes or encodes, one at a time; clients take turns. key: whose variant.

        Raises OverloadedError, LateError.
        """
        return (await self.slow_in_turns([work], key, client))[0]

    async def slow_in_turns(
        self, works: Sequence[Callable[[LiveModel], T]], key: str, client: str
    ) -> list[T]:
        """The same for what comes in parts, each of which takes a turn, on one model."""
        done = []
        with self.registry.use(key) as model:
            for work in works:
                future = self._slow_lane.submit(partial(_at_work, model, work), client)
                done.append(await _in_time(future, self.settings.writing_seconds))
        return done

    async def stream(
        self, work: Callable[[LiveModel], Iterator[T]], key: str, client: str = ""
    ) -> AsyncIterator[T]:
        """The same for what comes in pieces; it ends when nobody listens any more."""
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[tuple[bool, Any]] = asyncio.Queue()
        gone = threading.Event()

        def put(last: bool, piece: object) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, (last, piece))

        def run(model: LiveModel) -> None:
            try:
                with model.working():
                    for piece in work(model):
                        if gone.is_set():
                            return
                        put(False, piece)
            except Exception as error:
                put(True, error)
            else:
                put(True, None)

        with self.registry.use(key) as model:
            future = self._slow_lane.submit(lambda: run(model), client)
            try:
                while True:
                    last, piece = await asyncio.wait_for(
                        pieces.get(), self.settings.writing_seconds
                    )
                    if last and piece is not None:
                        raise piece
                    if last:
                        return
                    yield piece
            finally:
                gone.set()
                future.cancel()

    async def opening(self, work: Callable[[], T]) -> T:
        """Runs what opens models, beside everything else."""
        return await asyncio.get_running_loop().run_in_executor(self._opening_lane, work)

    async def ready(self) -> Mapping[str, bool]:
        """What has to be so for requests to be sent here."""
        try:
            answers = await self.read(self.journal.last, READY_SECONDS) >= 0
        except (JournalError, LateError):
            answers = False
        return {"not draining": not self.draining, "journal": answers}

    def close(self) -> None:
        """Ends all lanes and keeps snapshots; the journal stays open."""
        self._slow_lane.close()
        for lane in (
            self._opening_lane,
            self._metrics_lane,
            self._journal_lane,
        ):
            lane.shutdown(wait=True, cancel_futures=True)
        self._keeper.close()
        self.registry.close()

    def _keep_state(self) -> None:
        """The state folder knows who was erased, too: a copy of the journal may be older."""
        if self._state is not None:
            self._state.keep(self.journal)


async def _in_time(future: Future[T], seconds: float) -> T:
    """What a lane answers. Raises LateError."""
    try:
        return await asyncio.wait_for(asyncio.wrap_future(future), seconds)
    except TimeoutError:
        raise LateError(f"no answer within {seconds:.0f} s; try again later") from None


def _at_work(model: LiveModel, work: Callable[[LiveModel], T]) -> T:
    with model.working():
        return work(model)
