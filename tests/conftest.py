"""What holds for every test, whoever starts them."""

from __future__ import annotations

import compileall
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import rekindle
from rekindle.sdk import notes
from rekindle.sdk.local import announcing
from tests import descriptors

#: The same examples in every run, and as much time for one as a slow machine takes.
settings.register_profile(
    "rekindle", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("rekindle")
#: Others in each run: of the soak.
settings.register_profile(
    "random", settings.get_profile("rekindle"), derandomize=False, database=None
)
#: What a file of tests may leave open: of the instances that files share, of clients and libraries
#: that keep their connections for the next time.
_MAY_STAY_OPEN = 24


def pytest_configure(config: pytest.Config) -> None:
    """Compile the package once, and not in each of the thousands of processes that tests start.

    With PYTHONDONTWRITEBYTECODE they read bytecode and never write it. Programs under test run
    with it: they are edited within the second that a bytecode file's time stamp can tell.
    """
    os.environ["REKINDLE_LINGER"] = "0"  # what a test brings up ends with it
    sys.dont_write_bytecode = False  # of this process alone: pytest keeps the tests' bytecode
    if not hasattr(config, "workerinput"):
        # Without a word: where the files are another user's, its processes go without.
        compileall.compile_dir(str(Path(rekindle.__file__).parent), quiet=2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what the user who runs the tests cannot run."""
    if os.geteuid() == 0:
        return
    for item in items:
        for mark in item.iter_markers("needs_root"):
            item.add_marker(pytest.mark.skip(reason=f"needs root: {mark.args[0]}"))


@pytest.fixture(autouse=True, scope="session")
def interrupts_as_in_a_terminal() -> None:
    """A shell starts what goes to the background with SIGINT ignored; children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="module")
def closes_what_it_opened() -> Iterator[None]:
    """Thousands of tests run in one process: what they leave open, the last of them lack."""
    before = descriptors.opened()
    yield
    left = descriptors.left_open(before, _MAY_STAY_OPEN)
    assert not left, f"the tests of this file left open: {left}"


@pytest.fixture(autouse=True)
def notes_as_in_a_program() -> Iterator[None]:
    """A command that is run here, quietly or not, leaves nothing of that to the next test."""
    before = notes.shown, announcing.announce
    yield
    notes.shown, announcing.announce = before


@pytest.fixture
def unwell_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """URLs of stores that behave as they are told (``lab.unwell``) are known in this process, and
    in those that it starts."""
    import fsspec

    from lab import unwell

    for name, value in unwell.environment(tmp_path / "packages").items():
        monkeypatch.setenv(name, value)
    fsspec.register_implementation("unwell", unwell.UnwellFileSystem, clobber=True)
