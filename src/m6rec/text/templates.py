"""Templates as data: TOML files say how items, events, profiles and features are written.

`default.toml` holds every key; the other built-in files and a user's own override it key by key.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from m6rec.text.sandbox import Compiled, TemplateError, build_sandbox, compile_template

__all__ = ["TemplateError", "Templates", "builtin_names"]

OPEN = ("event", "words.verbs", "features.sentences")
"""Sections that may have keys of one's own: kinds of events, sentences."""
SETS_AT_HAND = 32
"""Sets of templates that are held compiled: compiling one takes some twenty milliseconds."""
TOO_NEAR = 0.82
"""Likeness (difflib) from which a new key is taken for a slip of the pen."""

VARIABLES: dict[str, frozenset[str]] = {
    "item": frozenset({"row"}),
    "event": frozenset(
        {"verb", "event", "item", "query", "text", "value", "when"}
        | {"seconds", "timestamp", "scale", "row"}
    ),
    "profile": frozenset({"row"}),
    "query": frozenset({"query"}),
    "context": frozenset({"text"}),
    "features.sentences": frozenset(
        {"new_item", "percentile", "item_rate", "item_count", "user_rate", "user_count", "expected"}
        | {"recent_rate", "recent_likes", "recent_total", "own_count", "own_seconds"}
        | {"column", "cross_count", "cross_rate", "shared_liked", "shared_disliked", "agreement"}
    ),
}
"""What a template of each section may name, beside the columns of its table."""
TAG = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
TABLE_OF = {"item": "items", "event": "items", "profile": "users"}


@dataclass(frozen=True)
class Layer:
    """One file of templates: its values by (section, key), and its text for line numbers."""

    name: str
    text: str
    values: Mapping[tuple[str, str], Any] = field(hash=False)
    extends: str | None
    own: bool

    def line(self, section: str, key: str) -> int:
        """Line of a key, from 1; 0 where it can not be found (an inline table)."""
        current = ""
        for number, line in enumerate(self.text.splitlines(), start=1):
            if header := re.match(r"\s*\[([\w.\"-]+)\]", line):
                current = header[1].replace('"', "")
            elif current == section and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
                return number
        return 0

    def place(self, section: str, key: str, line: int = 1) -> str:
        """ "FILE, line N, [section] key" for messages; `line` counts within the value."""
        start = self.line(section, key)
        if not start:
            return f"{self.name}, [{section}] {key}"
        opening = self.text.splitlines()[start - 1].rstrip()
        after_opening = opening.endswith(('"""', "'''"))
        return f"{self.name}, line {start + line - 1 + after_opening}, [{section}] {key}"


