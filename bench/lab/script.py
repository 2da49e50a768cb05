"""What the scripts in ``bench/`` have in common: their options, their files, their promises."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar

from rich.console import Console

from lab.checks import Check
from rekindle.exception import Error

#: Where figures go that are not meant to be kept; git ignores it.
SCRATCH = Path("demo-results")
#: Columns of the widest sheet.
_WIDTH = 200

_Figures = TypeVar("_Figures")


@dataclass(frozen=True)
class Options:
    """The options of a script."""

    quick: bool
    check: bool
    json: Path
    results: Path
    #: What the script has added of its own.
    own: argparse.Namespace

    def file(self, name: str) -> Path:
        """A file among the results, whose directory is made when it is missing."""
        self.results.mkdir(parents=True, exist_ok=True)
        return self.results / name


@dataclass(frozen=True)
class Promise:
    """A promise of SPECIFICATION.md and what was measured."""

    number: str  # as in SPECIFICATION.md: "S1"
    text: str
    kept: bool | None  # None: not measured


def console() -> Console:
    """Where a script prints. A pipe and a file have no width: they get sheets whole."""
    return Console() if sys.stdout.isatty() else Console(width=_WIDTH)


def options(
    name: str,
    description: str,
    argv: Sequence[str] | None = None,
    *,
    add: Callable[[argparse.ArgumentParser], object] = lambda _parser: None,
) -> Options:
    """Read ``--quick``, ``--json``, ``--check`` and ``--results`` for the script ``name``.

    ``add`` adds options of its own.
    """
    parser = argparse.ArgumentParser(prog=f"bench/{name}.py", description=description)
    parser.add_argument("--quick", action="store_true", help="few runs: does it work at all?")
    parser.add_argument(
        "--check",
        action="store_true",
        help="exit 1 where a promise of SPECIFICATION.md is not kept",
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=SCRATCH,
        metavar="DIR",
        help=f"where tables and figures go (default: {SCRATCH})",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help=f"the figures (default: DIR/{name}.json)"
    )
    add(parser)
    given = parser.parse_args(argv)
    return Options(
        quick=given.quick,
        check=given.check,
        json=given.json or given.results / f"{name}.json",
        results=given.results,
        own=given,
    )


def run(main: Callable[[], int]) -> NoReturn:
    """Run the script; an error of rekindle's own ends it in one line.

    Instances are its own and end with it: one that others have used would change what is measured.
    """
    os.environ["REKINDLE_LINGER"] = "0"
    try:
        sys.exit(main())
    except Error as error:
        sys.exit(f"{type(error).__name__}: {error}")


def checked(checks: Mapping[str, Callable[[_Figures], Check]], figures: _Figures) -> list[Promise]:
    """Each promise, by its number, held against what was measured."""
    found = [(number, check(figures)) for number, check in checks.items()]
    return [Promise(number, one.text, one.kept) for number, one in found]


def verdict(console: Console, promises: Sequence[Promise], *, check: bool) -> int:
    """Print what was promised and whether it was kept; the exit status of the script."""
    marks = {True: "[green]kept[/]", False: "[red]not kept[/]", None: "[dim]not measured[/]"}
    for promise in promises:
        mark = marks[promise.kept]
        console.print(f"  {promise.number}  {promise.text}: {mark}", highlight=False)
    if not promises:
        console.print("  SPECIFICATION.md promises nothing of this")
    return 1 if check and any(promise.kept is False for promise in promises) else 0
