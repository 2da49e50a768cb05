"""The metrics by name: what a frozen view of the controller looks like to Prometheus.

The view is made in the event loop in one go, as plain numbers; the text is made from it in a
thread, so that a scrape of many series delays no call.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
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

_DECLARED = re.compile(r"^(\w+) (\w+) \(([\w, ]*)\) (.*)$", re.MULTILINE)


@dataclass
class Table:
    """One metric: its labels, and a number or a histogram of seconds for each of their values."""

    kind: str  # "gauge", "counter" or "histogram"
    name: str
    labels: Labels
    help: str
    values: dict[Labels, float] = field(default_factory=dict)
    histograms: dict[Labels, Histogram] = field(default_factory=dict)

    def family(self) -> Metric:
        """As Prometheus takes it."""
        if self.kind == "histogram":
            histograms = HistogramMetricFamily(self.name, self.help, labels=self.labels)
            for labels, one in self.histograms.items():
                histograms.add_metric(labels, buckets=one.cumulative(), sum_value=one.total)
            return histograms
        family = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        made = family(self.name, self.help, labels=self.labels)
        for labels, value in self.values.items():
            made.add_metric(labels, value)
        return made


class Tables(Collector):
    """All metrics of a view; ``declared``: a line for each, as in view.py."""

    def __init__(self, declared: str) -> None:
        self.by_name: dict[str, Table] = {}
        for kind, name, labels, text in _DECLARED.findall(declared):
            self.by_name[name] = Table(
                kind, name, tuple(labels.split(", ") if labels else ()), text
            )

    def add(self, name: str, value: float, *labels: str) -> None:
        """Add to what is there: several functions may share a label."""
        values = self.by_name[name].values
        values[labels] = values.get(labels, 0.0) + value

    def most(self, name: str, value: float, *labels: str) -> None:
        """Keep the larger one."""
        values = self.by_name[name].values
        values[labels] = max(values.get(labels, 0.0), value)

    def put(self, name: str, histogram: Histogram, *labels: str) -> None:
        """Take a histogram as it is now."""
        self.by_name[name].histograms[labels] = histogram.copy()

    def collect(self) -> Iterator[Metric]:
        """For Prometheus."""
        yield from (table.family() for table in self.by_name.values())
        running = (__version__, str(PROTOCOL), platform.python_version())
        build = GaugeMetricFamily(
            "rekindle_build_info",
            "1; the labels say what is running.",
            labels=("version", "protocol", "python"),
        )
        build.add_metric(running, 1.0)
        yield build


def render(tables: Tables) -> str:
    """Prometheus text, with CPU and memory of this process."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(tables)
    ProcessCollector(registry=registry)
    return generate_latest(registry).decode()
