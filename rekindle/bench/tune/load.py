"""A trace from a file of any format, with the costs of its functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rekindle.bench.tune import azure2019, azure2021, timestamps
from rekindle.bench.tune.files import Functions, rows
from rekindle.bench.tune.trace import Trace
from rekindle.controller.policies.policy import PoolSettings
from rekindle.exception import InvalidError
from rekindle.wire.pools import Figures, Level

_READERS: dict[str, Callable[[Path, Functions], Trace]] = {
    "azure2019": azure2019.read,
    "azure2021": azure2021.read,
    "csv": timestamps.read,
}
FORMATS = tuple(_READERS)


def load(
    path: Path,
    levels: Mapping[Level, Figures],
    settings: PoolSettings | None = None,
    *,
    format_: str | None = None,
    **chosen: Any,
) -> Trace:
    """Read ``path``; its format is found by its header where none is given.

    Every function of it gets these levels and settings. ``chosen``: service_s, only and most of
    ``Functions``. Raises InvalidError.
    """
    found = format_ or guess_format(path)
    if found not in _READERS:
        raise InvalidError(f"no format {found!r}; there are: {', '.join(FORMATS)}")
    return _READERS[found](path, Functions(levels, settings or PoolSettings(), **chosen))


def guess_format(path: Path) -> str:
    """``azure2019``, ``azure2021`` or ``csv``, from the header."""
    found = next(rows(path), None)
    if found is None:
        raise InvalidError(f"{path}: empty: there is no arrival to replay")
    columns = [column.strip() for column in found[1]]
    if "HashFunction" in columns:
        return "azure2019"
    if "end_timestamp" in columns:
        return "azure2021"
    return "csv"
