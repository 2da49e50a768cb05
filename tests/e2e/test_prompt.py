"""Cells that run again: what is declared while its app runs, at a prompt."""

from __future__ import annotations

import subprocess
import sys

from tests.e2e.harness import PATIENCE_S, Home

BEGIN = """
import asyncio
import rekindle
app = rekindle.App("typed")
block = app.run()
_ = block.__enter__()

"""
END = """
_ = block.__exit__(None, None, None)
"""
F = """
@app.function()
def f(x):
    return ("{0}", x)

"""
COUNTER = """
@app.cls()
class Counter:
    @rekindle.method()
    def count(self, x):
        return ("{0}", x)

"""


def typed(home: Home, cells: str) -> list[str]:
    """What a prompt prints that cells are typed into."""
    ended = subprocess.run(
        [sys.executable, "-i", "-q"],
        input=BEGIN + cells + END,
        env=home.environ,
        cwd=home.scripts,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
    )
    assert ended.returncode == 0 and "Traceback" not in ended.stderr, ended.stderr
    return ended.stdout.splitlines()


def test_a_function_that_is_declared_again_while_its_app_runs_runs_its_new_code_by_every_way(
    shared: Home,
) -> None:
    cells = (
        F.format("old")
        + "f.remote(1)\nformer = f\n"
        + F.format("new")
        + "f.local(1), f.remote(2), list(f.map([3])), f.spawn(4).get(), former.remote(5)\n"
        + F.format("newest")
        + "asyncio.run(f.remote.aio(6))\n"
        + F.format("old")
        + "f.remote(7), f.object_id == former.object_id\n"
        + F.format("never called before")
        + "former = f\n"
        + F.format("last")
        + "f.remote(8), former.remote(9)\n"
    )
    assert typed(shared, cells) == [
        "('old', 1)",
        "(('new', 1), ('new', 2), [('new', 3)], ('new', 4), ('old', 5))",
        "('newest', 6)",
        "(('old', 7), True)",
        "(('last', 8), ('never called before', 9))",
    ]


def test_what_is_declared_later_can_be_called_and_calls_what_was_declared_last(
    shared: Home,
) -> None:
    cells = (
        F.format("old")
        + "f.remote(1)\n"
        + F.format("new")
        + "@app.function()\ndef late(x):\n    return f.remote(x)\n\nlate.remote(2)\n"
        + COUNTER.format("first")
        + "Counter().count.remote(3)\n"
        + COUNTER.format("second")
        + "Counter().count.remote(4)\n"
    )
    assert typed(shared, cells) == ["('old', 1)", "('new', 2)", "('first', 3)", "('second', 4)"]
