"""The server as an ASGI app: routes, their description, the console's files, the gate around."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from litestar import Litestar, Response, get
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.serialization import encode_json, get_serializer
from litestar.static_files import create_static_files_router

from m6rec.records import M6Error
from m6rec.serving.http import admin_routes, ask_routes, data_routes, find_routes, openai_routes
from m6rec.serving.http.gate import Gate, needs
from m6rec.serving.http.problems import answers, on_bug, on_bytes, on_deep, on_http, on_m6error
from m6rec.serving.http.reference import write_reference
from m6rec.serving.http.shared import Connection, The, the_service
from m6rec.serving.service import Service
from m6rec.serving.traces import Traces

CONSOLE = Path(str(files("m6rec.serving"))) / "console"
TEXT = "text/plain; version=0.0.4"


@dataclass(frozen=True)
class Health:
    """status: "ok", or what is not."""

    status: str
    checks: dict[str, bool]


@get("/health/live", tags=["operation"])
async def live() -> Health:
    """Whether the process answers at all."""
    return Health("ok", {})


@get("/health/ready", responses=answers(), tags=["operation"])
async def ready(service: The) -> Response[Health]:
    """Whether requests should be sent here."""
    checks = dict(await service.ready())
    wrong = [name for name, fine in checks.items() if not fine]
    status = f"not ready: {', '.join(wrong)}" if wrong else "ok"
    return Response(Health(status, checks), status_code=503 if wrong else 200)


@get(
    "/metrics",
    guards=[needs("metrics")],
    media_type=TEXT,
    responses=answers(),
    tags=["operation"],
)
async def metrics(service: The) -> bytes:
    """Figures for Prometheus."""
    return await service.figures()


@get("/openapi.json", include_in_schema=False, media_type="application/json", sync_to_thread=False)
def openapi(request: Connection) -> bytes:
    """The description of all routes, for machines."""
    known = get_serializer(request.route_handler.resolve_type_encoders())
    return _made_once(request, "openapi", lambda told: encode_json(told, known))


def _made_once(request: Connection, name: str, write: Callable[[dict[str, Any]], bytes]) -> bytes:
    """A page about the OpenAPI document: making it takes longer than most answers."""
    state = request.app.state
    if name not in state:
        state[name] = write(_described(request))
    page: bytes = state[name]
    return page


def _described(request: Connection) -> dict[str, Any]:
    """The OpenAPI document, with what Litestar can not say: a chat may come in pieces."""
    schema = request.app.openapi_schema.to_schema()
    told = schema["paths"]["/v1/chat/completions"]["post"]["responses"]["200"]
    told["content"]["text/event-stream"] = {"schema": {}}
    return schema


@get("/docs", include_in_schema=False, media_type="text/html", sync_to_thread=False)
def docs(request: Connection) -> bytes:
    """The description of all routes, for people; nothing is fetched from elsewhere."""
    return _made_once(request, "docs", lambda told: write_reference(told).encode())


@get("/docs.css", include_in_schema=False, media_type="text/css", sync_to_thread=False)
def style() -> bytes:
    """How /docs looks."""
    return (files("m6rec.serving.http") / "reference.css").read_bytes()


def build_app(service: Service, traces: Traces | None = None) -> Gate:
    """The app of a service; closing the app does not close the service."""

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        yield
        if traces is not None:
            traces.shutdown()

    routes: list[Callable[..., Any]] = [live, ready, metrics, openapi, docs, style]
    for part in (data_routes, find_routes, ask_routes, openai_routes, admin_routes):
        routes += part.ROUTES
    bearer = SecurityScheme(type="http", scheme="bearer", description="m6rec keys add")
    console = create_static_files_router("/", [CONSOLE], html_mode=True, include_in_schema=False)
    app = Litestar(
        route_handlers=[*routes, console],
        dependencies={"service": Provide(the_service, sync_to_thread=False)},
        exception_handlers={
            HTTPException: on_http,
            M6Error: on_m6error,
            RecursionError: on_deep,
            UnicodeDecodeError: on_bytes,
            Exception: on_bug,
        },
        openapi_config=OpenAPIConfig(
            title="m6rec",
            version=version("m6rec"),
            description="A recommender that reads.",
            path="/schema",
            render_plugins=[JsonRenderPlugin()],
            components=Components(security_schemes={"key": bearer}),
            security=[{"key": []}],
        ),
        state=State({"service": service}),
        request_max_body_size=service.settings.most_body,
        lifespan=[lifespan],
        logging_config=None,
    )
    return Gate(app, service, traces)
