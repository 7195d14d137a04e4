"""Libraries of the `bench` extra, imported only when a baseline that needs them is fitted."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from m6rec.evaluation.result import EvaluationError


def from_bench(module: str, baseline: str) -> Any:
    """The imported module. Raises EvaluationError with the command to run where it is missing."""
    try:
        return import_module(module)
    except ImportError as error:
        raise EvaluationError(
            f"the baseline {baseline} needs {module.split('.')[0]}, which could not be imported "
            f"({error}); run: pip install 'm6rec[bench]' (in an environment of its own, because "
            "rectools needs numpy below 2)"
        ) from error
