"""The metrics by name: what a frozen view of the controller looks like to Prometheus.

The view is made in the event loop in one go, as plain numbers; the text is made from it in a
thread, so that a scrape of many series delays no call.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from rekindle.controller.metrics.histogram import Histogram
from rekindle.wire.version import PROTOCOL, __version__

Labels = tuple[str, ...]


@dataclass
class Table:
    """One metric: its labels, and a number for each of their values."""

    name: str
    help: str
    labels: Labels = ()
    kind: str = "gauge"  # or "counter"
    values: dict[Labels, float] = field(default_factory=dict)

    def add(self, labels: Labels, value: float) -> None:
        """Add to what is there: several functions may share a label."""
        self.values[labels] = self.values.get(labels, 0.0) + value

    def most(self, labels: Labels, value: float) -> None:
        """Keep the larger one."""
        self.values[labels] = max(self.values.get(labels, 0.0), value)


@dataclass
class HistogramTable:
    """One histogram of seconds."""

    name: str
    help: str
    labels: Labels = ()
    values: dict[Labels, Histogram] = field(default_factory=dict)


class _View(Collector):
    def __init__(self, tables: Iterable[Table | HistogramTable]) -> None:
        self._tables = tables

    def collect(self) -> Iterator[Metric]:
        for table in self._tables:
            yield _histogram(table) if isinstance(table, HistogramTable) else _plain(table)
        yield _build()


def _plain(table: Table) -> Metric:
    family: CounterMetricFamily | GaugeMetricFamily
    if table.kind == "counter":
        family = CounterMetricFamily(table.name, table.help, labels=table.labels)
    else:
        family = GaugeMetricFamily(table.name, table.help, labels=table.labels)
    for labels, value in table.values.items():
        family.add_metric(labels, value)
    return family


def _histogram(table: HistogramTable) -> Metric:
    family = HistogramMetricFamily(table.name, table.help, labels=table.labels)
    for labels, histogram in table.values.items():
        family.add_metric(labels, buckets=histogram.cumulative(), sum_value=histogram.total)
    return family


def _build() -> Metric:
    labels: Mapping[str, str] = {
        "version": __version__,
        "protocol": str(PROTOCOL),
        "python": platform.python_version(),
    }
    family = GaugeMetricFamily(
        "rekindle_build_info", "1; the labels say what is running.", labels=list(labels)
    )
    family.add_metric(list(labels.values()), 1.0)
    return family


def render(tables: Iterable[Table | HistogramTable]) -> str:
    """Prometheus text, with CPU and memory of this process."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_View(tables))
    ProcessCollector(registry=registry)
    return generate_latest(registry).decode()
