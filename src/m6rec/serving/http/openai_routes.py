"""OpenAI's chat completions and embeddings, so that its clients work against this server.

A chat is a conversation over the catalogue (docs/conversation.md). The server keeps none: the turns
of the request are gone through again, and items in replies are found by their titles.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from litestar import Response, get, post
from litestar.openapi import ResponseSpec
from litestar.params import JSONBody
from litestar.response import Stream

from m6rec.data.kinds import Verdict
from m6rec.data.talks import Ask, Turn
from m6rec.data.verdicts import Scale, history_verdicts
from m6rec.records import Event, M6Error
from m6rec.serving.http.gate import needs
from m6rec.serving.http.problems import Refused, answers
from m6rec.serving.http.schemas import MOST_TEXTS, ChatAsked, EmbeddingsAsked
from m6rec.serving.http.shared import Connection, The, charge, client_of
from m6rec.serving.known import acts
from m6rec.serving.live import LiveModel
from m6rec.tasks.dialogue import Conversation, Offer

READS = [needs("read")]
MODEL = "m6rec"
TEXTS_AT_ONCE = 32
"""Texts that are embedded before it is another client's turn."""
EVENTS = "text/event-stream; charset=utf-8"
OPINIONS = (Verdict.YES, Verdict.NO)
NEWEST_LIKED = 10
"""Items of a shopper's history that count as liked."""


@dataclass(frozen=True)
class Said:
    """A reply. items: those that it recommends; OpenAI has no such field, its clients keep it."""

    content: str
    items: list[Offer] = field(default_factory=list)
    role: str = "assistant"


@dataclass(frozen=True)
class Choice:
    """The one reply."""

    message: Said
    index: int = 0
    finish_reason: str = "stop"


@dataclass(frozen=True)
class Usage:
    """Tokens read and written."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int = 0


@dataclass(frozen=True)
class Completion:
    """OpenAI's chat.completion."""

    id: str
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    object: str = "chat.completion"


@dataclass(frozen=True)
class Embedding:
    """A vector, as numbers or as base64 of float32."""

    index: int
    embedding: list[float] | str
    object: str = "embedding"


@dataclass(frozen=True)
class Embeddings:
    """OpenAI's list of embeddings."""

    data: list[Embedding]
    model: str
    usage: Usage
    object: str = "list"


@dataclass(frozen=True)
class Served:
    """A model of OpenAI's list."""

    id: str
    created: int = 0
    object: str = "model"
    owned_by: str = "m6rec"


@dataclass(frozen=True)
class ServedList:
    """OpenAI's list of models."""

    data: list[Served]
    object: str = "list"


@get("/v1/models", guards=READS, responses=answers(), tags=["openai"])
async def list_models(service: The) -> ServedList:
    """The models that are open, first the name for the one that answers."""
    names = [MODEL, *(model.name for model in service.registry.models())]
    return ServedList([Served(name) for name in dict.fromkeys(names)])


@post(
    "/v1/chat/completions",
    guards=READS,
    responses={200: ResponseSpec(Completion, generate_examples=False), **answers(409)},
    status_code=200,
    tags=["openai"],
)
async def chat(data: JSONBody[ChatAsked], service: The, request: Connection) -> Response[Any]:
    """A reply to the last turn, whole, or piece by piece as server-sent events (`stream`)."""
    if data.messages[-1].role != "user":
        raise Refused(400, "messages: the last one has to be of the user")
    past = await _past(service, data.user)
    about = {"id": f"chatcmpl-{request.scope['state']['request_id']}", "created": int(time.time())}
    key = data.user or client_of(request)
    if data.stream:
        pieces = _pieces(service, data, past, (key, client_of(request)), about)
        return Stream(pieces, headers={"Content-Type": EVENTS, "X-Accel-Buffering": "no"})

    def work(model: LiveModel) -> Completion:
        talk = _talk(model, data, past)
        reply = talk.say(data.messages[-1].words())
        read = sum(_tokens(model, message.words()) for message in data.messages)
        written = _tokens(model, reply.text)
        usage = Usage(read, read + written, written)
        said = Said(reply.text, list(reply.items))
        return Completion(choices=[Choice(said)], model=MODEL, usage=usage, **about)  # type: ignore[arg-type]

    return Response(await service.slow(work, key, client_of(request)))


