"""What may be asked: the bodies of requests, checked field by field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    StringConstraints,
    field_validator,
    model_validator,
)

from m6rec.data.history import parse_history
from m6rec.data.where import filter_of, several
from m6rec.offers import Filter
from m6rec.records import Event
from m6rec.serving.http.written import PLAIN, Id, OwnId, Seconds, numbers_of
from m6rec.serving.service import Question

Text = Annotated[str, StringConstraints(max_length=20_000, pattern=r"^[^\x00]*$")]
Title = Annotated[
    str,
    StringConstraints(min_length=1, max_length=2000, pattern=r"^[^\x00]*[^\s\x00][^\x00]*$"),
]
Number = Annotated[float, Field(allow_inf_nan=False)]
Value = Text | Number | bool | list[Text] | None
NUMBERS = ("price", "value")
MOST_ITEMS, MOST_EVENTS = 1000, 10_000
"""In one request."""


class Asked(BaseModel):
    """Base of bodies: no key passes unnoticed."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Written(BaseModel):
    """Base of bodies whose numbers may be written as people do."""

    _lost: tuple[str, ...] = PrivateAttr(default=())

    @model_validator(mode="wrap")
    @classmethod
    def _read(cls, body: object, make: Callable[[object], Self]) -> Self:
        read, lost = numbers_of(body, NUMBERS)
        made: Self = make(read)
        made._lost = lost
        return made

    @property
    def lost(self) -> tuple[str, ...]:
        """What could not be read, in words."""
        return self._lost


class Item(Written):
    """An item; further fields are kept, and templates may name them."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, Value]

    item_id: OwnId
    title: Title
    category: Text | list[Text] | None = Field(default=None, description="One, or several.")
    description: Text | None = None
    brand: Text | None = None
    price: Number | None = Field(default=None, description="Text such as $12.99 is read, too.")
    available_from: Seconds | None = None

    @field_validator("category")
    @classmethod
    def _as_one_text(cls, category: str | list[str] | None) -> str | None:
        """As a table of items has it."""
        return "|".join(category) if isinstance(category, list) else category


class User(BaseModel):
    """A user; further fields are kept, and templates may name them."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, Value]

    user_id: OwnId


class NewEvent(Written, Asked):
    """Something a user did. event_id: the same one twice is kept once; so is, without one, the
    same event with the same timestamp or position."""

    user_id: OwnId
    event: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=PLAIN)]
    item_id: OwnId | None = None
    timestamp: Seconds | None = Field(default=None, description="Seconds since 1970; else: now.")
    value: Number | None = Field(default=None, description="A rating, a quantity or a price.")
    query: Text | None = None
    text: Text | None = None
    event_id: Id | None = None
    request_id: Id | None = None
    position: int | None = Field(default=None, ge=0, lt=1 << 31)
    price: Number | None = None

    @model_validator(mode="after")
    def _is_about_something(self) -> Self:
        if self.item_id is None and not self.query and not self.text:
            raise ValueError("an event names an item_id, or has a query or a text")
        return self


class Items(Asked):
    """Items to be added, or replaced where they are there."""

    items: list[Item] = Field(min_length=1, max_length=MOST_ITEMS)


class Users(Asked):
    """Users to be added, or replaced where they are there."""

    users: list[User] = Field(min_length=1, max_length=MOST_ITEMS)


class Events(Asked):
    """Events to be added, in the order in which they happened."""

    events: list[NewEvent] = Field(min_length=1, max_length=MOST_EVENTS)


class Where(Asked):
    """Which items may be recommended; what is not said is not asked."""

    categories: list[Text] | None = Field(default=None, max_length=100)
    price_min: Number | None = None
    price_max: Number | None = None
    available: bool = Field(
        default=True, description="Leaves out what is available later only, hidden or sold out."
    )
    hide: list[Id] = Field(default_factory=list, max_length=1000)

    @field_validator("categories", "hide", mode="before")
    @classmethod
    def _as_several(cls, value: object) -> object:
        return several(value)

    def to_filter(self) -> Filter:
        """For the index."""
        return filter_of(self.model_dump())


class PastEvent(Written, Asked):
    """An event of a history that comes with the request."""

    event: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=PLAIN)]
    item_id: Id | None = None
    text: Text | None = None
    query: Text | None = None
    timestamp: Seconds | None = None
    value: Number | None = None


class Person(Asked):
    """Who asks: a user of the journal, or a history that comes with the request.

    history: oldest first, in words ("clicked: trail running shoes") or as events. context: what is
    wanted now, in words; it is read as the newest thing of the history.
    """

    user_id: Id | None = None
    history: list[Title | PastEvent] | None = Field(default=None, max_length=200)
    context: Title | None = None

    def events(self, scale: float) -> tuple[Event, ...] | None:
        """The history that came along; None: the user's own. scale: the data's highest rating."""
        if self.history is None and self.context is None:
            return None if self.user_id is not None else ()
        given = [one if isinstance(one, str) else one.model_dump() for one in self.history or []]
        told = parse_history(given, scale)
        return told if self.context is None else (*told, Event("context", text=self.context))


