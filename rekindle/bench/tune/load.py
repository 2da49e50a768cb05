"""A trace from a file of any format, with the costs of its functions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rekindle.bench.tune import azure2019, azure2021, timestamps
from rekindle.bench.tune.files import guess_format
from rekindle.bench.tune.trace import Trace, TracedFunction
from rekindle.controller.policies.policy import PoolSettings
from rekindle.exception import InvalidError
from rekindle.wire.pools import Figures, Level

FORMATS = ("azure2019", "azure2021", "csv")


def load(
    path: Path,
    levels: Mapping[Level, Figures],
    settings: PoolSettings | None = None,
    *,
    format_: str | None = None,
    service_s: float,
    only: str | None = None,
    most: int | None = None,
) -> Trace:
    """Read ``path``; its format is found by its header where none is given.

    Every function of it gets these levels and settings. Raises InvalidError.
    """
    found = format_ or guess_format(path)
    given = settings or PoolSettings()

    def function(name: str) -> TracedFunction:
        return TracedFunction(label=name, levels=levels, settings=given)

    if found == "azure2019":
        return azure2019.read(path, function, service_s=service_s, only=only, most=most)
    if found == "azure2021":
        return azure2021.read(path, function, only=only, most=most)
    if found == "csv":
        return timestamps.read(path, function, service_s=service_s, only=only, most=most)
    raise InvalidError(f"no format {found!r}; there are: {', '.join(FORMATS)}")
