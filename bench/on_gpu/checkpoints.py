"""GPU snapshots: the driver's calls alone, then with CRIU, many in a row, content compared."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from on_gpu.children import Child
from on_gpu.report import Options, Report
from rekindle.exception import Error
from rekindle.gpu_restore import checkpoint
from rekindle.gpu_restore import cuda as driver
from rekindle.gpu_restore.cuda import Driver
from rekindle.linux import processes

#: In a row, without an agent: bench/gpu.py has starts of runners in a row, too.
ROUNDS = 10
#: A process with memory on the GPU: says what is there, by a checksum of all of it.
_HOLDS = """
import os, zlib
from rekindle.gpu_restore.device import cuda_device
device = cuda_device(0)
SIZE = {size}
address = device.allocate(SIZE)
block = os.urandom(1 << 20)
import ctypes
from rekindle.gpu_restore import cuda as driver
cuda = driver.load()
area = (ctypes.c_ubyte * (1 << 20)).from_buffer_copy(block)
for at in range(0, SIZE, 1 << 20):
    cuda.copy_in(address + at, ctypes.addressof(area), 1 << 20)

def ask(line):
    value = 0
    part = bytearray(1 << 20)
    for at in range(0, SIZE, 1 << 20):
        device.read(address + at, part)
        value = zlib.crc32(part, value)
    return value
"""
#: The same, for CRIU: no pipes to anybody; it answers through files when it gets a signal.
_ALONE = (
    """
# Waited for, not handled, and before CUDA has threads: one that comes early is not lost.
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGUSR1}})
"""
    + _HOLDS
    + """
import sys
os.setsid()
directory = sys.argv[1]
answers = 0
with open(os.path.join(directory, "pid"), "w") as file:
    file.write(str(os.getpid()))
# Out of reach of whoever ends the section: it ends itself where nobody asks any more.
while signal.sigtimedwait({{signal.SIGUSR1}}, 90) is not None:
    answers += 1
    with open(os.path.join(directory, "new"), "w") as file:
        file.write(f"{{answers}} {{ask('')}}")
    os.rename(os.path.join(directory, "new"), os.path.join(directory, "answer"))