class Templates:
    """All templates, compiled, with the words, budgets and dials that go with them.

    Nothing changes them once they are made, so that threads and callers share them: `load` and
    `from_dict` compile what they have compiled before no second time.
    """

    def __init__(self, layers: Collection[Layer]) -> None:
        self._origin: dict[tuple[str, str], Layer] = {}
        for layer in layers:
            self._origin.update(dict.fromkeys(layer.values, layer))
        self._values = {at: layer.values[at] for at, layer in self._origin.items()}
        sandbox = build_sandbox()
        self._compiled = {
            at: compile_template(
                sandbox,
                str(self._values[at]),
                lambda line, at=at, layer=layer: layer.place(*at, line),  # type: ignore[misc]
                layer.own and self._values[at] not in _builtin_values(),
            )
            for at, layer in self._origin.items()
            if at[0] in VARIABLES
        }
        self._check_names()

    @classmethod
    def load(cls, *sources: str | Path | None) -> Templates:
        """The default, then each source over it: the name of a built-in one, or a TOML file.

        A source without `extends` changes only the keys it holds. None is passed over, so that
        `Templates.load(dataset.templates, option)` reads as it should. Raises TemplateError.
        """
        layers = [_builtin("default")]
        for source in sources:
            if source is not None:
                layers.extend(_chain(_read(source)))
        return _compiled_once(tuple(layers))

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], where: str) -> Templates:
        """What `to_dict` gave; `where` names it in messages."""
        return _compiled_once((_builtin("default"), _layer(where, "", raw, own=True)))

    def to_dict(self) -> dict[str, Any]:
        """All values as nested tables, ready for JSON or TOML; keep it beside what was trained."""
        tables: dict[str, Any] = {}
        for (section, key), value in self._values.items():
            table = tables
            for name in section.split("."):
                table = table.setdefault(name, {})
            table[key] = value
        return tables

    def scaled(self, highest: float) -> Templates:
        """The same for ratings up to `highest`; a file that names the scale is left its word."""
        if self._origin["words", "scale"].own or self.word("scale") == highest:
            return self
        raw = self.to_dict()
        return Templates.from_dict({**raw, "words": {**raw["words"], "scale": highest}}, "scaled")

    def get(self, section: str, key: str = "text") -> Compiled:
        """The template of a section; of [item] there is also "short"."""
        return self._compiled[section, key]

    def own_words(self, section: str, key: str = "text") -> str:
        """What a template writes whatever the row says: its source without the tags."""
        return " ".join(TAG.sub(" ", str(self._values[section, key])).split())

    def event(self, kind: str) -> Compiled:
        """The template of a kind of event, or the default one."""
        return self._compiled.get(("event", kind)) or self._compiled["event", "default"]

    def verb(self, kind: str) -> str:
        """The word for a kind of event: from [words.verbs], or the kind itself."""
        return str(self._values.get(("words.verbs", kind), kind.replace("_", " ")))

    def word(self, key: str) -> Any:
        """A value of [words]."""
        return self._values["words", key]

    def option(self, key: str) -> Any:
        """A value of [features]."""
        return self._values["features", key]

    def columns(self, table: str) -> set[str]:
        """Columns of a table (items, users) that templates and features name."""
        named = {
            name
            for (section, _), compiled in self._compiled.items()
            if TABLE_OF.get(section) == table
            for name in compiled.names
        }
        return named | set(self.option("cross")) if table == "items" else named

    def sentences(self) -> list[Compiled]:
        """The templates of [features.sentences], in their order; those left empty are off."""
        return [
            compiled
            for at, compiled in self._compiled.items()
            if at[0] == "features.sentences" and self._values[at].strip()
        ]

    def budget(self, kind: str) -> int:
        """Tokens that a segment of this kind may have."""
        return int(self._values["budget", kind])

    def check(
        self, columns: Mapping[str, Collection[str]], kinds: Collection[str] | None = None
    ) -> list[str]:
        """Warnings about a user's own templates that name what no row has.

        columns: the columns with a value in any row, by table (items, users); a table that is
        left out is not looked at. kinds: the kinds of events that occur.
        """
        warnings = []
        for (section, key), compiled in self._compiled.items():
            table = TABLE_OF.get(section)
            if not compiled.own or table is None or table not in columns:
                continue
            known = {*VARIABLES[section], *columns[table]}
            for name in sorted(compiled.names - known):
                warnings.append(
                    f"{compiled.place}: no row of {table} has {name!r}, so it is left empty"
                    f"{_hint(name, known)}"
                )
            if section == "event" and kinds is not None and not self._is_known_kind(key, kinds):
                warnings.append(f"{compiled.place}: no event is of this kind{_hint(key, kinds)}")
        return warnings

    def _is_known_kind(self, kind: str, kinds: Collection[str]) -> bool:
        builtin = {key for section, key in _builtin("default").values if section in OPEN}
        return kind in kinds or kind in builtin

    def _check_names(self) -> None:
        """Sections that have no table know all their names beforehand."""
        for (section, _), compiled in self._compiled.items():
            if section not in TABLE_OF:
                for name in sorted(compiled.names - VARIABLES[section]):
                    raise TemplateError(
                        f"{compiled.place}: nothing is called {name!r} here"
                        f"{_hint(name, VARIABLES[section])}"
                    )


