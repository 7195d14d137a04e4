"""Runs a service over HTTP in this process, on Granian, until it is told to stop.

Stopping is graceful: the server says that it is not ready, takes nothing new, and ends when what is
under way was answered.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
from dataclasses import dataclass
from pathlib import Path

from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from m6rec.records import M6Error
from m6rec.serving.http.app import build_app
from m6rec.serving.keys import KeyRing
from m6rec.serving.service import Service
from m6rec.serving.traces import Traces

log = logging.getLogger("m6rec.server")

LOOPBACK = ("127.0.0.1", "::1", "localhost")
HEADERS_WITHIN = 10_000
"""Milliseconds that a client may take for its headers."""
BACKLOG, UNDER_WAY = 1024, 512
"""Connections that may wait to be accepted; requests that are handled at once."""


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
        service.close()
        service.journal.close()
        log.info("stopped")


async def _serve(service: Service, address: Address, traces: Traces | None) -> None:
    app = build_app(service, traces)
    server = Server(
        app,
        address=address.host,
        port=address.port,
        interface=Interfaces.ASGI,
        websockets=False,
        backlog=BACKLOG,
        backpressure=UNDER_WAY,
        http1_settings=HTTP1Settings(header_read_timeout=HEADERS_WITHIN),
        log_enabled=False,
        ssl_cert=address.certificate,
        ssl_key=address.key,
    )
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if not service.draining:
            service.draining = True
            log.info("draining")
            late = threading.Timer(service.settings.drain_seconds, _give_up)
            late.daemon = True
            late.start()
            server.stop()  # type: ignore[no-untyped-call]

    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop)
    items = len(service.registry.current.index)
    log.info("ready", extra={"told": {"url": address.url, "items": items}})
    await server.serve()


def _give_up() -> None:
    """Ends the process; what the journal acknowledged is on the disk."""
    log.warning("answers under way took too long to drain")
    os._exit(1)
