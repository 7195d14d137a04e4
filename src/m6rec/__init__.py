"""m6rec: one pretrained language model that does every job of a recommender system."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from m6rec.answers import Recommendation
    from m6rec.recommender import M6Rec
    from m6rec.records import Event, M6Error

__all__ = ["Event", "M6Error", "M6Rec", "Recommendation"]

_HOMES = {
    "Event": "m6rec.records",
    "M6Error": "m6rec.records",
    "M6Rec": "m6rec.recommender",
    "Recommendation": "m6rec.answers",
}


def __getattr__(name: str) -> object:
    """Fetches a public name when it is first used, so that `import m6rec` itself is instant."""
    if name not in _HOMES:
        raise AttributeError(f"module 'm6rec' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
