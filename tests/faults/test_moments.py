"""The worst moments: while an instance comes up, while a snapshot is written, twice in a row."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import psutil
import pytest

from tests.e2e.harness import Gate, Home, Program, service, wait_until
from tests.faults.instances import NEXT, in_flight, kill

HEAVY = """
    import rekindle

    app = rekindle.App("heavy")

    @app.cls(enable_memory_snapshot=True)
    class Heavy:
        @rekindle.enter(snap=True)
        def load(self):
            import os
            self.weights = os.urandom(256 << 20)

        @rekindle.method()
        def size(self) -> int:
            return len(self.weights) >> 20

    @app.local_entrypoint()
    def main(gate: str = ""):
        print("first", Heavy().size.remote(), flush=True)
        if gate:
            open(gate).close()  # until somebody opens the fifo for writing
        print("then", sum(Heavy().size.remote() for _ in range(200)), flush=True)
"""


def _dumping(program: Program) -> psutil.Process:
    """The CRIU that writes a snapshot for a private instance."""
    supervisor = service(psutil.Process(program.process.pid), "rekindle.sdk.local.supervisor")

    def find() -> psutil.Process | None:
        for child in supervisor.children(recursive=True):
            with suppress(psutil.Error):
                if "dump" in child.cmdline():
                    return child
        return None

    found: psutil.Process = wait_until(find, "a dump to begin")
    return found


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_a_run_that_is_ended_while_its_instance_comes_up_leaves_nothing(
    home: Home, number: signal.Signals, status: int
) -> None:
    script = home.script(HEAVY)
    program = home.start_rekindle("run", script)
    run = home.path / "run"
    wait_until(lambda: run.exists() and list(run.glob("rk-*/supervisor.pid")), "a supervisor")
    os.killpg(program.process.pid, number)
    ended = program.end()
    assert ended.status == status, str(ended)
    assert "Traceback" not in ended.err
    wait_until(lambda: not list(run.iterdir()), "the directory to be removed")


def test_a_second_ctrl_c_ends_at_once(home: Home, gate: Gate) -> None:
    """The exit hook of the runner would take for ever."""
    script = home.script(
        Gate.SOURCE
        + f"""
import rekindle, signal
app = rekindle.App("stubborn")

@app.cls()
class Stubborn:
    @rekindle.method()
    def work(self):
        return "worked"

    @rekindle.exit()
    def leave(self):
        wait_at({str(gate.directory)!r})

@app.local_entrypoint()
def main():
    print(Stubborn().work.remote(), flush=True)
    signal.pause()
