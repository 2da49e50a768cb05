"""gevent and eventlet, which replace threads and sockets, in programs and in what they run."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from tests.e2e.harness import Home

_PATCH = {
    "gevent": "import gevent.monkey; gevent.monkey.patch_all({})",
    "eventlet": "import eventlet; eventlet.monkey_patch({})",
}
#: Threads and sockets stay Python's.
_IN_PART = {
    "gevent": "thread=False, socket=False, select=False, queue=False",
    "eventlet": "thread=False, socket=False, select=False",
}


@pytest.fixture(params=["gevent", "eventlet"])
def library(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if importlib.util.find_spec(name) is None:  # never imported here: it replaces os.fork at once
        pytest.skip(f"{name} is not installed")
    return name


def _refused(said: str, library: str) -> None:
    assert "MonkeyPatchedError" in said, said
    assert f"{library} has replaced" in said, said
    assert _PATCH[library].partition("; ")[2].format(_IN_PART[library]) in said, said


_PATCHED_FIRST = """
    import os
    if "REKINDLE_RUNNER_ID" not in os.environ:
        {patch}
    import rekindle
    app = rekindle.App("patched")

    @app.local_entrypoint()
    def main():
        raise SystemExit("it began")
"""


def test_an_app_that_is_declared_in_a_patched_program_is_refused(
    shared: Home, library: str
) -> None:
    program = shared.script(_PATCHED_FIRST.format(patch=_PATCH[library].format("")))
    for ended in (shared.run(program, status=1), shared.python(program, status=1)):
        _refused(ended.err, library)


_PATCHED_LATER = """
    import json, sys
    import rekindle
    app = rekindle.App("patched-later")

    @app.function()
    def one_more(number):
        return number + 1

    def refused(call):
        try:
            return str(call())
        except rekindle.exception.MonkeyPatchedError as error:
            return f"MonkeyPatchedError: {{error}}"

    def patch():
        {patch}

    if __name__ == "__main__":
        if sys.argv[1] == "before it runs":
            patch()
            with app.run():
                pass
        else:
            with app.run():
                first = one_more.remote(1)
                patch()
                calls = [
                    lambda: one_more.spawn(1).get(),
                    lambda: list(one_more.map([1, 2])),
                    lambda: rekindle.Function.from_name("patched-later", "one_more").remote(1),
                ]
                print(json.dumps([first, *map(refused, calls)]))
"""


def test_one_that_is_patched_before_it_runs_is_refused(shared: Home, library: str) -> None:
    program = shared.script(_PATCHED_LATER.format(patch=_PATCH[library].format("")))
    _refused(shared.python(program, "before it runs", status=1).err, library)


def test_calls_of_one_that_is_patched_while_it_runs_are_refused_and_it_ends(
    shared: Home, library: str
) -> None:
    program = shared.script(_PATCHED_LATER.format(patch=_PATCH[library].format("")))
    first, *said = shared.python(program, "while it runs").value
    assert first == 2
    for one in said:
        _refused(one, library)


_IN_PART_ONLY = """
    import json
    import rekindle
    if rekindle.is_local():
        {patch}
    app = rekindle.App("patched-in-part")

    @app.function()
    def one_more(number):
        return number + 1

    @app.function()
    def upwards(number):
        yield from range(number)

    if __name__ == "__main__":
        with app.run():
            print(json.dumps([
                one_more.remote(1),
                list(one_more.map(range(50))),
                one_more.spawn(2).get(),
                list(upwards.remote_gen(3)),
            ]))
"""


def test_what_is_patched_without_threads_and_sockets_works(shared: Home, library: str) -> None:
    patch = _PATCH[library].format(_IN_PART[library])
    found: Any = shared.python(shared.script(_IN_PART_ONLY.format(patch=patch))).value
    assert found == [2, list(range(1, 51)), 3, [0, 1, 2]]


_PATCHED_WHERE_IT_RUNS = """
    import json
    import rekindle
    if not rekindle.is_local():
        {patch}
    app = rekindle.App("patched-where-it-runs")
    numbers = rekindle.Dict.from_name("patched-numbers", create_if_missing=True)

    @app.function()
    def slept(number):
        import time
        import {library}

        time.sleep(0.01)
        waits = [{library}.spawn(time.sleep, 0.01) for _ in range(3)]
        for one in waits:
            one.wait() if {library!r} == "eventlet" else one.get()
        return number

    @app.function()
    def calls(number):
        return slept.remote(number)

    @app.function(enable_memory_snapshot=True)
    def copied(number):
        return slept.local(number)

    if __name__ == "__main__":
        with app.run():
            found = [slept.remote(1), list(slept.map(range(20))), copied.remote(2)]
            try:
                found.append(calls.remote(3))
            except rekindle.exception.MonkeyPatchedError as error:
                found.append(f"MonkeyPatchedError: {{error}}")
            print(json.dumps(found))
"""


def test_a_function_that_is_patched_where_it_runs_runs_and_is_told_that_it_can_call_nothing(
    shared: Home, library: str
) -> None:
    patch = _PATCH[library].format("")
    program = shared.script(_PATCHED_WHERE_IT_RUNS.format(patch=patch, library=library))
    slept, mapped, copied, called = shared.python(program).value
    assert (slept, mapped, copied) == (1, list(range(20)), 2)
    _refused(called, library)