"""
)


def calls(report: Report, options: Options) -> None:
    """Suspend and resume, of 1 GiB (64 MiB if it is to be quick), then 64 MiB in a row."""
    cuda = _driver(report)
    if cuda is None:
        return
    mib = 64 if options.quick else 1024
    child = Child(_HOLDS.format(size=mib << 20))
    try:
        before = child.ask("")
        suspend, resume = [], []
        for number in range(3):
            one, two = _round(cuda, child.process.pid)
            suspend.append(one * 1e3)
            resume.append(two * 1e3)
            if number == 0:
                report.row(f"suspend, {mib} MiB, first time", one * 1e3, "ms")
                report.row(f"resume, {mib} MiB, first time", two * 1e3, "ms")
        report.median(f"suspend, {mib} MiB", suspend, "ms")
        report.median(f"resume, {mib} MiB", resume, "ms")
        report.says(
            f"content, {mib} MiB", "the same" if child.ask("") == before else "something else"
        )
    finally:
        child.kill()
    _many(report, options, cuda)


def _many(report: Report, options: Options, cuda: Driver) -> None:
    child = Child(_HOLDS.format(size=64 << 20))
    done = 0
    times: list[float] = []
    try:
        before = child.ask("")
        while done < ROUNDS and options.has_time_for(2 * max(times, default=0.0)):
            times.append(sum(_round(cuda, child.process.pid)))
            if child.ask("") != before:
                report.says("wrong", f"other content after round {done + 1}")
                break
            done += 1
    except (Error, RuntimeError) as error:
        report.says("failed", f"round {done + 1}: {error}")
    finally:
        child.kill()
    milliseconds = statistics.median(times) * 1e3 if times else 0
    report.row("suspended and resumed in a row", done, f"of {ROUNDS}", median_ms=milliseconds)


def _round(cuda: Driver, pid: int) -> tuple[float, float]:
    started = time.perf_counter()
    checkpoint.suspend(cuda, pid)
    suspended = time.perf_counter()
    checkpoint.resume(cuda, pid)
    return suspended - started, time.perf_counter() - suspended


def with_criu(report: Report, options: Options) -> None:
    """Suspended, dumped, restored and resumed, as often as there is time for."""
    cuda = _driver(report)
    if cuda is None:
        return
    try:
        from rekindle.snapshot import criu

        found = criu.find()
    except (ImportError, Error) as error:
        report.missing("with CRIU", error)
        return
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        _criu_rounds(report, cuda, found.argv, Path(name), options)


def _criu_rounds(
    report: Report, cuda: Driver, criu: tuple[str, ...], directory: Path, options: Options
) -> None:
    # What CRIU restores is nobody's child: ours then, so that its process id comes free again.
    processes.adopt_orphans()
    subprocess.Popen(
        [sys.executable, "-c", _ALONE.format(size=256 << 20), str(directory)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=open(directory / "stderr", "w"),  # noqa: SIM115 - the child's
        start_new_session=False,
    )
    pid = int(_wait_for(directory / "pid", 60))
    done = 0
    times: list[tuple[float, float, float, float]] = []
    try:
        before = _asked(pid, directory)
        while done < ROUNDS and options.has_time_for(2 * max(map(sum, times), default=0.0)):
            images = directory / "images"
            shutil.rmtree(images, ignore_errors=True)
            images.mkdir()
            started = time.perf_counter()
            checkpoint.suspend(cuda, pid)
            suspended = time.perf_counter()
            _criu(criu, "dump", "--tree", str(pid), images)
            _reap(pid)
            dumped = time.perf_counter()
            _criu(criu, "restore", "--restore-detached", "", images)
            restored = time.perf_counter()
            checkpoint.resume(cuda, pid)
            resumed = time.perf_counter()
            times.append(
                (suspended - started, dumped - suspended, restored - dumped, resumed - restored)
            )
            if _asked(pid, directory) != before:
                report.says("wrong", f"other content after round {done + 1}")
                break
            done += 1
            if done == 1:
                report.row("with CRIU: all steps, 256 MiB, first time", sum(times[0]) * 1e3, "ms")
    except (Error, RuntimeError, OSError, subprocess.SubprocessError) as error:
        report.says("failed", f"round {done + 1}: {error}")
    finally:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    if times:
        for number, step in enumerate(("suspend", "dump", "restore", "resume")):
            runs = [one[number] * 1e3 for one in times]
            report.median(f"with CRIU: {step}, 256 MiB", runs, "ms")
    report.row("dumped and restored in a row", done, f"of {ROUNDS}")


def _criu(criu: tuple[str, ...], action: str, option: str, value: str, images: Path) -> None:
    argv = [*criu, action, *([option, value] if value else [option]), "--images-dir", str(images)]
    argv += ["--log-file", f"{action}.log", "-v3", "--shell-job", "--no-default-config"]
    argv += ["--manage-cgroups=ignore", "--file-validation=filesize", "--link-remap"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode != 0:
        from rekindle.snapshot import diagnose

        log = (images / f"{action}.log").read_text(errors="replace")
        explain = (
            diagnose.explain_dump_failure if action == "dump" else diagnose.explain_restore_failure
        )
        tail = " / ".join(line for line in log.splitlines() if "Error" in line)[-400:]
        raise RuntimeError(f"CRIU {action}: {explain(log)} [{tail}]")


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def _asked(pid: int, directory: Path) -> str:
    answer = directory / "answer"
    answer.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR1)
    return _wait_for(answer, 30).split()[1]


def _wait_for(path: Path, seconds: float) -> str:
    end = time.monotonic() + seconds
    while not path.exists() or not path.read_text():
        if time.monotonic() > end:
            said = path.parent / "stderr"
            raise RuntimeError(f"no answer: {said.read_text()[-300:] if said.exists() else ''}")
        time.sleep(0.005)
    return path.read_text()


def _driver(report: Report) -> Driver | None:
    try:
        cuda = driver.load()
        cuda.init()
        why = checkpoint.why_not(cuda)
    except Error as error:
        report.missing("GPU snapshots", error)
        return None
    if why:
        report.missing("GPU snapshots", why)
        return None
    return cuda