"""
    )
    program = home.start_rekindle("run", script)
    program.until("worked")
    program.interrupt()
    program.until("Stopping.", "err")
    program.until("waiting")
    program.interrupt()
    ended = program.end(20)  # exit hooks have 30 seconds
    assert ended.status == 130, str(ended)
    assert "Traceback" not in ended.err


@pytest.mark.criu
def test_a_dump_that_is_killed_is_told_and_calls_go_on(home: Home) -> None:
    program = home.start_rekindle("run", home.script(HEAVY))
    program.until("first 256")
    kill(_dumping(program))
    ended = program.end()
    assert ended.status == 0, str(ended)
    assert f"then {256 * 200}\n" in ended.out
    assert "no snapshot of heavy.Heavy" in ended.err and "SIGKILL" in ended.err
    assert home.half_made() == []
    assert home.snapshots() == []


@pytest.mark.criu
@pytest.mark.parametrize("calls_go_on", [False, True])
def test_an_agent_that_is_killed_while_it_dumps_leaves_no_half_snapshot(
    home: Home, calls_go_on: bool
) -> None:
    """Without calls, no other agent may have come before the instance ends."""
    gate = home.root / "gate"
    os.mkfifo(gate)
    argument = ("--gate", gate) if calls_go_on else ()
    script = home.script(HEAVY)
    program = home.start_rekindle("run", script, *argument, REKINDLE_AGENT_GRACE_S="0.5")
    program.until("first 256")
    dumping = _dumping(program)
    agent = service(psutil.Process(program.process.pid), "rekindle.runtime.agent")
    kill(agent)
    _gone, left = psutil.wait_procs([dumping], timeout=60)
    assert not left, "the dump died with its agent"
    if calls_go_on:
        os.close(os.open(gate, os.O_WRONLY))
    ended = program.end()
    assert ended.status == 0, str(ended)
    assert f"then {256 * 200}\n" in ended.out
    assert all(entry["valid"] for entry in home.snapshots())
    assert home.half_made() == []


@pytest.mark.criu
def test_a_run_that_is_killed_while_it_dumps_leaves_nothing_that_the_next_does_not_remove(
    home: Home,
) -> None:
    script = home.script(HEAVY)
    program = home.start_rekindle("run", script)
    program.until("first 256")
    _dumping(program)
    program.kill()
    wait_until(lambda: not list((home.path / "run").iterdir()), "the instance to end")
    ended = home.run(script)
    assert ended.out.startswith("first 256\n")
    assert home.half_made() == []
    assert [entry["valid"] for entry in home.snapshots()] == [True]


@pytest.mark.criu
def test_every_criu_that_waits_is_killed_and_the_next_start_is_served(
    home: Home, gate: Gate
) -> None:
    """Restores are begun in advance; those processes can die before they are needed."""
    home.up()
    with in_flight(home, gate, "--warm", "--model") as flight:
        runner = flight.runner()

        def waiting() -> list[psutil.Process]:
            found = []
            for child in flight.supervisor.children(recursive=True):
                with suppress(psutil.Error):
                    if any("criu" in word for word in child.cmdline()[:2]):
                        found.append(child)
            return found

        for process in waiting():
            with suppress(psutil.NoSuchProcess):  # it ended with the namespace of the one before
                process.kill()
        kill(flight.template())
        kill(runner)
        flight.waits_again(2)
        gate.open()
        ended = flight.program.end()
    assert ended.status == 0, str(ended)
    assert ended.out.endswith("got 40\n" + NEXT)


def test_a_process_that_a_function_left_behind_dies_with_its_runner(home: Home) -> None:
    """Double-forked, in a session of its own, with signals ignored."""
    home.up()
    script = home.script(
        """
        import os, signal, rekindle
        app = rekindle.App("leaver")

        @app.function()
        def leave(path):
            if os.fork() == 0:
                os.setsid()
                for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                    signal.signal(number, signal.SIG_IGN)
                if os.fork() == 0:
                    open(path, "w").close()
                    held = open(path)
                    while True:
                        signal.pause()
                os._exit(0)
            os.wait()
            while not os.path.exists(path):
                pass
            return "left"

        @app.local_entrypoint()
        def main(path: str):
            print(leave.remote(path))
        """
    )
    path = home.root / "left"
    assert home.run(script, "--path", str(path)).out == "left\n"

    def holders() -> list[int]:
        found = []
        for child in home.supervisor().children(recursive=True):
            with suppress(psutil.Error, OSError):
                if str(path) in [file.path for file in child.open_files()]:
                    found.append(child.pid)
        return found

    wait_until(lambda: not holders(), "what the function left to end")


def test_shared_memory_of_a_killed_runner_is_gone(home: Home, gate: Gate) -> None:
    script = home.script(
        Gate.SOURCE
        + """
import os, rekindle
app = rekindle.App("sharing")

@app.function()
def share(path, name):
    with open(f"/dev/shm/{name}", "w") as file:
        file.write("shared")
        wait_at(path)
    return os.listdir("/dev/shm")

@app.local_entrypoint()
def main(path: str, name: str):
    print(share.remote(path, name))
"""
    )
    name = f"{home.root.name}-shared"
    program = home.start_rekindle("run", script, "--path", gate.directory, "--name", name)
    program.until("waiting")
    assert not os.path.exists(f"/dev/shm/{name}"), "a runner has a /dev/shm of its own"
    program.kill()
    wait_until(lambda: not list((home.path / "run").iterdir()), "the instance to end")
    assert not os.path.exists(f"/dev/shm/{name}")
