"""Figures for Prometheus: what is counted while answering, and what is read when asked."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from m6rec.stores.extras import need
from m6rec.stores.states.base import StoreError
from m6rec.stores.vectors.base import VectorError, VectorIndex

if TYPE_CHECKING:
    from m6rec.serving.service import Service

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.06, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class Metrics:
    """One registry for one service, so that several in a process do not meet."""

    def __init__(self, service: Service) -> None:
        self._prometheus = need("prometheus_client", "the server's metrics")
        self._core = need("prometheus_client.core", "the server's metrics")
        self._service = service
        made = self._prometheus
        self.registry = made.CollectorRegistry()
        kept = {"registry": self.registry}
        self._requests = made.Histogram(
            "m6rec_request_seconds",
            "Time to answer a request",
            ("route", "status"),
            buckets=SECONDS,
            **kept,
        )
        self._stages = made.Histogram(
            "m6rec_stage_seconds",
            "Time of each step of a recommendation, by model",
            ("stage", "variant"),
            buckets=SECONDS,
            **kept,
        )
        self._answers = made.Counter(
            "m6rec_answers", "Recommendations by variant", ("variant",), **kept
        )
        self._refused = made.Counter(
            "m6rec_refused", "Requests that were refused", ("why",), **kept
        )
        self.registry.register(self)

    def request(self, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(route, str(status)).observe(seconds)

    def stages(self, variant: str, seconds: Mapping[str, float]) -> None:
        """A recommendation was made."""
        self._answers.labels(variant).inc()
        for stage, taken in seconds.items():
            self.stage(stage, variant, taken)

    def stage(self, stage: str, variant: str, seconds: float) -> None:
        """A step was done."""
        self._stages.labels(stage, variant).observe(seconds)

    def refused(self, why: str) -> None:
        """A request was refused: overload, rate, or size."""
        self._refused.labels(why).inc()

    def collect(self) -> Iterator[Any]:
        """What is read when asked (a collector of prometheus_client)."""
        service, gauge = self._service, self._core.GaugeMetricFamily
        yield gauge("m6rec_journal_last", "Last entry of the journal", service.journal.last())
        yield gauge("m6rec_journal_waiting", "Bodies to be written", service.journal.waiting())
        yield gauge("m6rec_writing_waiting", "Requests in the writing lane", service.writing)
        yield gauge("m6rec_swaps", "Changes of the model so far", service.registry.swaps)
        yield gauge("m6rec_draining", "1: the server is about to stop", service.draining)
        about = {
            "m6rec_index_size": "Items that can be recommended (NaN: it can not be reached)",
            "m6rec_queue_depth": "Requests that wait for a batch",
            "m6rec_model_entry": "Last entry of the journal that a model knows",
            "m6rec_memory_rows": "Texts that a model keeps states of in memory",
            "m6rec_cache_hits": "Segments that were asked of the cache and found",
            "m6rec_cache_misses": "Segments that were asked of the cache and not found",
        }
        families = {name: gauge(name, text, labels=["variant"]) for name, text in about.items()}
        for model in service.registry.models():
            cached = model.retriever.table.memory.cache
            looked = (0, 0) if cached is None else (cached.hits, cached.misses)
            values = (_size(model.index), model.waiting, model.number, model.texts(), *looked)
            for family, value in zip(families.values(), values, strict=True):
                family.add_metric([model.name], value)
        yield from families.values()
        cache = service.registry.current.source.cache
        if cache is not None:
            try:
                entries, size = cache.store.size()
            except StoreError:
                yield gauge("m6rec_cache_there", "1: the cache can be reached", 0)
                return
            yield gauge("m6rec_cache_there", "1: the cache can be reached", 1)
            yield gauge("m6rec_cache_entries", "Segments in the cache", entries)
            yield gauge("m6rec_cache_bytes", "Size of the cache", size)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        found: bytes = self._prometheus.generate_latest(self.registry)
        return found


def _size(index: VectorIndex) -> float:
    try:
        return len(index)
    except VectorError:
        return math.nan
