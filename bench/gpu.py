"""GPUs: contexts, weights to the device, shared weights, GPU snapshots, and starts by strategy.

    python bench/gpu.py [--out DIR] [--minutes N] [--only SECTION ...] [--quick] [--stand-in]

Runs whole on a bare machine with a driver, without a network. Each section is a process of its own
with a time limit: one that fails, hangs or crashes stops no other. Each figure is a line of JSON in
DIR/gpu.jsonl as soon as it is known, the most important ones first; what was not measured says why.
--stand-in takes this machine's memory for the device, to try the script without a GPU: its figures
say nothing of any GPU.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from on_gpu.report import Options, Report
from rekindle.exception import Error
from rekindle.linux import processes


class Section(NamedTuple):
    """A function of a module in ``on_gpu/``."""

    name: str
    place: str
    #: Seconds that it is planned with, on a large machine with one GPU: a plan, not measured.
    planned: float
    #: Seconds after which it is stopped.
    seconds: float


#: In the order of importance; what is short first where that does not matter. All that is planned
#: fits into the time that they have together.
SECTIONS = (
    Section("machine", "machine.run", 5, 40),
    Section("floor", "floor.run", 24, 60),
    Section("link", "link.run", 8, 40),
    Section("modules 1 GB", "modules.small", 11, 50),
    Section("strategies 1 GB", "strategies.gigabyte", 40, 90),
    Section("GPU snapshots 1 GB", "gpu_starts.snapshots", 45, 80),
    Section("strategies 1 GB, weights held", "gpu_starts.held", 15, 45),
    Section("spares with a context", "gpu_starts.contexts", 15, 40),
    Section("embedding", "strategies.embedding", 28, 60),
    Section("GPU snapshots in a row", "gpu_starts.in_a_row", 50, 70),
    Section("strategies 8 GB", "strategies.eight", 45, 90),
    Section("checkpoint calls", "checkpoints.calls", 10, 40),
    Section("sharing", "sharing.run", 11, 45),
    Section("GPU snapshots 8 GB", "gpu_starts.snapshots_8", 55, 100),
    Section("modules 8 GB", "modules.large", 18, 50),
    Section("checkpoints with CRIU", "checkpoints.with_criu", 12, 60),
    Section("sweep", "link.sweep", 8, 30),
)
#: For all sections together; dev/gpu_run.sh says what is left of its eight minutes.
MINUTES = 6.7
#: For a section to end once it is killed. One that hangs in the driver may never: others go on.
DIES_S = 5.0
#: A section is not begun with less than this part of what it is planned with: shorter ones that
#: come later have the time.
LEAST = 0.6


def main() -> int:
    """Every section that there is time for; 0 also where some failed."""
    options = _options()
    if options.section:
        return _section(options)
    options.out.mkdir(parents=True, exist_ok=True)
    figures = options.json or options.out / "gpu.jsonl"
    figures.unlink(missing_ok=True)
    ends = time.monotonic() + options.minutes * 60
    chosen = [one for one in SECTIONS if not options.only or one.name in options.only]
    for section in chosen:
        left = ends - time.monotonic()
        if left < section.planned * LEAST:
            Report(figures, section.name).missing("section", "no time left")
            continue
        _run(section, min(section.seconds, left, options.at_most), figures, options)
    print(f"figures: {figures}")
    if options.check:
        print("SPECIFICATION.md promises nothing of GPUs that has to be measured on one")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench/gpu.py", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--out", type=Path, default=Path("demo-results"), metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="FILE", help="a line for each figure")
    parser.add_argument("--check", action="store_true", help="as of all benchmarks")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for all sections together")
    parser.add_argument(
        "--only",
        action="append",
        choices=[one.name for one in SECTIONS],
        metavar="SECTION",
        help="may be repeated",
    )
    parser.add_argument("--quick", action="store_true", help="small: does it work at all?")
    parser.add_argument("--stand-in", action="store_true", help="no GPU: the host's memory is it")
    parser.add_argument("--at-most", type=float, default=1e9, help="seconds for each section")
    parser.add_argument("--section", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=60.0, help=argparse.SUPPRESS)
    parser.add_argument("--figures", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _run(section: Section, seconds: float, figures: Path, options: argparse.Namespace) -> None:
    """In a process group of its own, ended with all that it started."""
    report = Report(figures, section.name)
    argv = [sys.executable, __file__, "--section", section.name, "--figures", str(figures)]
    argv += ["--seconds", f"{seconds:.0f}"]
    argv += ["--quick"] * options.quick + ["--stand-in"] * options.stand_in
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(argv, stderr=said, start_new_session=True)
        try:
            status: int | str = process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = f"stopped after {seconds:.0f} s"
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        try:
            process.wait(DIES_S)
        except subprocess.TimeoutExpired:
            status = f"{status} and cannot be killed, in a call of the kernel most likely"
        said.seek(0)
        lines = said.read()
        if lines:
            print(f"--- {section.name}\n{lines.rstrip()}", file=sys.stderr, flush=True)
        if status != 0:
            tail = " / ".join(lines.strip().splitlines()[-4:])
            why = status if isinstance(status, str) else f"it ended with status {status}"
            report.missing("rest of the section", f"{why}: {tail}"[:1000])
    report.row("section", time.monotonic() - began, "s")


def _modules() -> list[str]:
    return sorted({one.place.partition(".")[0] for one in SECTIONS})


def _section(options: argparse.Namespace) -> int:
    """In the section's own process, which does not outlive the script, however that ends."""
    processes.die_with_parent()
    section = next(one for one in SECTIONS if one.name == options.section)
    module, function = section.place.split(".")
    # All of them, as a snapshot depends on the program's modules: sections share those of theirs.
    modules = {one: importlib.import_module(f"on_gpu.{one}") for one in _modules()}
    with tempfile.TemporaryDirectory() as scratch:
        given = Options(options.quick, options.stand_in, Path(scratch), options.seconds)
        report = Report(options.figures, section.name)
        try:
            getattr(modules[module], function)(report, given)
        except Error as error:  # in words already: no GPU, most often
            report.missing("rest of the section", error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