@lru_cache(maxsize=SETS_AT_HAND)
def _compiled_once(layers: tuple[Layer, ...]) -> Templates:
    return Templates(layers)


def builtin_names() -> list[str]:
    """Names of the templates that come with the package."""
    folder = resources.files("m6rec.text") / "templates"
    return sorted(file.name[:-5] for file in folder.iterdir() if file.name.endswith(".toml"))


@cache
def _builtin_values() -> frozenset[str]:
    """All that any built-in file says: not a user's own, though a saved copy may hold it."""
    values = (value for name in builtin_names() for value in _builtin(name).values.values())
    return frozenset(value for value in values if isinstance(value, str))


def _read(source: str | Path) -> Layer:
    if isinstance(source, str) and source in builtin_names():
        return _builtin(source)
    path = Path(source)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        names = builtin_names()
        raise TemplateError(
            f"no template file {str(source)!r}; right is a TOML file or one of "
            f"{', '.join(names)}{_hint(str(source), names)}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise TemplateError(f"{path} can not be read as text: {error}") from None
    return _layer(str(path), text, _parse(text, str(path)), own=True)


@cache
def _builtin(name: str) -> Layer:
    file = resources.files("m6rec.text") / "templates" / f"{name}.toml"
    text = file.read_text(encoding="utf-8")
    where = f"built-in {name}.toml"
    raw = _parse(text, where)
    if name == "default":
        return Layer(where, text, dict(_flatten(raw, where)), None, own=False)
    return _layer(where, text, raw, own=False)


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TemplateError(f"{where} is not valid TOML: {error}") from None


def _chain(layer: Layer) -> list[Layer]:
    if layer.extends is None:
        return [layer]
    return [*_chain(_builtin(layer.extends)), layer]


def _layer(where: str, text: str, raw: Mapping[str, Any], own: bool) -> Layer:
    extends = raw.get("extends")
    if extends is not None and extends not in builtin_names():
        raise TemplateError(
            f"{where}: extends = {extends!r} is none of {', '.join(builtin_names())}"
            f"{_hint(str(extends), builtin_names())}"
        )
    layer = Layer(where, text, dict(_flatten(raw, where)), extends, own)
    known = _builtin("default").values
    for (section, key), value in layer.values.items():
        _check_key(layer, section, key, known)
        expected = known.get((section, key), "")
        if not _same_type(value, expected):
            raise TemplateError(
                f"{layer.place(section, key)}: {value!r} is not right here, such a value is "
                f"{expected!r}"
            )
    return layer


def _flatten(raw: Mapping[str, Any], where: str) -> Iterator[tuple[tuple[str, str], Any]]:
    for section, table in raw.items():
        if section == "extends":
            continue
        if not isinstance(table, Mapping):
            raise TemplateError(f"{where}: {section!r} should stand in a [section]")
        for key, value in table.items():
            if isinstance(value, Mapping):
                yield from (((f"{section}.{key}", inner), v) for inner, v in value.items())
            else:
                yield (section, key), value


def _check_key(layer: Layer, section: str, key: str, known: Collection[tuple[str, str]]) -> None:
    sections = list(dict.fromkeys(name for name, _ in known))
    if section not in sections:
        raise TemplateError(f"{layer.name}: unknown section [{section}]{_hint(section, sections)}")
    keys = [name for part, name in known if part == section]
    if key in keys:
        return
    near = difflib.get_close_matches(key, keys, n=1, cutoff=TOO_NEAR)
    if section not in OPEN or near:
        raise TemplateError(f"{layer.place(section, key)}: unknown key {key!r}{_hint(key, keys)}")


def _same_type(value: object, expected: object) -> bool:
    if isinstance(expected, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(expected, bool)
    if isinstance(expected, int):
        return isinstance(value, int) and value > 0
    if isinstance(expected, float):
        return isinstance(value, (int, float)) and value > 0
    if isinstance(expected, list):
        return isinstance(value, list) and all(isinstance(part, str) for part in value)
    return isinstance(value, str)


def _hint(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(sorted(known))}"
