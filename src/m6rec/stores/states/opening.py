"""A cache by its address: a folder, redis://…, or "memory"."""

from __future__ import annotations

import re
from pathlib import Path

from m6rec.stores.states.base import StateStore, StoreError
from m6rec.stores.states.cache import StateCache
from m6rec.stores.states.codec import FORMS, Form
from m6rec.stores.states.lmdb_store import DEFAULT_LIMIT, LmdbStore
from m6rec.stores.states.memory_store import MemoryStore
from m6rec.stores.states.redis_store import RedisStore

REDIS = ("redis://", "rediss://", "unix://")
UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}
MOST = 1 << 62
"""Bytes; LMDB counts with signed 64-bit numbers, and a folder may outgrow its limit a little."""
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)


def open_cache(
    where: str | Path, form: Form = "fp16", limit: int | None = None, ttl: int | None = None
) -> StateCache:
    """A cache of segment states.

    where: a folder (created if missing), the address of a Redis server, or "memory". limit: bytes
    (of a folder 4 GiB unless told; a Redis server has its own). ttl: seconds, for Redis only.
    Raises StoreError where it can not be opened, or a setting does not fit.
    """
    if form not in FORMS:
        raise StoreError(f"no form {form!r} of states: right is {' or '.join(FORMS)}")
    return StateCache(_open(where, limit, ttl), form)


def _open(where: str | Path, limit: int | None, ttl: int | None) -> StateStore:
    if isinstance(where, str) and where.startswith(REDIS):
        if limit is not None:
            raise StoreError("the limit of a Redis server is its own setting: maxmemory")
        return RedisStore(where, ttl)
    if ttl is not None:
        raise StoreError("a time to live is for Redis; a folder makes room by its limit")
    if where == "memory":
        return MemoryStore(limit)
    if isinstance(where, str) and "://" in where:
        raise StoreError(f"{where}: right is a folder, redis://HOST:PORT/DB, or memory")
    return LmdbStore(where, DEFAULT_LIMIT if limit is None else limit)


def parse_size(text: str) -> int:
    """Bytes of a size such as "500 MB", "4G" or "1.5 GiB"; a unit is 1024 of the next smaller."""
    found = SIZE.fullmatch(text.strip())
    if found is None:
        raise StoreError(f"{text!r} is no size: right is a number of bytes, or such as 500M or 4G")
    size = float(found[1]) * (1 << UNITS[found[2].lower()])
    if size > MOST:
        raise StoreError(f"{text!r} is more than any disk holds: right is such as 500M or 4G")
    return int(size)
