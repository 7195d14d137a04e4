"""Figures of other people: shown beside ours only where they were measured under our protocol.

They are data, in reported.toml, each with its source. "Published" is what a model's authors say of
it, "retrained" what somebody else measured with it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Literal

from m6rec.config import ConfigError, Settings
from m6rec.records import ProtocolCard

Who = Literal["published", "retrained"]


class Reported(Settings):
    """One model's figures. source: where they can be read; note: what to know beside them."""

    model: str
    who: Who
    metrics: Mapping[str, float]
    source: str
    note: str = ""


class Protocol(Settings):
    """What the figures were measured on. split: how the card's words begin.

    test, items: requests and catalogue; train: shots, where the protocol draws some. split_hash:
    of the requests, as the card has it, where the data are those this was written by.
    seen_items: whether items of a request's history take part in its ranking.
    """

    dataset: str
    split: str
    test: int
    items: int
    train: int | None = None
    split_hash: str = ""
    seen_items: Literal["kept", "masked"] = "kept"
    figure: tuple[Reported, ...]

    def covers(self, card: ProtocolCard) -> bool:
        """Whether a result with this card is measured on the same requests, in the same way."""
        counts = card.counts
        if card.seen_items != self.seen_items:
            return False
        if self.train is not None and counts.get("train") != self.train:
            return False
        if self.split_hash and self.split_hash == card.split_hash:
            return True
        return (
            card.dataset == self.dataset
            and card.split.startswith(self.split)
            and counts.get("test") == self.test
            and counts.get("items") == self.items
        )


class ReportedFile(Settings):
    """All of reported.toml."""

    protocol: tuple[Protocol, ...]


def parse_reported(text: str, where: str) -> tuple[Protocol, ...]:
    """Protocols of a TOML text. Raises ConfigError, naming `where`, the key and what is right."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where} is not valid TOML: {error}") from None
    return ReportedFile.parse(raw, where).protocol


@cache
def _shipped() -> tuple[Protocol, ...]:
    file = resources.files("m6rec.evaluation") / "reported.toml"
    return parse_reported(file.read_text(encoding="utf-8"), "reported.toml")


def reported_for(
    card: ProtocolCard, protocols: Sequence[Protocol] | None = None
) -> tuple[Reported, ...]:
    """The figures of others under a card's protocol; none where nobody measured under it.

    protocols: None is those that come with the package.
    """
    known = _shipped() if protocols is None else protocols
    return tuple(one for protocol in known if protocol.covers(card) for one in protocol.figure)
