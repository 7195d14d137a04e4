"""The words of the shop: departments, kinds of goods, brands, aspects and sentences, from TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

from m6rec.data.schema import DataError

Form = Literal["count", "plural", "mass"]
STYLES = ("minimal", "classic", "bright", "natural", "rugged")
TITLE = "{brand} {line} {look}{suffix}"


@dataclass(frozen=True)
class Aspect:
    """A quality that people care about; `lack` follows "it is" in a complaint."""

    key: str
    noun: str
    lack: str


@dataclass(frozen=True)
class Feature:
    """A strength of an item. `clause` follows "it" or "they"; `tag` is a word for titles."""

    aspect: str
    clause: str
    tag: str


@dataclass(frozen=True)
class Style:
    """A department's words for a style; `liking` follows "you like"."""

    words: tuple[str, ...]
    liking: str


@dataclass(frozen=True)
class Brand:
    """tier: -1 cheap, 0, 1 dear. style: the one most of its goods have."""

    name: str
    tier: int
    style: str


@dataclass(frozen=True)
class Kind:
    """One sort of goods. form: countable ("a tent"), plural ("socks") or mass ("honey").

    sizes: (words, factor of the price). colours: whether titles name a colour.
    """

    key: str
    department: str
    noun: str
    shelf: str
    price: tuple[float, float]
    uses: tuple[str, ...]
    features: tuple[Feature, ...]
    form: Form
    variants: tuple[str, ...]
    sizes: tuple[tuple[str, float], ...]
    styles: tuple[str, ...]
    colours: bool
    consumable: bool


@dataclass(frozen=True)
class Department:
    """season: demand by month, 12 numbers around 1. lines: the names models have."""

    key: str
    name: str
    pitch: str
    season: tuple[float, ...]
    brands: tuple[Brand, ...]
    styles: Mapping[str, Style]
    lines: tuple[str, ...]
    title: str
    kinds: tuple[Kind, ...]


@dataclass(frozen=True)
class Group:
    """A share of the shoppers, and how much likelier they are to be keen on a department."""

    name: str
    share: float
    keen: Mapping[str, float]


@dataclass(frozen=True)
class Vocabulary:
    departments: tuple[Department, ...]
    aspects: Mapping[str, Aspect]
    colours: Mapping[str, tuple[str, ...]]
    groups: Mapping[str, tuple[Group, ...]]
    complements: Mapping[str, tuple[str, ...]]
    phrases: Mapping[str, Mapping[str, tuple[str, ...]]]


@cache
def vocabulary() -> Vocabulary:
    """All words, read once. Raises DataError where a file names something that is not there."""
    folder = resources.files("m6rec.data.shop")
    shared = tomllib.loads((folder / "shared.toml").read_text("utf-8"))
    phrases = tomllib.loads((folder / "phrases.toml").read_text("utf-8"))
    aspects = {key: Aspect(key, **words) for key, words in shared["aspects"].items()}
    files = sorted((folder / "departments").iterdir(), key=lambda file: file.name)
    departments = tuple(
        _department(file.name.removesuffix(".toml"), tomllib.loads(file.read_text("utf-8")))
        for file in files
        if file.name.endswith(".toml")
    )
    kinds = [kind for department in departments for kind in department.kinds]
    complements = {key: tuple(others) for key, others in shared["complements"].items()}
    _require_known("aspect", (f.aspect for kind in kinds for f in kind.features), aspects)
    known = {kind.key for kind in kinds}
    _require_known(
        "kind", (key for pair in complements.items() for key in (pair[0], *pair[1])), known
    )
    groups = {
        column: tuple(Group(name, **group) for name, group in shared[plural].items())
        for column, plural in (("age", "ages"), ("household", "households"), ("home", "homes"))
    }
    keen = (key for members in groups.values() for group in members for key in group.keen)
    _require_known("department", keen, {department.key for department in departments})
    return Vocabulary(
        departments=departments,
        aspects=aspects,
        colours={style: tuple(names) for style, names in shared["colours"].items()},
        groups=groups,
        complements=complements,
        phrases={
            section: {key: tuple(lines) for key, lines in table.items()}
            for section, table in phrases.items()
        },
    )


def _require_known(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    known = set(known)
    for name in names:
        if name not in known:
            raise DataError(
                f"the shop's words: no {what} {name!r}; right is one of {sorted(known)}"
            )


def _department(key: str, raw: Mapping[str, Any]) -> Department:
    lines = raw.get("lines") or [
        f"{first} {second}"
        for first in raw["line_first"]
        for second in raw["line_second"]
        if not set(first.split()) & set(second.split())
    ]
    brands = tuple(Brand(name, tier, style) for name, (tier, style) in raw["brands"].items())
    _require_known("style", (brand.style for brand in brands), STYLES)
    _require_known("style", STYLES, raw["styles"])
    return Department(
        key=key,
        name=raw["name"],
        pitch=raw["pitch"],
        season=tuple(float(month) for month in raw["season"]),
        brands=brands,
        styles={
            name: Style(tuple(raw["styles"][name]["words"]), raw["styles"][name]["liking"])
            for name in STYLES
        },
        lines=tuple(lines),
        title=raw.get("title", TITLE),
        kinds=tuple(_kind(key, kind, bool(raw.get("colours", True))) for kind in raw["kinds"]),
    )


def _kind(department: str, raw: Mapping[str, Any], colours: bool) -> Kind:
    low, high = raw["price"]
    _require_known("style", raw.get("styles", ()), STYLES)
    return Kind(
        key=raw["key"],
        department=department,
        noun=raw["noun"],
        shelf=raw["shelf"],
        price=(float(low), float(high)),
        uses=tuple(raw["uses"]),
        features=tuple(Feature(*feature) for feature in raw["features"]),
        form=raw.get("form", "count"),
        variants=tuple(raw.get("variants", ())),
        sizes=tuple((words, float(factor)) for words, factor in raw.get("sizes", ())),
        styles=tuple(raw.get("styles", STYLES)),
        colours=bool(raw.get("colours", colours)) and "sizes" not in raw,
        consumable=bool(raw.get("consumable", False)),
    )
