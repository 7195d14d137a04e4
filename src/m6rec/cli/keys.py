"""`m6rec keys add|list|revoke`: who may ask a server for what."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

import typer
from rich.table import Table

from m6rec.cli.common import Data, Json, State, out, verb, write_json
from m6rec.serving.keys import SCOPES, Key, KeyRing
from m6rec.serving.place import Place

Action = Literal["add", "list", "revoke"]


@verb
def keys(
    action: Annotated[Action, typer.Argument(help="add, list or revoke")],
    data: Data,
    name: Annotated[
        str | None, typer.Argument(help="add: what the key is for; revoke: its id.")
    ] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help=f"add: {', '.join(SCOPES)}; repeat (default: read).")
    ] = None,
    state: State = None,
    json: Json = None,
) -> None:
    """Make, list or revoke API keys. A key is shown once: only its hash is kept.

    A server that runs takes changes at once. Without any key it answers this machine alone.
    """
    ring = KeyRing(Place(data, state=state).state_folder)
    if action != "list" and name is None:
        raise typer.BadParameter(f"{action} needs a name", param_hint="NAME")
    result: dict[str, object] = {"action": action}
    if action == "add":
        key, token = ring.add(name or "", scope or ["read"])
        scopes = ", ".join(key.scopes)
        out.print(
            f"{token}\nfor {key.name} ({scopes}), id {key.id}; not shown again", soft_wrap=True
        )
        result |= {"key": token, "id": key.id}
    elif action == "revoke":
        out.print(f"revoked {ring.revoke(name or '').name}")
    out.print(_table(ring.all()))
    kept = [{"id": k.id, "name": k.name, "scopes": list(k.scopes)} for k in ring.all()]
    write_json({**result, "keys": kept}, json)


def _table(keys: list[Key]) -> Table:
    table = Table("id", "name", "scopes", "since")
    for key in keys:
        since = datetime.fromtimestamp(key.created, UTC).isoformat(" ", "minutes")
        table.add_row(key.id, key.name, ", ".join(key.scopes), since)
    return table
