"""The other supported Debian: a fresh clone in a minimal root that dev/debian_root.py makes."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent.parent / "dev" / "debian_root.py"
needs_debian = pytest.mark.skipif(
    not (shutil.which("mmdebstrap") or shutil.which("apt-get")),
    reason="neither mmdebstrap nor apt-get is here to make a root with",
)
not_within = pytest.mark.skipif(
    "REKINDLE_DEBIAN_ROOT" in os.environ, reason="this is such a root already"
)
pytestmark = [pytest.mark.needs_root("makes the root of a Debian"), needs_debian, not_within]

#: Without PyTorch, which is gigabytes there.
_SET_UP = """
make --silent base
.venv/bin/python -m pip install --quiet --require-hashes --no-deps -r dev/lock/test.txt
"""
#: What depends on the C library and on Python: the randomness of copies, what they have open, real
#: snapshots, tasks that end, exceptions and pickles on their way. All others run there in the soak.
PART = (
    "tests/runtime/agent/starts/test_unique.py",
    "tests/runtime/agent/starts/test_unique_libraries.py",
    "tests/runtime/agent/starts/test_wiped.py",
    "tests/forkserver/test_forking.py",
    *(
        f"tests/runtime/agent/starts/test_spares.py::{name}"
        for name in (
            "test_spares_of_one_template_repeat_nothing_and_forks_beside_them_neither",
            "test_secrets_reach_a_spare_with_its_start_only",
            "test_timers_stand_still_while_a_spare_waits",
        )
    ),
    "tests/snapshot/test_real_criu.py",
    *(
        f"tests/runtime/agent/starts/test_open_things.py::{name}"
        for name in (
            "test_every_copy_has_its_own_of_whatever_can_be_made_again",
            "test_what_a_library_has_open_is_each_copys_own",
        )
    ),
    *(
        f"tests/runtime/agent/pools/test_pools.py::{name}"
        for name in (
            "test_closing_an_app_runs_exit_hooks_cancels_what_waits_and_tells_the_controller",
            "test_a_pool_closes_while_the_last_of_its_work_has_just_ended",
        )
    ),
    *(
        f"tests/e2e/test_calls.py::{name}"
        for name in (
            "test_a_map_keeps_the_order_of_its_inputs",
            "test_large_values_travel_both_ways",
        )
    ),
    *(
        f"tests/e2e/test_call_failures.py::{name}"
        for name in (
            "test_a_users_exception_comes_home_as_itself_with_the_remote_traceback",
            "test_an_argument_that_cannot_be_pickled_is_named_with_its_path",
            "test_a_result_that_cannot_be_unpickled_at_home_is_named",
        )
    ),
    "tests/e2e/test_run.py::test_a_second_run_restores_the_snapshot_of_the_first",
)
_PYTEST = [".venv/bin/python", "-m", "pytest", "-q", "-m"] + ["not soak", "-p", "no:cacheprovider"]


def _other() -> str:
    """The supported Debian that this machine is not."""
    release = platform.freedesktop_os_release()
    return "bookworm" if release.get("VERSION_CODENAME") == "trixie" else "trixie"


def _argv(*argv: str | Path) -> list[str]:
    return [sys.executable, str(SCRIPT), *map(str, argv)]


def _run(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _argv(*argv),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.slow
@pytest.mark.timeout(3600)  # the first time it makes the root, and loads and installs packages
def test_copies_are_unique_and_snapshots_and_calls_work_on_the_other_debian() -> None:
    ended = _run("--after", _SET_UP, _other(), *_PYTEST, *PART)
    assert ended.returncode == 0, ended.stdout[-6000:]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_enters_a_root_of_its_own_and_leaves_nothing_behind(tmp_path: Path) -> None:
    say = "pwd; . /etc/os-release; echo $VERSION_CODENAME; exit 7"
    ended = _run("--under", tmp_path, _other(), "sh", "-c", say)
    assert ended.returncode == 7, ended.stdout
    assert ended.stdout.splitlines()[-2:] == ["/src", _other()]
    assert not list(tmp_path.iterdir())
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_that_is_killed_ends_all_within_and_the_next_one_removes_its_root(
    tmp_path: Path,
) -> None:
    script = "echo started; sleep infinity & wait"
    with subprocess.Popen(
        _argv("--under", tmp_path, _other(), "sh", "-c", script),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as run:
        assert run.stdout is not None
        said = []
        for line in run.stdout:
            said.append(line)
            if line == "started\n":
                break
        assert said and said[-1] == "started\n", said
        run.kill()
        # All that was inside holds the pipe: it ends when they have.
        assert run.stdout.read() == ""
    (left,) = tmp_path.iterdir()
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    assert _run("--under", tmp_path, _other(), "true").returncode == 0
    assert not left.exists()
    assert not list(tmp_path.iterdir())


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
@pytest.mark.parametrize("target", ["demo", "test"])
def test_everything_works_from_a_fresh_clone(suite: str, target: str) -> None:
    ended = _run(suite, "make", target)
    assert ended.returncode == 0, ended.stdout[-6000:]
