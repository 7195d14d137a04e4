"""Runs a service over HTTP in this process, on Granian, until it is told to stop.

Stopping is graceful: the server says that it is not ready, takes nothing new, and ends when what is
under way was answered.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from m6rec.records import M6Error
from m6rec.serving.http.app import build_app
from m6rec.serving.http.gate import Gate
from m6rec.serving.keys import KeyRing
from m6rec.serving.service import Service
from m6rec.serving.traces import Traces

log = logging.getLogger("m6rec.server")

LOOPBACK = ("127.0.0.1", "::1", "localhost")
BACKLOG = 1024
"""Connections that may wait to be accepted."""
FILES_OF_OUR_OWN = 512
"""Files that may be open beside connections: journal, cache, models."""
LAST_BYTES, LOOKS = 0.5, 0.05
"""Seconds for the last bytes to be sent, and between two looks at what is under way."""
CLOSING_SECONDS = 60.0
"""Seconds for snapshots and the journal, when all requests have ended."""


@dataclass(frozen=True)
class Address:
    """Where the server listens, with a certificate or without."""

    host: str = "127.0.0.1"
    port: int = 8000
    certificate: Path | None = None
    key: Path | None = None

    def check(self, keys: KeyRing) -> None:
        """Raises M6Error where nobody should listen so."""
        if not keys.needed and self.host not in LOOPBACK:
            raise M6Error(
                f"without API keys the server listens on 127.0.0.1 only, not on {self.host}: "
                "make one with `m6rec keys add NAME --scope read --data DATA`"
            )
        if (self.certificate is None) != (self.key is None):
            raise M6Error("TLS needs both --tls-cert and --tls-key")
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((self.host, self.port))
        except OSError as error:
            raise M6Error(f"{self.host}:{self.port} can not be had: {error.strerror}") from None

    @property
    def url(self) -> str:
        """As a browser takes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.certificate else ''}://{host}:{self.port}"


def run(service: Service, address: Address, traces: Traces | None = None) -> None:
    """Serves until SIGTERM or SIGINT, then drains and closes the service and its journal."""
    try:
        asyncio.run(_serve(service, address, traces))
    finally:
        late = threading.Timer(CLOSING_SECONDS, _give_up)
        late.daemon = True
        late.start()
        service.close()
        service.journal.close()
        late.cancel()
        log.info("stopped")


async def _serve(service: Service, address: Address, traces: Traces | None) -> None:
    app, settings = build_app(service, traces), service.settings
    server = Server(
        app,
        address=address.host,
        port=address.port,
        interface=Interfaces.ASGI,
        websockets=False,
        # Looking for HTTP/2 waits for a first byte without end: where nobody needs it, it is not
        # looked for, and a connection on which nothing comes is closed as any other.
        http=HTTPModes.http1 if address.certificate is None else HTTPModes.auto,
        backlog=BACKLOG,
        backpressure=_sockets(settings.sockets),
        http1_settings=HTTP1Settings(header_read_timeout=int(1000 * settings.idle_seconds)),
        log_enabled=False,
        ssl_cert=address.certificate,
        ssl_key=address.key,
    )
    loop, told = asyncio.get_running_loop(), asyncio.Event()

    def stop() -> None:
        if not service.draining:
            service.draining = True
            log.info("draining")
            server.stop()  # type: ignore[no-untyped-call]
            told.set()

    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop)
    items = len(service.registry.current.index)
    log.info("ready", extra={"told": {"url": address.url, "items": items}})
    serving = loop.create_task(server.serve())
    drained = loop.create_task(_drained(app, told, service.settings.drain_seconds))
    await asyncio.wait({serving, drained}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        serving.result()
    else:  # Granian tells futures that are cancelled by then of connections that end
        loop.set_exception_handler(lambda _, about: log.debug("after the end: %s", about))


def _sockets(wanted: int) -> int:
    """So many connections as this process may have files, or what is wanted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = wanted + FILES_OF_OUR_OWN
    if soft != resource.RLIM_INFINITY and soft < enough:
        soft = enough if hard == resource.RLIM_INFINITY else min(enough, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if soft < enough:
            log.warning("fewer connections than wanted", extra={"told": {"files": soft}})
    return (
        wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - FILES_OF_OUR_OWN))
    )


async def _drained(app: Gate, told: asyncio.Event, seconds: float) -> None:
    """Returns when nothing has been under way for a moment after the server was told to stop.

    Connections do not count: a browser keeps some open, and a client may have gone without a word.
    """
    await told.wait()
    until = time.monotonic() + seconds
    quiet = 0.0
    while quiet < LAST_BYTES and time.monotonic() < until:
        await asyncio.sleep(LOOKS)
        quiet = 0.0 if app.under_way else quiet + LOOKS
    if app.under_way:
        log.warning("answers were cut off", extra={"told": {"under_way": app.under_way}})


def _give_up() -> None:
    """Ends the process; what the journal acknowledged is on the disk."""
    log.warning("closing took too long")
    os._exit(1)
