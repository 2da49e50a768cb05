"""Figures of several systems side by side: rows of what was measured, the best form of each system.

Knows nothing of how the figures came to be; pure arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rekindle.bench.summary import median, percentile

OURS = "rekindle"


@dataclass(frozen=True)
class Row:
    """One thing that was measured of every system.

    ``unit``: "ms" of one call, "a second" (from the seconds that ``count`` inputs took) or "MiB".
    """

    key: str
    title: str
    unit: str
    count: int = 1
    #: Shown for completeness: no ratio is made of it.
    aside: bool = False

    @property
    def more_is_better(self) -> bool:
        """Whether it is a rate."""
        return self.unit == "a second"


@dataclass
class Form:
    """One way of doing it with one system, and its samples as they were taken."""

    form: str
    samples: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@dataclass
class Versus:
    """All figures of a run."""

    machine: dict[str, Any]
    rows: list[Row] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    #: row key -> system -> forms
    forms: dict[str, dict[str, list[Form]]] = field(default_factory=dict)
    #: row key -> system -> why there is nothing
    missing: dict[str, dict[str, str]] = field(default_factory=dict)

    def form(self, row: str, system: str, form: str) -> Form:
        """The form of that name, made when it is new."""
        forms = self.forms.setdefault(row, {}).setdefault(system, [])
        for found in forms:
            if found.form == form:
                return found
        forms.append(Form(form))
        return forms[-1]

    def row(self, key: str) -> Row:
        """The row of that key. Raises KeyError."""
        for row in self.rows:
            if row.key == key:
                return row
        raise KeyError(key)

    def value(self, row: Row, form: Form) -> float:
        """The figure that is compared: the median, as a rate where the row is one."""
        middle = median(form.samples)
        return row.count / middle if row.more_is_better else middle

    def best(self, key: str, system: str) -> Form | None:
        """The form of a system with the best figure; None where it has none."""
        row = self.row(key)
        measured = [form for form in self.forms.get(key, {}).get(system, ()) if form.samples]
        if not measured:
            return None
        choose = max if row.more_is_better else min
        return choose(measured, key=lambda form: self.value(row, form))

    def best_value(self, key: str, system: str) -> float:
        """Its figure; NaN where it has none."""
        found = self.best(key, system)
        return math.nan if found is None else self.value(self.row(key), found)

    def advantage(self, key: str, system: str) -> float:
        """How many times better rekindle is than ``system``; NaN where one has no figure."""
        ours, theirs = self.best_value(key, OURS), self.best_value(key, system)
        return ours / theirs if self.row(key).more_is_better else theirs / ours

    def in_the_running(self, key: str, system: str, form: str, margin: float = 1.5) -> bool:
        """Whether a form may still turn out to be the system's best: it goes on being measured."""
        best = self.best(key, system)
        if best is None:
            return True
        tried = self.form(key, system, form)
        if not tried.samples:
            return not tried.errors
        row = self.row(key)
        one, other = self.value(row, best), self.value(row, tried)
        return max(one, other) <= margin * min(one, other)

    def systems(self) -> list[str]:
        """All systems, rekindle first, the others as they were first measured."""
        return sorted(self.versions, key=lambda name: name != OURS)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the figures of each form, and every sample."""
        return {
            "machine": self.machine,
            "versions": self.versions,
            "rows": [
                {
                    **asdict(row),
                    "systems": {
                        system: [
                            {
                                "form": form.form,
                                "value": _number(self.value(row, form)),
                                "p50": _number(percentile(form.samples, 50)),
                                "p99": _number(percentile(form.samples, 99)),
                                "samples": [_number(sample) for sample in form.samples],
                                "errors": form.errors,
                            }
                            for form in forms
                        ]
                        for system, forms in self.forms.get(row.key, {}).items()
                    },
                    "missing": self.missing.get(row.key, {}),
                }
                for row in self.rows
            ],
        }


def shown(row: Row, versus: Versus, form: Form) -> str:
    """A form's figure as text, with its unit."""
    value = versus.value(row, form)
    if row.unit == "a second":
        return f"{value:,.0f}/s"
    if row.unit == "MiB":
        return f"{value:,.0f} MiB"
    if len(form.samples) >= 100:
        return f"{_ms(value)} / {_ms(percentile(form.samples, 99))} ms"
    return f"{_ms(value)} ms"


def ratio(value: float) -> str:
    """``3.1x``; below 1 with two figures, ``-`` for none."""
    if math.isnan(value):
        return "-"
    return f"{value:.1f}x" if value >= 1 else f"{value:.2f}x"


def _ms(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)


@dataclass(frozen=True)
class Target:
    """A target as a ratio to one system, and what came of it."""

    number: str
    text: str
    wanted: float
    #: How many times better rekindle was; NaN where it was not measured.
    got: float

    @property
    def kept(self) -> bool:
        """Whether it was measured and met."""
        return self.got >= self.wanted


def worst(values: Sequence[float]) -> float:
    """The smallest; NaN as soon as one is."""
    return math.nan if any(math.isnan(value) for value in values) else min(values)
