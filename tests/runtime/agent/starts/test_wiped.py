"""Areas that the kernel wipes on fork come back from every copy empty and with their flags."""

from __future__ import annotations

import os
import secrets
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.agent.starts import copies

pytestmark = pytest.mark.criu

SIZE = 3 * 4096


class Areas:
    """Keeps state as fork detection and glibc's generator do, and draws from the system."""

    def load(self) -> None:
        import ctypes

        os.urandom(8), uuid.uuid4(), secrets.token_hex(8)
        libc = ctypes.CDLL(None)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        self.addresses = {}
        for name, kind in (("wiped on fork", 2), ("droppable", 8)):
            address = libc.mmap(None, SIZE, 3, kind | 0x20, -1, 0)
            if address == ctypes.c_void_p(-1).value:
                continue  # no droppable mappings before Linux 6.11
            if kind == 2:
                assert libc.madvise(address, SIZE, 18) == 0
            self.addresses[name] = address
            ctypes.memset(address, 0x5A, SIZE)

    def look(self) -> dict[str, Any]:
        import ctypes

        found = {}
        for name, address in self.addresses.items():
            content = ctypes.string_at(address, SIZE)
            flags: set[str] = set()
            with open("/proc/self/smaps") as smaps:
                for line in smaps:
                    fields = line.split()
                    if "-" in fields[0]:
                        start, end = (int(part, 16) for part in fields[0].split("-"))
                    elif fields[0] == "VmFlags:" and start <= address < end:
                        flags = set(fields[1:])
            ctypes.memset(address, 0x77, SIZE)
            read, write = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.write(write, bytes([max(ctypes.string_at(address, SIZE))]))
                os._exit(0)
            os.waitpid(pid, 0)
            found[name] = (max(content), flags & {"wf", "dp", "dd"}, os.read(read, 1))
            os.close(read), os.close(write)
        return found

    def look_and_draw(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.look(), self.draw()

    def draw(self) -> dict[str, Any]:
        return {
            "os.urandom": os.urandom(16),
            "uuid4": uuid.uuid4(),
            "secrets": secrets.token_hex(16),
            "SystemRandom": secrets.randbits(64),
        }


EXPECTED = {
    "wiped on fork": (0, {"wf"}, b"\0"),
    "droppable": (0, {"wf", "dp", "dd"}, b"\0"),
}


@pytest.mark.parametrize("mode", ["mapped", "copied"])
def test_copies_find_them_empty_and_what_the_system_gives_differs(home: Path, mode: str) -> None:
    said = copies.say(home, Areas, "look_and_draw", mode=mode)
    for kind, several in said.items():
        for found, _drawn in several:
            assert found, "no area was made"
            assert found == {name: EXPECTED[name] for name in found}, kind
    drawn = {kind: [drawn for _found, drawn in several] for kind, several in said.items()}
    copies.assert_all_differ(drawn)


class BoringSSL:
    """grpcio's own: it keeps a page that says "no fork since"."""

    def load(self) -> None:
        import time

        import grpc

        with grpc.secure_channel("127.0.0.1:1", grpc.ssl_channel_credentials()) as channel:
            state = grpc.channel_ready_future(channel)
            try:
                state.result(timeout=0.2)
            except grpc.FutureTimeoutError:
                state.cancel()
        for _ in range(600):  # its library ends threads of its own some time after the channel
            if not any(name.startswith("grpc_") for name in self.threads()):
                break
            time.sleep(0.05)

    def threads(self) -> list[str]:
        import contextlib
        import pathlib

        names = []
        for path in pathlib.Path("/proc/self/task").glob("*/comm"):
            with contextlib.suppress(OSError):
                names.append(path.read_text())
        return names

    def pages(self) -> list[int]:
        import ctypes

        from rekindle.forkserver import wiped

        return [
            max(ctypes.string_at(area.start, area.end - area.start))
            for area in wiped.find()
            if "dp" not in area.vm_flags  # glibc's
        ]


@pytest.mark.parametrize("mode", ["mapped", "copied"])
def test_boringssl_notices_that_it_runs_in_a_copy(home: Path, mode: str) -> None:
    for kind, several in copies.say(home, BoringSSL, "pages", mode=mode).items():
        assert several == [[0], [0]], kind
