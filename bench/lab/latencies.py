"""The distribution of many like calls as a histogram (matplotlib, extra ``plot``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rekindle.bench.plot import figure
from rekindle.bench.summary import percentile
from rekindle.exception import InvalidError


def save(
    latencies_ms: Sequence[float], path: Path, *, title: str, limit_ms: float | None = None
) -> None:
    """Write the distribution of many like calls to ``path``; ``limit_ms`` is drawn as a line."""
    if not latencies_ms:
        raise InvalidError("nothing to plot: no call succeeded")
    with figure(path, figsize=(8, 3.6)) as (_, axis):
        top = max(percentile(latencies_ms, 99.5), limit_ms or 0.0) * 1.08
        axis.hist([min(ms, top) for ms in latencies_ms], bins=80, range=(0, top), color="#2e86de")
        for q, style in ((50, "-"), (99, "--")):
            place = percentile(latencies_ms, q)
            label = f"p{q}: {place:.2f} ms"
            axis.axvline(place, color="#d1495b", linestyle=style, label=label)
        if limit_ms is not None:
            axis.axvline(limit_ms, color="black", linestyle=":", label=f"promise: {limit_ms:g} ms")
        axis.set_title(title, loc="left")
        axis.set_xlabel("milliseconds the caller waited (the last bar holds what is longer)")
        axis.set_ylabel("calls")
        axis.legend(frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
