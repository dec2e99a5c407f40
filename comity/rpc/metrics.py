"""What a server counts about itself, on a registry of its own, in Prometheus' text format.

A metric's labels never hold a caller or an id: their number is bounded by the protos, the error
codes and the roster. What can be read from memory or from a few rows is read when the page is,
so that it costs nothing in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from comity.clock import SECOND

_LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES = tuple(float(1 << power) for power in range(13))


Position = tuple[str, str, int]
"""Participant, currency, minor units."""

Decisions = Mapping[tuple[str, str], int]
"""How many, by outcome and kind of redemption."""


class Metrics:
    """The counters of one process."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry if registry is not None else CollectorRegistry()
        self._calls = Counter(
            "comity_rpc_calls",
            "Calls answered, by method and by the code of the answer.",
            ("method", "code"),
            registry=self.registry,
        )
        self._children: dict[tuple[str, str], tuple[Counter, Histogram]] = {}
        self._latency = Histogram(
            "comity_rpc_seconds",
            "Time from a call's arrival to its answer.",
            ("method",),
            buckets=_LATENCIES,
            registry=self.registry,
        )
        self._batch = Histogram(
            "comity_batch_items",
            "Items in one batch, by what is batched.",
            ("queue",),
            buckets=_SIZES,
            registry=self.registry,
        )
        self._depth = Gauge(
            "comity_queue_depth",
            "Items waiting, by queue.",
            ("queue",),
            registry=self.registry,
        )
        self._alarms = Counter(
            "comity_alarms",
            "What moved nothing and needs an operator, by the code of what is wrong; see the log.",
            ("code",),
            registry=self.registry,
        )
        self._redemptions = Counter(
            "comity_redemptions",
            "Redemptions which this process, as the acceptor, brought to their end, by outcome.",
            ("outcome",),
            registry=self.registry,
        )

    def call(self, method: str, code: str, elapsed_us: int) -> None:
        """One call was answered with `code` (`OK` or an error's code)."""
        calls, latency = self._children.get((method, code)) or self._child(method, code)
        calls.inc()
        latency.observe(elapsed_us / SECOND)

    def _child(self, method: str, code: str) -> tuple[Counter, Histogram]:
        found = self._calls.labels(method, code), self._latency.labels(method)
        self._children[method, code] = found
        return found

    def batch(self, queue: str, items: int) -> None:
        """A batch of `items` left the queue."""
        self._batch.labels(queue).observe(items)

    def depth(self, queue: str, read: Callable[[], int]) -> None:
        """`read` tells how many items wait in the queue; asked when the page is read."""
        self._depth.labels(queue).set_function(lambda: float(read()))

    def alarm(self, code: str) -> None:
        """Something moved nothing and needs an operator."""
        self._alarms.labels(code).inc()

    def redemption(self, outcome: str) -> None:
        """A redemption came to its end."""
        self._redemptions.labels(outcome).inc()

    def positions(self, read: Callable[[], Iterable[Position]]) -> None:
        """`read` tells the running positions; asked when the page is read."""
        self.registry.register(_Positions(read))

    def decisions(self, read: Callable[[], Decisions]) -> None:
        """`read` tells what clearing has decided so far; asked when the page is read."""
        self.registry.register(_Decided(read))

    def batches(self, queue: str) -> Callable[[int], None]:
        """`batch` for one queue."""
        return partial(self.batch, queue)


class _Positions(Collector):
    """Running positions at clearing, from its table."""

    def __init__(self, read: Callable[[], Iterable[Position]]) -> None:
        self._read = read

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return [self._family()]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = self._family()
        for participant, currency, minor in self._read():
            family.add_metric((participant, currency), minor)
        yield family

    def _family(self) -> GaugeMetricFamily:
        return GaugeMetricFamily(
            "comity_position_minor",
            "Obligations not yet settled, in minor units; below zero is owed.",
            labels=("participant", "currency"),
        )


class _Decided(Collector):
    """Decisions at clearing, from its table."""

    def __init__(self, read: Callable[[], Decisions]) -> None:
        self._read = read

    def describe(self) -> Iterable[CounterMetricFamily]:
        return [self._family()]

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = self._family()
        for (outcome, kind), count in sorted(self._read().items()):
            family.add_metric((outcome, kind), count)
        yield family

    def _family(self) -> CounterMetricFamily:
        return CounterMetricFamily(
            "comity_decisions",
            "Decisions since clearing started, by outcome and by kind of redemption.",
            labels=("outcome", "kind"),
        )


@dataclass(frozen=True, slots=True)
class MetricsPage:
    """The page under `/metrics`, served from a thread until closed."""

    port: int
    server: WSGIServer
    thread: Thread

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def serve_metrics(metrics: Metrics, *, port: int, address: str = "127.0.0.1") -> MetricsPage:
    """Serve the metrics over plain HTTP: on the loopback address unless asked otherwise."""
    server, thread = start_http_server(port, addr=address, registry=metrics.registry)
    return MetricsPage(port=server.server_port, server=server, thread=thread)
