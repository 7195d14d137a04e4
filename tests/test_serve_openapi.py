"""Random requests made from the OpenAPI description: nothing but declared answers, no 5xx but 503.

`st run http://127.0.0.1:8000/openapi.json` asks more, of a server that runs (docs/serving.md).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("litestar", reason="needs the extra serve")

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from serve_worlds import Running, running, write_world

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
EXAMPLES = 6
"""For each route; `st run` asks as many as one likes."""
QUICK = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(write_world(tmp_path_factory.mktemp("openapi"))) as found:
        yield found


def _first(error: BaseException) -> str:
    """What is wrong, of several things the first."""
    inner = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error
    return f"{type(inner).__name__} {str(inner)[:1500]}"


def test_answers_are_those_that_are_described(server: Running) -> None:
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    wrong, routes = list[str](), 0
    for found in schema.get_all_operations():
        operation = found.ok()
        routes += 1

        @QUICK
        @given(case=operation.as_strategy())
        def ask(case: Case) -> None:
            case.call_and_validate(checks=CHECKS, timeout=60)

        try:
            ask()
        except (Exception, BaseExceptionGroup) as error:
            wrong.append(f"{operation.label}: {_first(error)}")
    assert not wrong, "\n\n".join(wrong)
    assert routes >= 25
