"""Libraries of the extra [serve], imported when a store that needs one is opened."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from m6rec.stores.states.base import StoreError


def need(library: str, why: str) -> Any:
    """The library; StoreError says how to install it where it is missing."""
    try:
        return import_module(library)
    except ImportError as error:
        raise StoreError(
            f"{why} needs the library {library!r}: pip install 'm6rec[serve]' ({error})"
        ) from None
