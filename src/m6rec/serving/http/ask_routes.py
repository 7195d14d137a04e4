"""Recommendations, and what else the model answers of items and users."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from litestar import post
from litestar.params import JSONBody, QueryParameter

from m6rec.collaborative.reasons import Reason
from m6rec.records import Event
from m6rec.serving.http.gate import needs
from m6rec.serving.http.problems import answers
from m6rec.serving.http.schemas import (
    Explain,
    Person,
    QueryFor,
    Rank,
    Recommend,
    RecommendMany,
    Retrieve,
    Score,
    TitleFor,
)
from m6rec.serving.http.shared import Connection, The, charge, client_of
from m6rec.serving.known import acts
from m6rec.serving.live import LiveModel
from m6rec.serving.reasons import reasons
from m6rec.serving.service import Answered, Question

READS = [needs("read")]
Debug = Annotated[
    bool, QueryParameter(description="Shows the candidates and scores of every step.")
]
MOST_SHOWN = 500
"""Candidates of a step that `debug` shows."""


@dataclass(frozen=True)
class Found:
    """An item of an answer. score: what it was ordered by, see `by`. counted, words: what people
    chose next and what words say of it, head: what the head read of it; `debug` shows them."""

    item_id: str
    title: str
    score: float
    similarity: float | None = None
    probability: float | None = None
    category: str | None = None
    price: float | None = None
    reason: Reason | None = None
    counted: float | None = None
    words: float | None = None
    head: dict[str, float] | None = None


@dataclass(frozen=True)
class Step:
    """Candidates after a step, best first."""

    step: str
    candidates: list[tuple[str, float]]


@dataclass(frozen=True)
class Debugged:
    """What an answer was made of. milliseconds: of each step, shared by requests of one batch."""

    steps: list[Step]
    milliseconds: dict[str, float]
    history: list[str]


@dataclass(frozen=True)
class Answer:
    """Items, best first. by: what the score is (chosen, similarity, probability or popularity);
    variant: the model that answered."""

    items: list[Found]
    by: str
    variant: str
    debug: Debugged | None = None


@dataclass(frozen=True)
class Answers:
    """Answers in the order of the requests."""

    answers: list[Answer]


@dataclass(frozen=True)
class Scored:
    """An item, and how likely it is after the history (nats per token)."""

    item: str
    score: float


@dataclass(frozen=True)
class Scores:
    """All items that were asked, best first."""

    items: list[Scored]


@dataclass(frozen=True)
class Explained:
    """Why a user may like an item. unsupported: claims that neither item nor history has."""

    text: str
    features: Sequence[str] = ()
    unsupported: Sequence[str] = ()


@dataclass(frozen=True)
class Texts:
    """What was written; titles have a category."""

    texts: list[str]
    categories: list[str] = field(default_factory=list)


@post("/v1/recommend", guards=READS, responses=answers(404), status_code=200, tags=["answers"])
async def recommend(
    data: JSONBody[Recommend], service: The, request: Connection, debug: Debug = False
) -> Answer:
    """Items for a user: retrieve, filter, rank, diversify, and explain where that is asked for."""
    return (await _answer(service, request, [data.question(service.scale)], debug, [data.explain]))[
        0
    ]


@post(
    "/v1/recommend/batch", guards=READS, responses=answers(404), status_code=200, tags=["answers"]
)
async def recommend_batch(
    data: JSONBody[RecommendMany], service: The, request: Connection, debug: Debug = False
) -> Answers:
    """Several recommendations at once."""
    charge(request, service, len(data.requests))
    questions = [one.question(service.scale) for one in data.requests]
    explains = [one.explain for one in data.requests]
    return Answers(await _answer(service, request, questions, debug, explains))


@post("/v1/retrieve", guards=READS, responses=answers(404), status_code=200, tags=["answers"])
async def retrieve(
    data: JSONBody[Retrieve], service: The, request: Connection, debug: Debug = False
) -> Answer:
    """The items nearest to a user, without ranking."""
    return (await _answer(service, request, [data.question(service.scale)], debug, [False]))[0]


@post("/v1/rank", guards=READS, responses=answers(404), status_code=200, tags=["answers"])
async def rank(
    data: JSONBody[Rank], service: The, request: Connection, debug: Debug = False
) -> Answer:
    """Some items of the catalogue in the best order; ids that are not there are left out."""
    return (await _answer(service, request, [data.question(service.scale)], debug, [False]))[0]


@post("/v1/score", guards=READS, responses=answers(), status_code=200, tags=["answers"])
async def score(data: JSONBody[Score], service: The, request: Connection) -> Scores:
    """How likely the words of items are after a history; for items that no catalogue has, too."""
    history = await _history(service, data)

    def work(model: LiveModel) -> list[Scored]:
        titles = [_title(model, item) for item in data.items]
        found = model.writer().score(history, titles, calibrated=data.calibrated)
        given = dict(zip(titles, data.items, strict=True))
        return [Scored(given[one.title], one.score) for one in found]

    return Scores(await service.slow(work, data.user_id or client_of(request), client_of(request)))


@post("/v1/explain", guards=READS, responses=answers(409), status_code=200, tags=["answers"])
async def explain(data: JSONBody[Explain], service: The, request: Connection) -> Explained:
    """Why a user may like an item, written by the model (needs a tuned `explain`)."""
    history = await _history(service, data)

    def work(model: LiveModel) -> Explained:
        found = model.writer().explain(
            data.item, history, user_id=data.user_id, faithful=data.faithful
        )
        return Explained(found.text, found.features, found.unsupported)

    return await service.slow(work, data.user_id or client_of(request), client_of(request))


@post("/v1/title", guards=READS, responses=answers(409), status_code=200, tags=["answers"])
async def title(data: JSONBody[TitleFor], service: The, request: Connection) -> Texts:
    """Products that would suit a user (needs a tuned `title`)."""
    history = await _history(service, data)

    def work(model: LiveModel) -> Texts:
        found = model.writer().title(
            history, user_id=data.user_id, category=data.category, n=data.n
        )
        return Texts([one.title for one in found], [one.category for one in found])

    return await service.slow(work, data.user_id or client_of(request), client_of(request))


@post("/v1/query", guards=READS, responses=answers(409), status_code=200, tags=["answers"])
async def query(data: JSONBody[QueryFor], service: The, request: Connection) -> Texts:
    """Searches for an item, or that a user types next (needs a tuned `query`)."""
    history = await _history(service, data)

    def work(model: LiveModel) -> Texts:
        found = model.writer().query(
            data.item, history, user_id=data.user_id, n=data.n, faithful=data.faithful
        )
        return Texts(found)

    return await service.slow(work, data.user_id or client_of(request), client_of(request))


async def _answer(
    service: The,
    request: Connection,
    questions: Sequence[Question],
    debug: bool,
    explains: Sequence[bool],
) -> list[Answer]:
    found = await service.answer(questions, client_of(request))
    state = request.scope["state"]
    state["variant"], state["seconds"] = found[0].model.name, found[0].served.seconds
    out = []
    for question, answered, wants_reason in zip(questions, found, explains, strict=True):
        why: dict[str, Reason] = {}
        if wants_reason:
            why = await _reasons(service, question, answered, client_of(request))
        out.append(_told(answered, why, debug))
    return out


async def _reasons(
    service: The, question: Question, answered: Answered, client: str
) -> dict[str, Reason]:
    ids = [one.item_id for one in answered.served.placed]
    begin = time.perf_counter()
    found = await service.slow(
        lambda model: reasons(model, ids, answered.history, question.user_id),
        question.user_id or "",
        client,
    )
    service.metrics.stage("explain", answered.model.name, time.perf_counter() - begin)
    return found


def _told(answered: Answered, why: dict[str, Reason], debug: bool) -> Answer:
    shown, served = answered.model.shown, answered.served
    items = []
    for one in served.placed:
        about = shown.get(one.item_id)
        if about is not None:  # else it was erased meanwhile
            scores = (one.score, one.similarity, one.probability)
            reason = why.get(one.item_id)
            about_it = (about.category, about.price)
            found = Found(one.item_id, about.title, *scores, *about_it, reason)
            if debug:
                found = replace(found, counted=one.counted, words=one.words, head=one.head)
            items.append(found)
    debugged = None
    if debug:
        steps = [Step(name, some[:MOST_SHOWN]) for name, some in served.steps.items()]
        taken = {name: round(1000 * seconds, 3) for name, seconds in served.seconds.items()}
        words = answered.model.retriever.packer.verbalizer
        told = [words.event(event, None, 0).text for event in answered.history]
        debugged = Debugged(steps, taken, told)
    return Answer(items, served.by, answered.model.name, debugged)


async def _history(service: The, person: Person) -> tuple[Event, ...]:
    """What came along, or what the journal knows of the user."""
    given = person.events(service.scale)
    if given is not None or person.user_id is None:
        return given or ()
    user_id = person.user_id
    own = await service.read(lambda: service.own_events(user_id))
    return acts(own)


def _title(model: LiveModel, item: str) -> str:
    shown = model.shown.get(item)
    return item if shown is None else shown.title


ROUTES: list[Callable[..., Any]] = [
    recommend,
    recommend_batch,
    retrieve,
    rank,
    score,
    explain,
    title,
    query,
]
