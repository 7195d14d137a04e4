"""The shared index: a Qdrant server, for several servers that search one set of vectors.

A point's id is a UUID made of the item's id, so the same item is the same point whoever writes it
(qdrant.tech/documentation/concepts/points). A write returns when it is applied. The snapshot holds
no vectors: it says which collection, and up to which journal entry.

Legend: Q queries, N vectors, K hits, D dim.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from m6rec.offers import Filter, parts_of
from m6rec.stores.extras import need
from m6rec.stores.vectors.base import (
    Attributes,
    Found,
    VectorError,
    VectorIndex,
    check_queries,
    check_vectors,
)
from m6rec.stores.vectors.slots import chosen_attributes, left_out, newest
from m6rec.stores.vectors.snapshot import SnapshotReader, SnapshotWriter

KIND, COLLECTION = "qdrant", "m6rec"
KEY = "M6REC_QDRANT_KEY"
"""Name of the environment's variable that holds the server's API key."""
SPACE = uuid.UUID("6d367265-6300-5000-8000-000000000000")
AT_ONCE = 500
SECONDS = 10


class QdrantIndex(VectorIndex):
    """A collection, made where there is none. where: http(s)://…, a folder, or ":memory:".

    The last two are the client's local mode: for tests. Raises VectorError where the server does
    not answer, or the collection has other vectors.
    """

    def __init__(self, where: str, dim: int, collection: str = COLLECTION) -> None:
        library = need("qdrant_client", "an index in Qdrant")
        self._models = need("qdrant_client.models", "an index in Qdrant")
        self.where, self.dim, self.collection = where, dim, collection
        try:
            self._client = _client(library, where)
            if not self._client.collection_exists(collection):
                self._make()
            size = self._client.get_collection(collection).config.params.vectors.size
        except Exception as error:  # the client raises what its transports raise
            raise VectorError(f"{where}: no Qdrant answers there: {error}") from error
        if size != dim:
            self.close()
            raise VectorError(f"{where}: {collection} has vectors of {size} numbers, not {dim}")

    def _make(self) -> None:
        m = self._models
        self._client.create_collection(
            self.collection,
            vectors_config=m.VectorParams(size=self.dim, distance=m.Distance.DOT),
        )
        if "://" not in self.where:
            return  # the local mode has no use for indices of payloads
        fields = {"category": "KEYWORD", "price": "FLOAT", "available_from": "FLOAT"}
        for field, kind in fields.items():
            schema = m.PayloadSchemaType[kind]
            self._client.create_payload_index(self.collection, field, field_schema=schema)

    def __len__(self) -> int:
        return int(self._ask(lambda: self._client.count(self.collection).count))

    def _ask(self, call: Any) -> Any:
        try:
            return call()
        except Exception as error:
            raise VectorError(f"{self.where}: Qdrant: {error}") from error

    def put(
        self,
        ids: Sequence[str],
        vectors: np.ndarray,
        attributes: Sequence[Attributes] | None = None,
    ) -> None:
        """See VectorIndex."""
        h_ND = check_vectors(ids, vectors, self.dim)
        kept = newest(ids)
        told = chosen_attributes(ids, attributes, kept) or [{}] * len(kept)
        for start in range(0, len(kept), AT_ONCE):
            part = range(start, min(start + AT_ONCE, len(kept)))
            points = [
                self._models.PointStruct(
                    id=_point(ids[kept[n]]),
                    vector=h_ND[kept[n]].tolist(),
                    payload={"item_id": ids[kept[n]], **_payload(told[n])},
                )
                for n in part
            ]
            self._ask(lambda points=points: self._client.upsert(self.collection, points, wait=True))

    def remove(self, ids: Sequence[str]) -> int:
        """See VectorIndex."""
        points = sorted({_point(one) for one in ids})
        if not points:
            return 0
        there = self._ask(
            lambda: self._client.retrieve(
                self.collection, points, with_payload=False, with_vectors=False
            )
        )
        chosen = self._models.PointIdsList(points=points)
        self._ask(lambda: self._client.delete(self.collection, chosen, wait=True))
        return len(there)

    def search_many(
        self, vectors_QD: np.ndarray, k: int, where: Filter | None = None
    ) -> list[Found]:
        """See VectorIndex."""
        q_QD = check_queries(vectors_QD, self.dim, k)
        asked = self._filter(where)
        queries = [
            self._models.QueryRequest(
                query=q_D.tolist(), limit=k, filter=asked, with_payload=["item_id"]
            )
            for q_D in q_QD
        ]
        answers = self._ask(lambda: self._client.query_batch_points(self.collection, queries))
        return [_found(one.points) for one in answers]

    def among(self, vector: np.ndarray, ids: Sequence[str]) -> Found:
        """See VectorIndex."""
        if not ids:
            return Found([], np.zeros(0, dtype=np.float32))
        q_QD, m = check_queries(np.asarray(vector)[None], self.dim, 1), self._models
        points = sorted({_point(one) for one in ids})
        query = m.QueryRequest(
            query=q_QD[0].tolist(),
            limit=len(points),
            filter=m.Filter(must=[m.HasIdCondition(has_id=points)]),
            with_payload=["item_id"],
        )
        answers = self._ask(lambda: self._client.query_batch_points(self.collection, [query]))
        return _found(answers[0].points)

    def _filter(self, where: Filter | None) -> Any:
        if where is None:
            return None
        m = self._models
        must: list[Any] = []
        if where.categories is not None:
            one_of = [self._all_of(sorted(one)) for one in where.wanted if one]
            none = m.FieldCondition(key="category", match=m.MatchAny(any=[]))
            must.append(m.Filter(should=one_of or [none]))
        if where.least_price is not None or where.most_price is not None:
            ends = m.Range(gte=where.least_price, lte=where.most_price)
            must.append(m.FieldCondition(key="price", range=ends))
        if where.now is not None:
            early = m.FieldCondition(key="available_from", range=m.Range(lte=where.now))
            unsaid = m.IsEmptyCondition(is_empty=m.PayloadField(key="available_from"))
            must.append(m.Filter(should=[early, unsaid]))
        gone = sorted(_point(one) for one in left_out(where))
        return m.Filter(must=must, must_not=[m.HasIdCondition(has_id=gone)] if gone else None)

    def _all_of(self, parts: Sequence[str]) -> Any:
        m = self._models
        return m.Filter(
            must=[m.FieldCondition(key="category", match=m.MatchValue(value=one)) for one in parts]
        )

    def save(self, folder: str | Path, journal_number: int, journal: str = "") -> None:
        """See VectorIndex."""
        try:
            writer = SnapshotWriter(Path(folder))
            about = {"kind": KIND, "dim": self.dim, "where": self.where, "count": len(self)}
            told = {**about, "collection": self.collection, "journal": journal}
            writer.finish({**told, "journal_number": journal_number})
        except OSError as error:
            raise VectorError(f"{folder}: the snapshot was not written: {error}") from error

    @classmethod
    def restored(cls, reader: SnapshotReader) -> QdrantIndex:
        """From a snapshot. Raises VectorError where the collection has lost what it held."""
        about = reader.about
        made = cls(about["where"], about["dim"], about["collection"])
        if about["count"] and not len(made):
            made.close()
            raise VectorError(f"{about['where']}: the collection is empty; make the index anew")
        return made

    def close(self) -> None:
        """See VectorIndex."""
        self._client.close()


def _client(library: Any, where: str) -> Any:
    if where == ":memory:":
        return library.QdrantClient(where)
    if "://" not in where:
        return library.QdrantClient(path=where)
    return library.QdrantClient(
        url=where, api_key=os.environ.get(KEY), timeout=SECONDS, check_compatibility=False
    )


def _point(one: str) -> str:
    return str(uuid.uuid5(SPACE, one))


def _payload(told: Attributes) -> dict[str, Any]:
    names = ("category", "price", "available_from")
    found = {name: told[name] for name in names if told.get(name) is not None}
    return (
        {**found, "category": list(parts_of(found["category"]))} if "category" in found else found
    )


def _found(points: Iterable[Any]) -> Found:
    hits = [(point.payload["item_id"], point.score) for point in points]
    return Found([one for one, _ in hits], np.array([score for _, score in hits], np.float32))
