"""`m6rec serve --data DATA`: the server, on embedded parts, in one process."""

from __future__ import annotations

import logging
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from m6rec.cli.common import (
    DEFAULT_MODEL,
    Data,
    Json,
    Model,
    State,
    TextOnly,
    err,
    key_values,
    out,
    verb,
    write_json,
)
from m6rec.records import M6Error
from m6rec.serving.keys import KeyRing
from m6rec.serving.logs import log_as_json
from m6rec.serving.registry import settle
from m6rec.serving.service import ServiceSettings
from m6rec.serving.starting import Place, open_service
from m6rec.serving.traces import Traces

HTTP = "m6rec.serving.http.run"
"""Imported when a server is started: it needs the libraries of the extra."""


@verb
def serve(
    data: Data,
    host: Annotated[str, typer.Option(help="Where to listen; without API keys 127.0.0.1.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    model: Model = DEFAULT_MODEL,
    adapter: Annotated[
        list[Path] | None, typer.Option("--adapter", help="Folder of a tuned task; repeat.")
    ] = None,
    models: Annotated[
        Path | None, typer.Option(help="Folder of models and adapters for hot swaps.")
    ] = None,
    state: State = None,
    journal: Annotated[
        str | None, typer.Option(help="Folder, or postgresql://… (STATE/journal).")
    ] = None,
    cache: Annotated[
        str | None, typer.Option(help="Folder, or redis://… (STATE/segments).")
    ] = None,
    index: Annotated[
        str | None, typer.Option(help="A Qdrant server, http://HOST:6333 (this process).")
    ] = None,
    rate: Annotated[
        float, typer.Option(min=0, help="Requests per second for each client; 0: any.")
    ] = 0.0,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate (PEM).")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key (PEM).")] = None,
    traces: Annotated[
        str | None, typer.Option(help="OpenTelemetry collector, http://HOST:4318/v1/traces.")
    ] = None,
    keep_events: Annotated[
        str, typer.Option(help="Newest events to keep: 1000000, or 365d (all).")
    ] = "",
    threads: Annotated[int, typer.Option(min=1, help="Threads of one computation.")] = 1,
    check: Annotated[
        bool, typer.Option("--check", help="Open everything, say whether it works, and end.")
    ] = False,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A limit, such as answer_seconds=5; repeat.")
    ] = None,
    text_only: TextOnly = False,
    json: Json = None,
) -> None:
    """Serve items, users, events and recommendations over HTTP, with a console at /.

    The tables of DATA are taken in once; from then on the server's journal is what counts.
    """
    if json is not None and not check:
        raise typer.BadParameter("a server has no result; --check has one", param_hint="--json")
    http = _http()
    torch.set_num_threads(threads)
    limits = ServiceSettings.parse(
        {
            "rate": rate,
            "keep_events": keep_events,
            **key_values(settings or [], "answer_seconds=5"),
        },
        "--set",
    )
    place = Place(
        data, model, tuple(adapter or ()), state, journal, cache, models, index, text_only
    )
    address = http.Address(host, port, tls_cert, tls_key)
    address.check(KeyRing(place.state_folder))
    tracing = None if traces is None else Traces(traces)
    err.print(f"opening {data} …")
    if check:
        write_json(_check(place, limits), json)
        return
    log_as_json(logging.INFO)
    service = open_service(place, limits)
    settle()
    http.run(service, address, tracing)


def _check(place: Place, limits: ServiceSettings) -> dict[str, int]:
    service = open_service(place, limits)
    found = {
        "items": len(service.registry.current.index),
        "journal_entries": service.journal.last(),
        "keys": len(service.keys),
    }
    service.close()
    service.journal.close()
    said = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in found.items())
    out.print(f"ready: {said}")
    return found


def _http() -> Any:
    try:
        return import_module(HTTP)
    except ImportError as error:
        raise M6Error(f"the server needs pip install 'm6rec[serve]' ({error})") from None
