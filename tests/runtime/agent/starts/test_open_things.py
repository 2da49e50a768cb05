"""Copies of a template share nothing that changes, whatever was open when it parked."""

from __future__ import annotations

import os
import resource
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.runtime.agent.harness import Harness, run
from tests.runtime.agent.starts import things

pytestmark = pytest.mark.criu


def _class_with(names: list[str]) -> type:
    """A class that has these things open once it is loaded."""
    cloudpickle.register_pickle_by_value(sys.modules[things.__name__])
    every = {**things.ALL, **{name: both for name, (_, *both) in things.OF_LIBRARIES.items()}}
    recipe = [(name, *every[name]) for name in names]

    class Holder:
        def load(self) -> None:
            self.open = [(name, probe, make(n)) for n, (name, make, probe) in enumerate(recipe)]

        def probe(self) -> list[Any]:
            return [(name, probe(thing)) for name, probe, thing in self.open]

    return Holder


async def _check_copies(h: Harness, names: list[str]) -> None:
    renewed = {*things.RENEWED, *things.OF_LIBRARIES}
    can_fork = (renewed - things.THREADED_LIBRARIES).union(things.FORKED).issuperset(names)
    can_freeze = renewed.union(things.RESTORED).issuperset(names)
    if os.geteuid() != 0:
        can_freeze = can_freeze and not set(things.RESTORED_OF_ROOT).intersection(names)
    holder = h.add(_class_with(names), enable_memory_snapshot=True)
    plain = h.add(_class_with(names))
    expected = (await h.call(plain, "probe", strategy="cold")).value
    forks = (await h.prepare(holder, "fork")).ok
    assert forks == can_fork, names
    if forks:
        assert [(await h.call(holder, "probe", strategy="fork")).value for _ in "ab"] == [
            expected
        ] * 2
    # Dumped only now: what forked runners did must not be in it.
    prepared = await h.prepare(holder, "restore")
    assert prepared.ok == can_freeze, f"{names}: {prepared.reason}"
    if not can_freeze:
        assert prepared.reason
        assert (await h.call(holder, "probe")).value == expected
        return
    both = [h.submit(holder, "probe", strategy="restore") for _ in "ab"]
    assert [(await h.result(key)).value for key in both] == [expected] * 2
    if forks:
        assert (await h.prepare(holder, "fork")).ok  # of the restored template
        assert h.revision(holder).template.mapped
        assert [(await h.call(holder, "probe", strategy="fork")).value for _ in "ab"] == [
            expected
        ] * 2
    assert (await h.call(holder, "probe", strategy="restore")).value == expected


def _run_copies(home: Path, several: list[list[str]], scratch: Path) -> None:
    """Check copies of templates with these names, one after the other on one node."""

    async def scenario(h: Harness) -> None:
        for names in several:
            await _check_copies(h, names)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(scratch))
        run(home, scenario)


def test_every_copy_has_its_own_of_whatever_can_be_made_again(home: Path, tmp_path: Path) -> None:
    _run_copies(home, [list(things.RENEWED)], tmp_path)


@pytest.mark.parametrize(
    "those",
    [things.FORKED, things.RESTORED, things.REFUSED[:6], things.REFUSED[6:]],
    ids=["not frozen", "not forked", "neither", "nor these"],
)
def test_what_a_fork_or_a_snapshot_cannot_have_keeps_that_one_from_being_made(
    home: Path, tmp_path: Path, those: tuple[str, ...]
) -> None:
    _run_copies(home, [[name, "file", "pipe"] for name in those], tmp_path)


def test_a_template_that_may_open_nothing_more_is_none_and_says_so(home: Path) -> None:
    class LeavesNothing:
        def load(self) -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (9, 9))

        def limit(self) -> tuple[int, int]:
            return resource.getrlimit(resource.RLIMIT_NOFILE)

    async def scenario(h: Harness) -> None:
        limited = h.add(LeavesNothing, enable_memory_snapshot=True)
        for strategy in ("fork", "restore"):
            assert "RLIMIT_NOFILE" in (await h.prepare(limited, strategy)).reason
        assert (await h.call(limited, "limit")).value == (9, 9)

    run(home, scenario)


@pytest.mark.parametrize("name", things.OF_LIBRARIES)
def test_what_a_library_has_open_is_each_copys_own(home: Path, tmp_path: Path, name: str) -> None:
    library = things.OF_LIBRARIES[name][0]
    pytest.importorskip(library, reason=f"{library} is not installed")
    _run_copies(home, [[name]], tmp_path)


_NAMES = st.lists(st.sampled_from(sorted(things.ALL)), min_size=1, max_size=6)
_SETTINGS = {
    "deadline": None,
    "database": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}


@pytest.mark.usefixtures("home")
@settings(max_examples=3, **_SETTINGS)
@given(names=_NAMES)
def test_copies_of_any_template_share_nothing(names: list[str]) -> None:
    _run_in_scratch(names)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("home")
@settings(max_examples=60, derandomize=False, **_SETTINGS)
@given(names=_NAMES)
def test_copies_of_many_more_templates_share_nothing(names: list[str]) -> None:
    _run_in_scratch(names)


def _run_in_scratch(names: list[str]) -> None:
    # Not below the test's own directory: sockets lie in it, whose paths may have 107 bytes.
    scratch = Path(tempfile.mkdtemp(prefix="rk-"))
    try:
        _run_copies(scratch / "home", [names], scratch)
    finally:
        shutil.rmtree(scratch)
