"""What the routes share: the service, and what of a request is not in its body."""

from __future__ import annotations

from typing import Any

from litestar import Request
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from m6rec.serving.service import Service

The = NamedDependency[SkipValidation[Service]]
"""The service of this app, as a parameter called `service`."""
Connection = Request[Any, Any, State]


def the_service(state: State) -> Service:
    """Provides it."""
    found: Service = state.service
    return found


def charge(request: Connection, service: Service, asks: int) -> None:
    """Counts what a request asks for, where that is more than one answer."""
    service.limit.charge(client_of(request), asks - 1)


def client_of(request: Connection) -> str:
    """Whose turn it is: the key, or the address."""
    return str(request.scope["state"].get("client", ""))