async def _pieces(
    service: The,
    data: ChatAsked,
    past: Sequence[Event],
    who: tuple[str, str],
    about: dict[str, Any],
) -> AsyncIterator[str]:
    """Server-sent events. An error after the first byte is told as an event, as OpenAI does.

    who: whose variant, and whose turn.
    """

    def event(delta: dict[str, Any], reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        told = {**about, "object": "chat.completion.chunk", "model": MODEL, "choices": [choice]}
        return f"data: {json.dumps(told)}\n\n"

    def work(model: LiveModel) -> Iterator[str]:
        talk = _talk(model, data, past)
        yield event({"role": "assistant", "content": ""})
        for piece in talk.stream(data.messages[-1].words()):
            yield event({"content": piece})
        items = [asdict(offer) for offer in talk.last.items]
        yield event({"items": items} if items else {}, "stop")

    try:
        async for piece in service.stream(work, *who):
            yield piece
    except (M6Error, TimeoutError) as error:
        told = {"message": str(error) or "no answer in time", "type": "server_error"}
        yield f"data: {json.dumps({'error': told})}\n\n"
    yield "data: [DONE]\n\n"


@post("/v1/embeddings", guards=READS, responses=answers(), status_code=200, tags=["openai"])
async def embeddings(
    data: JSONBody[EmbeddingsAsked], service: The, request: Connection
) -> Embeddings:
    """Vectors of texts by the backbone: unit length, their inner product is similarity."""
    texts = [data.input] if isinstance(data.input, str) else data.input
    if not texts or len(texts) > MOST_TEXTS or not all(text.strip() for text in texts):
        raise Refused(400, f"input: right is 1 to {MOST_TEXTS} texts, none of them empty")

    charge(request, service, len(texts))

    def work(some: Sequence[str], model: LiveModel) -> tuple[list[list[float] | str], int]:
        width = model.face.backbone.config.d_model
        if data.dimensions not in (None, width):
            raise M6Error(f"dimensions: this model has {width}")
        vectors = model.face.embed(some)
        found: list[list[float] | str] = list(vectors.tolist())
        if data.encoding_format == "base64":
            found = [base64.b64encode(vector.tobytes()).decode() for vector in vectors]
        return found, sum(_tokens(model, text) for text in some)

    parts = [texts[n : n + TEXTS_AT_ONCE] for n in range(0, len(texts), TEXTS_AT_ONCE)]
    client = client_of(request)
    done = await service.slow_in_turns([partial(work, part) for part in parts], client, client)
    vectors = [vector for found, _ in done for vector in found]
    read = sum(tokens for _, tokens in done)
    rows = [Embedding(place, vector) for place, vector in enumerate(vectors)]
    return Embeddings(rows, MODEL, Usage(read, read))


async def _past(service: The, user_id: str | None) -> tuple[Event, ...]:
    """What a shopper did, oldest first; nothing of one who is not named."""
    if not user_id:
        return ()
    own = await service.read(lambda: service.own_events(user_id))
    return acts(own)


def _talk(model: LiveModel, data: ChatAsked, past: Sequence[Event]) -> Conversation:
    """The conversation up to the last turn. What "system" says is not read: the server has rules
    of its own, and nothing in a text is an instruction to it.

    past: items that the user chose before count as liked, those that they disliked as rejected;
    what is said counts for more, and neither is offered again.
    """
    talk = model.writer().chat()
    index, finder = talk.finder.index, talk.finder
    turns = []
    for message in data.messages[:-1]:
        if message.role == "user":
            turns.append(Turn("user", message.words()))
        elif message.role == "assistant":
            rows = [row for _, _, row in index.find(message.words())]
            ids, titles = (
                [names[row] for row in rows] for names in (finder.item_ids, index.titles)
            )
            turns.append(Turn("system", message.words(), tuple(ids), tuple(titles)))
    talk.state = finder.state(Ask("", tuple(turns)))
    _remember(talk, past, Scale(model.scale))
    return talk


def _remember(talk: Conversation, past: Sequence[Event], scale: Scale) -> None:
    """Puts items of a history before those that were spoken of."""
    place, state = talk.finder.place, talk.state
    pairs = zip(past, history_verdicts(past, scale), strict=True)
    told = {e.item_id: says for e, says in pairs if e.item_id in place and says in OPINIONS}
    spoken = {*state.liked, *state.rejected, *state.mentioned}
    known = [(row, says) for i, says in told.items() if i and (row := place[i]) not in spoken]
    liked = [row for row, says in known if says == Verdict.YES]
    state.liked[:0] = liked[-NEWEST_LIKED:]
    state.rejected[:0] = [row for row, says in known if says == Verdict.NO]
    state.mentioned[:0] = liked


def _tokens(model: LiveModel, text: str) -> int:
    return len(model.face.tokenizer.encode(text, budget=1 << 16)) if text else 0


ROUTES: list[Callable[..., Any]] = [list_models, chat, embeddings]