class Retrieve(Person):
    """The k items that are nearest to a user."""

    k: int = Field(default=100, ge=1, le=2000)
    where: Where = Where()
    seen_too: bool = Field(
        default=False, description="Whether items of the history may come again."
    )
    variant: Id | None = Field(
        default=None, description="A model by name, instead of the assigned one."
    )

    def question(self, scale: float) -> Question:
        """As the service takes it. scale: the data's highest rating."""
        return Question(
            user_id=self.user_id,
            history=self.events(scale),
            where=self.where.to_filter(),
            seen_too=self.seen_too,
            k=self.k,
            retrieve=self.k,
            rank=False,
            variant=self.variant,
        )


class Recommend(Person):
    """Retrieve, filter, rank, diversify, and explain where that is asked for."""

    k: int = Field(default=10, ge=1, le=100)
    candidates: int = Field(default=500, ge=1, le=2000, description="Items that are ranked.")
    where: Where = Where()
    seen_too: bool = Field(
        default=False, description="Whether items of the history may come again."
    )
    diversity: float = Field(default=0.0, ge=0, le=1, description="0: by score alone.")
    explain: bool = Field(default=False, description="A reason with each item.")
    variant: Id | None = Field(
        default=None, description="A model by name, instead of the assigned one."
    )

    def question(self, scale: float) -> Question:
        """As the service takes it. scale: the data's highest rating."""
        return Question(
            user_id=self.user_id,
            history=self.events(scale),
            where=self.where.to_filter(),
            seen_too=self.seen_too,
            k=self.k,
            retrieve=max(self.k, self.candidates),
            diversity=self.diversity,
            variant=self.variant,
        )


class RecommendMany(Asked):
    """Several at once; they are answered in order."""

    requests: list[Recommend] = Field(min_length=1, max_length=100)


class Rank(Person):
    """Which of some items of the catalogue fit best: all of them, best first."""

    item_ids: list[Id] = Field(min_length=1, max_length=2000)
    variant: Id | None = None

    def question(self, scale: float) -> Question:
        """As the service takes it. scale: the data's highest rating."""
        return Question(
            user_id=self.user_id,
            history=self.events(scale),
            k=len(self.item_ids),
            given=tuple(self.item_ids),
            variant=self.variant,
        )


class Score(Person):
    """How likely items are after a history, with no training. items: titles, or ids."""

    items: list[Title] = Field(min_length=1, max_length=200)
    calibrated: bool = True


class Explain(Person):
    """Why a user may like an item (an item_id, or a title)."""

    item: Title
    faithful: bool = True


class TitleFor(Person):
    """Products that would suit a user."""

    n: int = Field(default=1, ge=1, le=10)
    category: Text | None = None


class QueryFor(Person):
    """Searches that an item should be found by, or that a user types next."""

    item: Title | None = None
    n: int = Field(default=1, ge=1, le=10)
    faithful: bool = False


class Message(BaseModel):
    """A turn of a chat; further fields of OpenAI's are passed over."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | list[dict[str, Any]] | None = None

    def words(self) -> str:
        """Its text; of several parts those that are text."""
        if not isinstance(self.content, list):
            return self.content or ""
        parts = [part.get("text") for part in self.content]
        return "\n".join(part for part in parts if isinstance(part, str))


class ChatAsked(BaseModel):
    """OpenAI's chat completions; further fields (temperature, tools, …) are passed over.

    user: a shopper of the journal, whose history shapes what is recommended.
    """

    messages: list[Message] = Field(min_length=1, max_length=200)
    model: Text = "m6rec"
    stream: bool = False
    user: Text | None = None


class EmbeddingsAsked(BaseModel):
    """OpenAI's embeddings; further fields are passed over."""

    input: Text | list[Text] = Field(max_length=20_000)
    model: Text = "m6rec"
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(default=None, ge=1)
    user: Text | None = None


MOST_TEXTS = 256
"""Texts of one request for embeddings."""

ModelName = Annotated[
    str, StringConstraints(max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*$")
]


class OpenModel(Asked):
    """Opens a model beside the one that answers. name: what it is called from now on.

    model: a shipped checkpoint, or a folder in the server's folder of models; adapters: folders of
    tuned tasks there. activate: it answers as soon as it is open.
    """

    name: ModelName
    model: ModelName
    adapters: list[ModelName] = Field(default_factory=list, max_length=10)
    activate: bool = True


class Experiment(Asked):
    """Shares of the users by model, 1 together; none: the experiment ends."""

    shares: dict[ModelName, Annotated[float, Field(gt=0, le=1)]] = Field(max_length=10)
