"""`m6rec cache warm|info|clear`: encoded texts that are kept and found again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from m6rec.cli.common import DEFAULT_MODEL, Adapter, Json, Model, err, out, verb, write_json
from m6rec.recommender import M6Rec
from m6rec.stores.states.cache import StateCache
from m6rec.stores.states.codec import Form
from m6rec.stores.states.opening import open_cache, parse_size
from m6rec.tasks.warm import Warmed

Action = Literal["warm", "info", "clear"]
Where = Annotated[
    str, typer.Option("--cache", help="Folder of the cache, or redis://HOST:PORT/DB.")
]


@verb
def cache(
    action: Annotated[Action, typer.Argument(help="warm, info or clear")],
    where: Where,
    data: Annotated[
        Path | None, typer.Option("--data", help="warm: folder with the canonical tables.")
    ] = None,
    adapter: Adapter = None,
    model: Model = DEFAULT_MODEL,
    form: Annotated[Form, typer.Option(help="How states are kept.")] = "fp16",
    limit: Annotated[
        str | None, typer.Option(help="Most that a folder may take, such as 500M (default: 4G).")
    ] = None,
    json: Json = None,
) -> None:
    """Fill a cache of encoded texts from a catalogue, look at it, or empty it.

    What is there is skipped, so warm goes on where it was stopped. A model whose lower layers
    changed, and a changed title, miss by themselves: a cache never has to be cleared to be right.
    """
    if action == "warm" and data is None:
        raise typer.BadParameter("warm needs --data DATA", param_hint="--data")
    states = open_cache(where, form, None if limit is None else parse_size(limit))
    try:
        result: dict[str, object] = {"action": action}
        if action == "warm":
            assert data is not None
            warmed = _warm(states, model, adapter, data)
            result["warmed"] = warmed.to_dict()
            _say(warmed)
        elif action == "clear":
            states.store.clear()
        found = states.store.info()
    finally:
        states.store.close()
    most = "" if found.limit is None else f" of {_size(found.limit)}"
    out.print(
        f"{found.where}: {found.entries:,} segments, {_size(found.size)}{most}", soft_wrap=True
    )
    write_json({**result, "cache": found.to_dict()}, json)


def _warm(states: StateCache, model: str, adapter: Path | None, data: Path) -> Warmed:
    rec = M6Rec.from_pretrained(model, cache=states).use(data)
    if adapter is None:
        return rec.warm(console=err)
    rec.tasks.clear()
    (task,) = rec.load_adapter(adapter).tasks.values()
    return rec.warm(task.spec.task, console=err)


def _say(warmed: Warmed) -> None:
    out.print(
        f"{warmed.segments:,} segments: {warmed.there:,} were there, {warmed.encoded:,} encoded "
        f"in {warmed.seconds:.1f} s"
    )
    if warmed.held < warmed.segments:
        out.print(
            f"[bold yellow]only {warmed.held:,} of them are in the cache now[/]: it is too small "
            "(--limit; maxmemory of Redis)"
        )


def _size(size: int) -> str:
    return f"{size / (1 << 20):,.1f} MiB"
