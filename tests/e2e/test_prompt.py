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
DEPLOYED = """
import rekindle
app = rekindle.App("typed-deployed")
def refused(call):
    try:
        return call()
    except rekindle.exception.ExecutionError as error:
        return str(error)

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


def typed(home: Home, cells: str, begin: str = BEGIN, end: str = END) -> list[str]:
    """What a prompt prints that cells are typed into."""
    ended = subprocess.run(
        [sys.executable, "-i", "-q"],
        input=begin + cells + end,
        env={**home.environ, "HOME": str(home.root)},  # it keeps a history there
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


def test_what_is_declared_after_its_app_was_deployed_runs_no_former_code(shared: Home) -> None:
    cells = (
        F.format("old")
        + "_ = app.deploy()\nformer = f\nf.remote(1)\n"
        + F.format("new")
        + "refused(lambda: f.remote(2))\nrefused(lambda: list(f.map([2])))\nformer.remote(3)\n"
        + "refused(lambda: f.with_options(timeout=9).remote(2))\n"
        + "@app.function()\ndef late(x):\n    return f.remote(x)\n\n"
        + "refused(lambda: late.remote(4))\n"
        + "_ = app.deploy()\nf.remote(5), former.remote(6), late.remote(7)\n"
    )
    printed = typed(shared, cells, DEPLOYED, "app.stop()\n")
    told = "after the app 'typed-deployed' was deployed here, which"
    assert printed[0] == "('old', 1)"
    assert all(f"f was declared again {told} has its former code" in printed[n] for n in (1, 2, 4))
    assert printed[3] == "('old', 3)"
    assert f"late was declared {told} does not have it" in printed[5]
    assert printed[6:] == ["(('new', 5), ('new', 6), ('new', 7))"]
