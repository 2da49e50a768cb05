"""A program whose Python is not on the node: the agent's runs it, and that is told."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from rekindle.wire import rekindle_pb2 as pb
from tests.runtime.agent.harness import Harness, run
from tests.runtime.agent.planning import open_
from tests.runtime.agent.starts.counter import Counter

_GONE = "/nowhere/venv/bin/python"


def test_each_start_notes_that_another_python_runs_and_it_is_said_once(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        counter = h.add(Counter, python=_GONE)
        for strategy in ("", "cold"):
            outcome = await h.call(counter, "total", strategy=strategy)
            assert outcome.value == 499500
            (note,) = outcome.result.notes
            assert _GONE in note and sys.executable in note
        assert sum(_GONE in line for line in h.uplink.printed("system")) == 1

    run(home, scenario)


def test_what_another_python_will_run_is_told_when_its_app_is_registered(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        plain = h.add(Counter, python=_GONE)
        by_value = h.add(Counter, python=_GONE, module="", python_version="3.9.1")
        for function_id in (plain, by_value):
            open_(h, function_id)
        await h.uplink.until(lambda: len(h.uplink.printed("system")) == 2)
        said = "\n".join(h.uplink.printed("system"))
        assert "run the program by that one, with its packages there" in said
        assert "cannot run, as it is sent as code of Python (3.9.1)" in said
        await h.call(plain, "total")
        assert len(h.uplink.printed("system")) == 2

    run(home, scenario)


def test_what_another_python_will_run_is_told_to_who_deploys(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        asked = {
            "": h.add(Counter),
            "To have one for both, run the program by that one": h.add(Counter, python=_GONE),
            "cannot run, as it is sent as code of Python (3.9.1)": h.add(
                Counter, python=_GONE, module="", python_version="3.9.1"
            ),
        }
        for said, function_id in asked.items():
            h.node.tell_python(pb.TellPython(request_id=function_id, function_id=function_id))
            await h.uplink.until(lambda id=function_id: id in h.uplink.pythons)
            told = h.uplink.pythons[function_id]
            assert said in told if said else not told

    run(home, scenario)


def test_a_start_by_name_notes_once_that_another_python_runs(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        counter = h.add(Counter, python=_GONE, enable_memory_snapshot=True)
        await h.call(counter, "total")
        outcome = await h.call(counter, "total", strategy="fork")
        assert outcome.strategy == "fork"
        (note,) = outcome.result.notes
        assert _GONE in note

    run(home, scenario)


def test_the_caller_of_what_misses_a_module_is_told_that_another_python_runs(home: Path) -> None:
    class Needy:
        def load(self) -> None:
            import a_package_of_that_python  # type: ignore[import-not-found]  # noqa: F401

        def ping(self) -> None: ...

    class Late:
        def ping(self) -> None:
            import a_package_of_that_python  # noqa: F401

    Needy.__module__ = Late.__module__ = __name__

    async def scenario(h: Harness) -> None:
        for cls in (Needy, Late):
            missed = (await h.call(h.add(cls, python=_GONE), "ping")).result
            assert missed.error_type == "ModuleNotFoundError"
            assert _GONE in missed.traceback and sys.executable in missed.traceback
        here = (await h.call(h.add(Late), "ping")).result
        assert here.error_type == "ModuleNotFoundError"
        assert sys.executable not in here.traceback

    run(home, scenario)


def test_code_of_another_version_is_refused_at_its_start_and_what_is_imported_is_not(
    home: Path,
) -> None:
    async def scenario(h: Harness) -> None:
        by_value = h.add(Counter, python=_GONE, python_version="3.99.1")
        refused = (await h.call(by_value, "total")).result
        for part in ("cannot run", "(3.99.1)", _GONE, platform.python_version(), "top level"):
            assert part in refused.message
        version = platform.python_version()
        for same in (version, f"{version.rpartition('.')[0]}.99"):  # the instructions are the same
            by_value = h.add(Counter, python=_GONE, python_version=same)
            assert (await h.call(by_value, "total")).value == 499500

    run(home, scenario)


def test_a_python_that_cannot_be_executed_is_one_that_is_not_there(
    home: Path, tmp_path: Path
) -> None:
    (tmp_path / "python").write_text("not for this user")

    async def scenario(h: Harness) -> None:
        outcome = await h.call(h.add(Counter, python=str(tmp_path / "python")), "total")
        (note,) = outcome.result.notes
        assert outcome.value == 499500 and str(tmp_path / "python") in note

    run(home, scenario)


def test_nothing_is_said_where_the_programs_python_is_here(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        outcome = await h.call(h.add(Counter), "total")
        assert not outcome.result.notes and not h.uplink.printed("system")

    run(home, scenario)


@pytest.mark.criu
def test_no_snapshot_is_made_of_what_another_python_runs(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        counter = h.add(Counter, python=_GONE, enable_memory_snapshot=True)
        assert (await h.call(counter, "total")).value == 499500
        prepared = await h.prepare(counter, "restore")
        assert not prepared.ok and _GONE in prepared.reason

    run(home, scenario)
