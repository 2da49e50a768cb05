"""A program with a call in flight, in an instance of its own or in the one that is up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.e2e.harness import Gate, Home, Program, service, wait_until
from tests.e2e.processes import holder_of

SCRIPT = (
    Gate.SOURCE
    + """
import rekindle

app = rekindle.App("faulty")

@app.function()
def hold(path):
    wait_at(path)
    return "held"

@app.function()
def quick(n):
    return n + 1

@app.cls(enable_memory_snapshot=True)
class Model:
    @rekindle.enter(snap=True)
    def load(self):
        self.base = 40

    @rekindle.method()
    def add(self, n):
        return self.base + n

    @rekindle.method()
    def hold(self, path):
        wait_at(path)
        return self.base

@app.local_entrypoint()
def main(path: str, warm: bool = False, model: bool = False):
    if warm:
        print("warm", Model().add.remote(1), flush=True)
    try:
        print("got", (Model().hold if model else hold).remote(path), flush=True)
    except rekindle.exception.Error as error:
        print("error", type(error).__name__, error, flush=True)
    print("next", quick.remote(1), Model().add.remote(2), flush=True)
"""
)
#: What it prints at its end where all is well again.
NEXT = "next 2 42\n"


@dataclass
class InFlight:
    """A program whose call waits at the gate."""

    home: Home
    gate: Gate
    program: Program
    #: Its instance, and the instance's directory.
    supervisor: psutil.Process
    directory: Path

    def service(self, module: str) -> psutil.Process:
        """A process of its instance by the module that it runs."""
        return service(self.supervisor, module)

    def runner(self) -> psutil.Process:
        """The runner that has the call."""
        return holder_of(self.supervisor, self.gate.held)

    def stats(self) -> dict[str, Any]:
        """What the agent reported last."""
        ended = self.home.rekindle("status", "--json", REKINDLE_DIR=str(self.directory))
        agents = json.loads(ended.out)["agents"]
        stats: dict[str, Any] = agents[0]["stats"] if agents else {}
        return stats

    def template(self) -> psutil.Process:
        """The live template of the model."""

        def reported() -> psutil.Process | None:
            for one in self.stats().get("templates", ()):
                with suppress(psutil.NoSuchProcess):  # one that was replaced since the report
                    return psutil.Process(one["pid"])
            return None

        found: psutil.Process = wait_until(reported, "a template to be reported")
        return found

    def waits_again(self, times: int) -> None:
        """Return when the call came to the gate the ``times``-th time."""
        self.program.until("waiting", times=times)

    def everything(self) -> list[psutil.Process]:
        """All processes of the instance now."""
        return [self.supervisor, *self.supervisor.children(recursive=True)]


@contextmanager
def in_flight(home: Home, gate: Gate, *arguments: str, **environ: str) -> Iterator[InFlight]:
    """Start the program and wait until its call is at the gate.

    Where nothing is up in that home, its instance is a private one.
    """
    private = not home.is_up()
    script = home.script(SCRIPT)
    program = home.start_rekindle("run", script, "--path", gate.directory, *arguments, **environ)
    program.until("waiting")
    if private:
        above = psutil.Process(program.process.pid)
        (directory,) = (home.path / "run").iterdir()
        supervisor = service(above, "rekindle.sdk.local.supervisor")
    else:
        directory, supervisor = home.daemon, home.supervisor()
    yield InFlight(home, gate, program, supervisor, directory)


def kill(process: psutil.Process) -> None:
    """SIGKILL, and wait until it is gone."""
    process.kill()
    psutil.wait_procs([process], timeout=60)
