"""`m6rec journal check|compact|snapshot|export|restore|erase`: a server's journal, without one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from m6rec.cli.common import Data, Json, State, out, verb, write_json
from m6rec.records import M6Error
from m6rec.serving.place import Place
from m6rec.serving.state import StateFolder
from m6rec.stores.journal.base import Journal
from m6rec.stores.journal.opening import open_journal
from m6rec.stores.journal.origin import Erasure
from m6rec.stores.journal.retention import Retention
from m6rec.stores.journal.snapshots import is_snapshot, put_back
from m6rec.stores.journal.tables import erasures_of

Action = Literal["check", "compact", "snapshot", "export", "restore", "erase"]
WITH_FOLDER = ("snapshot", "export", "restore")
OF_ACTIONS: dict[str, tuple[str, ...]] = {
    "FOLDER": WITH_FOLDER,
    "--erasures": ("restore",),
    "--keep-events": ("compact",),
    "--item": ("erase",),
    "--user": ("erase",),
}
"""What is given to some actions alone."""


@verb
def journal(
    action: Annotated[
        Action, typer.Argument(help="check, compact, snapshot, export, restore or erase")
    ],
    data: Data,
    folder: Annotated[
        Path | None, typer.Argument(help="snapshot, export: a new folder; restore: such a folder.")
    ] = None,
    state: State = None,
    where: Annotated[
        str | None, typer.Option("--journal", help="Folder, or postgresql://… (STATE/journal).")
    ] = None,
    erasures: Annotated[
        list[Path] | None,
        typer.Option(help="restore: a newer export; who was erased by then stays so. Repeat."),
    ] = None,
    keep_events: Annotated[
        str, typer.Option(help="compact: newest events to keep, 1000000 or 365d; all.")
    ] = "",
    item: Annotated[str | None, typer.Option(help="erase: id of an item.")] = None,
    user: Annotated[str | None, typer.Option(help="erase: id of a user.")] = None,
    json: Json = None,
) -> None:
    """Check, compact, copy, export, restore a server's journal, or erase an item or a user from it.

    A journal in a folder belongs to one process: while a server has it open, ask the server
    (POST /v1/admin/journal/snapshot, DELETE /v1/items/ID), or stop it.
    """
    place = Place(data, state=state, journal=where)
    _check_given(action, (folder, erasures, keep_events, item, user))
    if action in WITH_FOLDER and folder is None:
        raise typer.BadParameter(f"{action} needs a folder", param_hint="FOLDER")
    if action == "erase" and (item is None) == (user is None):
        raise typer.BadParameter("erase needs --item ID or --user ID", param_hint="--item")
    if action == "restore":
        assert folder is not None
        result = _restore(place, folder, erasures or [])
    else:
        with open_journal(place.journal_address) as opened:
            result = _done(opened, action, folder, Retention.parse(keep_events), item, user)
            if action == "erase" and user is not None:
                _state(place).keep(opened)
    write_json({"action": action, **result}, json)
    if action == "check" and result["problems"]:
        raise typer.Exit(1)


def _check_given(action: Action, values: Sequence[object]) -> None:
    """Raises BadParameter where something is given that this action does not read."""
    for (name, actions), value in zip(OF_ACTIONS.items(), values, strict=True):
        if value and action not in actions:
            raise typer.BadParameter(
                f"{action} does not read it; {' and '.join(actions)} does", param_hint=name
            )


def _done(
    opened: Journal,
    action: Action,
    folder: Path | None,
    keep: Retention,
    item: str | None,
    user: str | None,
) -> dict[str, Any]:
    if action == "check":
        return _check(opened)
    if action == "compact":
        done = opened.compact(keep=keep)
        if done is None:
            return {}
        out.print(f"{done.before:,} bytes before, {done.after:,} now")
        return {"bytes_before": done.before, "bytes_after": done.after}
    if action == "erase":
        receipt = opened.erase_user(user) if user is not None else opened.erase_item(item or "")
        told = ", ".join(f"{count:,} {kind}s" for kind, count in receipt.entries.items())
        out.print(f"erased {told} (receipt {receipt.hash})", soft_wrap=True)
        return {"receipt": receipt.to_dict()}
    assert folder is not None
    manifest = opened.snapshot(folder) if action == "snapshot" else opened.export(folder)
    out.print(f"{folder}: journal {manifest['journal']} up to entry {manifest['last']:,}")
    return {"manifest": manifest}


def _check(opened: Journal) -> dict[str, Any]:
    problems, seed = opened.check(), opened.seed()
    out.print(f"journal {opened.name}, {opened.last():,} entries", soft_wrap=True)
    if seed is not None:
        out.print(f"filled from {seed.source} ({seed.done:,} rows)", soft_wrap=True)
    for problem in problems:
        out.print(f"[bold red]wrong[/] {problem}", soft_wrap=True)
    return {
        "journal": opened.name,
        "entries": opened.last(),
        "before": list(opened.before()),
        "dropped": opened.dropped(),
        "filled_from": None if seed is None else seed.source,
        "problems": problems,
    }


def _restore(place: Place, folder: Path, newer: list[Path]) -> dict[str, Any]:
    """Who was erased, as newer exports and the state folder know, is not brought back."""
    state = _state(place)
    later: list[Erasure] = [one for export in newer for one in erasures_of(export)]
    later += state.erasures()
    if is_snapshot(folder):
        address = place.journal_address
        if isinstance(address, str) and "://" in address:
            raise M6Error(
                f"{folder} is a snapshot of a journal in a folder, and the journal here is none: "
                "put it back into a folder, export that, and restore the export"
            )
        manifest = put_back(folder, Path(address))
        with open_journal(address) as opened:
            opened.honour(later)
            state.keep(opened)
    else:
        with open_journal(place.journal_address) as opened:
            manifest = opened.restore(folder, later)
            state.keep(opened)
    out.print(f"restored from {folder}, up to entry {manifest['last']:,}", soft_wrap=True)
    return {"manifest": manifest}


def _state(place: Place) -> StateFolder:
    place.state_folder.mkdir(parents=True, exist_ok=True)
    return StateFolder(place.state_folder)
