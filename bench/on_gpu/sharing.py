"""Weights that stay: a holder on the GPU; runners attach, from namespaces of their own, and die."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from on_gpu.children import Child
from on_gpu.report import Options, Report
from rekindle.gpu_restore import cuda as driver

#: A runner: brings weights or attaches to them; says how long that took, and what it read.
_RUNNER = """
import ctypes, os, time
from rekindle.gpu_restore.holding.client import Connection
{device}
holder = Connection.to({path!r}, device)
SIZE = {size}

def ask(line):
    committed = 0.0
    if line == "bring":
        from rekindle.gpu_restore.copying import Arena, Memory, Piece, transfer
        data = bytearray(os.urandom(1 << 20)) * (SIZE >> 20)
        global kept
        kept = (ctypes.c_ubyte * SIZE).from_buffer(data)
        source = Memory(ctypes.addressof(kept))
        started = time.perf_counter()
        assert holder.want("model") is None
        (address, size), = holder.allocate("model", [SIZE]).places
        transfer(device, [Arena(address, size, [Piece(0, SIZE, source)])])
        took = time.perf_counter() - started
        holder.commit("model", {{}}, checksums=True)
        committed = time.perf_counter() - started - took
    else:
        started = time.perf_counter()
        (address, size), = holder.want("model").places
        took = time.perf_counter() - started
    first, last = bytearray(64), bytearray(64)
    device.read(address, first)
    device.read(address + SIZE - 64, last)
    return [took, (first + last).hex(), committed]
"""
_CUDA = "from rekindle.gpu_restore.device import cuda_device; device = cuda_device(0)"
_HOST = "from rekindle.gpu_restore.host_device import HostDevice; device = HostDevice()"
#: cuIpcOpenMemHandle, for what cannot share by descriptor; and to know whether namespaces stop it.
_EXPORTER = """
from rekindle.gpu_restore import cuda as driver
cuda = driver.load()
from rekindle.gpu_restore.device import cuda_device
device = cuda_device(0)
address = cuda.allocate(1 << 20)

def ask(line):
    return cuda.ipc_handle(address).hex()
"""
_IMPORTER = """
from rekindle.gpu_restore import cuda as driver
cuda = driver.load()
from rekindle.gpu_restore.device import cuda_device
device = cuda_device(0)

def ask(line):
    try:
        cuda.ipc_close(cuda.ipc_open(bytes.fromhex(line)))
    except Exception as error:
        return str(error)
    return "works"
"""
_APART = ("unshare", "--fork", "--kill-child", "--pid", "--ipc", "--uts", "--mount-proc")


def run(report: Report, options: Options) -> None:
    """Times of each runner; that all read the same; that the killed harm no one."""
    size = (16 if options.quick or options.stand_in else 1024) << 20
    if not options.stand_in:
        driver.load().init()  # says why there is none; a holder of its own says it to no one
    with holder(options) as path:
        device = _HOST if options.stand_in else _CUDA
        code = _RUNNER.format(device=device, path=path, size=size)
        started: list[Child] = []
        try:
            first = Child(code)
            started.append(first)
            took, content, committed = first.ask("bring")
            report.row("the first runner brings the weights", took * 1e3, "ms", bytes=size)
            what = "their checksums, in the holder"
            report.row(what, committed * 1e3, "ms", bytes=size)
            attach = []
            for _ in range(3 if options.quick else 5):
                other = Child(code)
                started.append(other)
                took, seen, _ = other.ask("attach")
                attach.append(took * 1e3)
                if seen != content:
                    report.says("wrong", "an attached runner read something else")
            report.median("another runner attaches", attach, "ms", bytes=size)
            for child in started:
                child.kill()
            _in_namespaces(report, code, content, started)
            last = Child(code)
            started.append(last)
            took, seen, _ = last.ask("attach")
            same = seen == content
            report.says("after all users were killed", "the same" if same else "something else")
            from rekindle.gpu_restore.holding.client import Connection
            from rekindle.gpu_restore.host_device import HostDevice

            asked = Connection.to(path, HostDevice())
            began = time.perf_counter()
            damaged = asked.damaged("model")
            report.row("checksums", (time.perf_counter() - began) * 1e3, "ms", damaged=damaged)
        finally:
            for child in started:
                child.kill()
    if options.stand_in:
        report.missing("cuIpcOpenMemHandle", "no GPU")
    else:
        _handles(report)


def _in_namespaces(report: Report, code: str, content: str, started: list[Child]) -> None:
    """As runners are: their own processes, System V objects and host name."""
    try:
        child = Child(code, prefix=_APART)
    except (OSError, RuntimeError) as error:
        report.missing("in namespaces of its own", error)
        return
    started.append(child)
    try:
        took, seen, _ = child.ask("attach")
    except RuntimeError as error:
        report.says("in namespaces of its own", f"fails: {error}")
        return
    same = "the same" if seen == content else "something else"
    report.row("in namespaces of its own", took * 1e3, "ms", read=same)


def _handles(report: Report) -> None:
    exporter = Child(_EXPORTER)
    try:
        handle = exporter.ask("handle")
        for what, prefix in (("in the same namespaces", ()), ("in its own namespaces", _APART)):
            importer = Child(_IMPORTER, prefix=prefix)
            try:
                report.says(f"cuIpcOpenMemHandle, {what}", importer.ask(handle))
            finally:
                importer.kill()
    finally:
        exporter.kill()


@contextmanager
def holder(options: Options) -> Iterator[str]:
    """One that keeps weights, and its socket."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "holder")
        process = subprocess.Popen(
            [sys.executable, "-m", "rekindle.gpu_restore.holding", "--socket", str(path)]
            + ["--device", "host" if options.stand_in else "0"]
        )
        try:
            while not path.exists():
                if process.poll() is not None:
                    raise RuntimeError("the holder did not start")
                time.sleep(0.01)
            yield str(path)
        finally:
            process.kill()
            process.wait()
