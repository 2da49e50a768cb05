"""All processes of an instance are killed at once, so that none can remove anything.

The next command does. Of each kind that an instance makes there is one: sockets, an agent's files,
a volume in a runner, the mount of files that are read before they have arrived.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.e2e.harness import Gate, Home
from tests.e2e.leftovers import nothing_but_what_is_kept
from tests.faults.instances import InFlight, in_flight

SCRIPT = "import rekindle\napp = rekindle.App()\n@app.function()\ndef f():\n    return 1\n"
SCRIPT += "@app.local_entrypoint()\ndef main():\n    print(f.remote())\n"
VOLUME = """
import rekindle
from rekindle import Volume

app = rekindle.App("mounts")

@app.function(volumes={"/data": Volume.from_name("v", create_if_missing=True)}, min_containers=1)
def look():
    import os
    return os.path.ismount("/data") or os.path.isdir("/data")

@app.local_entrypoint()
def main():
    print(look.remote())
"""


def kill_at_once(flight: InFlight) -> None:
    """Stopped first: what ends could else wake one that removes something."""
    dying = [psutil.Process(flight.program.process.pid), *flight.everything()]
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for process in dying:
            with suppress(psutil.NoSuchProcess):  # a child of a runner
                process.send_signal(number)
    flight.program.process.wait(60)
    _gone, left = psutil.wait_procs(dying, timeout=60)
    assert not left


def down(home: Home) -> None:
    """`rekindle down`: nothing is up."""
    assert home.rekindle("down").out == "No instance is up.\n"


def up_and_down(home: Home) -> None:
    """Another comes up in its place, and ends."""
    home.up()
    home.rekindle("down")


def run(home: Home) -> None:
    """A program with an instance of its own."""
    assert home.run(home.script(SCRIPT, "another.py")).out == "1\n"


def left_in(home: Home) -> list[Path]:
    """What lies where instances run."""
    return [*home.daemon.glob("*.sock"), *home.daemon.glob("agent-*"), *home.path.glob("run/*")]


def mounted(home: Home) -> list[str]:
    """Mounts below a home, as this process sees them."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if str(home.root) in line]


@pytest.mark.parametrize("then", [down, run])
def test_of_a_private_instance(home: Home, gate: Gate, then: Callable[[Home], None]) -> None:
    with in_flight(home, gate, "--warm", "--model") as flight:
        kill_at_once(flight)
    assert left_in(home)
    draft = home.path / "snapshots" / f".draft-sn-{'0' * 20}-1-0123abcd"  # as if it had just begun
    draft.mkdir()
    then(home)
    nothing_but_what_is_kept(home)


@pytest.mark.parametrize("then", [down, up_and_down])
def test_of_the_instance_that_is_kept(
    home: Home, gate: Gate, tmp_path: Path, then: Callable[[Home], None]
) -> None:
    home.up(REKINDLE_STORE_URL=(tmp_path / "store").as_uri())
    assert home.run(home.script(VOLUME, "volume.py")).out == "True\n"
    with in_flight(home, gate, "--warm", "--model") as flight:
        kill_at_once(flight)
    assert left_in(home)
    then(home)
    nothing_but_what_is_kept(home)
    assert not mounted(home)
