"""Segment states in Redis: shared by several machines. One round trip for a whole request.

Room is the server's business: give it `maxmemory` and `maxmemory-policy allkeys-lru`
(redis.io/docs/latest/develop/reference/eviction).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from m6rec.stores.extras import need
from m6rec.stores.states.base import StateStore, StoreError, StoreInfo

T = TypeVar("T")
log = logging.getLogger(__name__)
PREFIX = b"m6rec:states:"
TIMEOUT = 1.0
"""Seconds that a request waits for the server."""
PAUSE = 5.0
"""Seconds without a try after a failure: requests do not wait for a server that is away."""
SCANNED_AT_ONCE = 1000


class RedisStore(StateStore):
    """States in a Redis server. url: redis://…, rediss://… or unix://…

    ttl: seconds that a value stays, None for as long as there is room.
    Raises StoreError where the server does not answer.
    """

    def __init__(self, url: str, ttl: int | None = None) -> None:
        redis = need("redis", "a cache in Redis")
        self.url, self.ttl = url, ttl
        self._failed: tuple[type[Exception], ...] = (redis.RedisError, OSError)
        self._again_at = 0.0
        try:
            self._client = redis.Redis.from_url(
                url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT
            )
            self._client.ping()
        except (*self._failed, ValueError) as error:
            raise StoreError(f"{self.where}: no Redis server answers there ({error})") from None

    @property
    def where(self) -> str:
        """The address without user and password."""
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]}"

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See StateStore: one MGET."""
        if not keys:
            return []
        nothing: list[bytes | None] = [None] * len(keys)
        return self._try(lambda: list(self._client.mget([PREFIX + key for key in keys])), nothing)

    def put(self, entries: Mapping[bytes, bytes]) -> None:
        """See StateStore: one MULTI of MSET, and of EXPIRE for each key where there is a ttl."""
        if not entries:
            return

        def send() -> None:
            with self._client.pipeline(transaction=True) as pipe:
                pipe.mset({PREFIX + key: value for key, value in entries.items()})
                if self.ttl is not None:
                    for key in entries:
                        pipe.expire(PREFIX + key, self.ttl)
                pipe.execute()

        self._try(send, None)

    def _try(self, work: Callable[[], T], otherwise: T) -> T:
        if time.monotonic() < self._again_at:
            return otherwise
        try:
            return work()
        except self._failed as error:
            self._again_at = time.monotonic() + PAUSE
            log.warning("segment cache %s: %s; going on without", self.where, error)
            return otherwise

    def info(self) -> StoreInfo:
        """See StateStore. size: of the keys and values; the server's own share comes on top."""
        try:
            entries = size = 0
            for keys in self._scan():
                entries += len(keys)
                with self._client.pipeline(transaction=False) as pipe:
                    for key in keys:
                        pipe.strlen(key)
                    size += sum(pipe.execute()) + sum(len(key) for key in keys)
            server = self._client.info("memory")
        except self._failed as error:
            raise StoreError(f"{self.where} can not be read: {error}") from None
        policy, most = server.get("maxmemory_policy"), server.get("maxmemory", 0)
        more = {"used_memory": server.get("used_memory"), "maxmemory_policy": policy}
        return StoreInfo("redis", self.where, entries, size, most or None, more)

    def size(self) -> tuple[int, int]:
        """See StateStore: what the server counts itself, of all its keys, for to look at ours alone
        is a walk over all of them."""
        try:
            memory = self._client.info("memory")
            return int(self._client.dbsize()), int(memory.get("used_memory", 0))
        except self._failed as error:
            raise StoreError(f"{self.where} can not be read: {error}") from None

    def clear(self) -> None:
        """See StateStore. Keys of others in the same server stay."""
        try:
            for keys in self._scan():
                self._client.unlink(*keys)
        except self._failed as error:
            raise StoreError(f"{self.where} can not be cleared: {error}") from None

    def _scan(self) -> Iterator[list[Any]]:
        """Our keys, some at a time, none of them empty."""
        cursor: int | None = None
        while cursor != 0:
            cursor, keys = self._client.scan(cursor or 0, PREFIX + b"*", SCANNED_AT_ONCE)
            if keys:
                yield keys

    def close(self) -> None:
        """See StateStore."""
        self._client.close()
