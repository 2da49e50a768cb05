"""The floor of a forked start: what its steps take in a process with a template's memory.

    .venv/bin/python bench/fork_floor.py [--quick] [--json FILE] [--results DIR]

Processor time of a fork, of namespaces, of a word each way over a socket, of pages that are written
to, and of the exit, one more of them in each row, without anything that rekindle does around them.
Measured in a runner that was forked from a template, of functions with and without PyTorch, beside
what an empty Python process takes for a fork and its exit. Needs root and PyTorch.
"""

from __future__ import annotations

import contextlib
from typing import Any

from rich.table import Table

import rekindle
from lab import script
from rekindle.bench import machine as machines
from rekindle.bench.records import write_json
from rekindle.bench.summary import median
from rekindle.wire.phases import Strategy
from restoring.calls import prepare
from restoring.instance import home, instance
from starting.bare import bare

#: Rounds; children of each step in a round. Pages that a forked start writes to or maps, about.
ROUNDS, QUICK_ROUNDS, CHILDREN, PAGES = 12, 2, 24, 600

app = rekindle.App("fork-floor")


@app.cls(enable_memory_snapshot=True)
class Measured:
    """Forks children of its own, as its template does."""

    torch: int = rekindle.parameter()

    @rekindle.enter(snap=True)
    def load(self) -> None:
        """Have PyTorch, or not."""
        if self.torch:
            import torch

            torch.set_num_threads(1)

    @rekindle.method()
    def steps(self, children: int, pages: int) -> dict[str, float]:
        """Milliseconds of processor time of a child that does so much, and of its parent's part."""
        import os
        import resource
        import socket

        from rekindle.forkserver import forking
        from rekindle.linux import namespaces

        shared = bytearray(b"1") * (pages * 4096)

        def used_s() -> float:
            whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
            found = [resource.getrusage(who) for who in whose]
            return sum(one.ru_utime + one.ru_stime for one in found)

        def child(steps: int, channel: socket.socket) -> None:
            if steps > 1:
                namespaces.isolate("floor")
            if steps > 2:
                channel.send(channel.recv(1))
            if steps > 3:
                for at in range(0, len(shared), 4096):
                    shared[at] = 2
            os._exit(0)

        def one(steps: int) -> float:
            forker = forking.Forker()
            forker.alone = True
            before = used_s()
            for _ in range(children):
                ours, theirs = socket.socketpair()
                pid = forker.fork_isolated() if steps > 0 else forking.fork(alone=True)
                if pid == 0:
                    child(steps, theirs)
                if steps > 2:
                    ours.send(b"x")
                    ours.recv(1)
                os.waitpid(pid, 0)
                ours.close()
                theirs.close()
            forker.close()
            return (used_s() - before) * 1e3 / children

        names = (
            "fork and exit",
            "... in a PID namespace of its own",
            "... and mounts, host name, IPC",
            "... and a byte each way",
            f"... and {pages} pages written to",
        )
        return {name: one(steps) for steps, name in enumerate(names)}


def main() -> int:
    """Measure and show."""
    options = script.options("fork_floor", __doc__.splitlines()[0])
    console = script.console()
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    kinds = {"no model": 0, "PyTorch": 1}
    found: dict[str, dict[str, list[float]]] = {kind: {} for kind in kinds}
    empty: list[float] = []
    with contextlib.ExitStack() as stack:
        at = stack.enter_context(instance(stack.enter_context(home())))
        stack.enter_context(at.chosen())
        stack.enter_context(app.run())
        floor = stack.enter_context(bare())
        measured: Any = Measured
        methods = {kind: measured(torch=torch).steps for kind, torch in kinds.items()}
        for method in methods.values():
            prepare(method, Strategy.RESTORE)  # its template is mapped from then on
            prepare(method, Strategy.FORK)
        for _ in range(rounds):
            for kind, method in methods.items():
                empty += [floor.one().cpu_ms for _ in range(CHILDREN)]
                for name, took in method.remote(CHILDREN, PAGES).items():
                    found[kind].setdefault(name, []).append(took)
    table = Table("processor time, ms (times an empty Python's fork and exit)", *kinds)
    table.add_row("fork and exit of an empty Python", *[f"{median(empty):.2f}"] * len(kinds))
    for name in next(iter(found.values())):
        cells = [median(steps[name]) for steps in found.values()]
        table.add_row(name, *(f"{ms:.2f} ({ms / median(empty):.1f})" for ms in cells))
    console.print(table)
    figures = {"machine": machines.describe(), "empty_ms": empty, "steps_ms": found}
    write_json(options.json, {"quick": options.quick, **figures})
    console.print(f"\n[dim]figures: {options.json}[/]\n")
    return 0


if __name__ == "__main__":
    script.run(main)
