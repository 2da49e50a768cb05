"""A runner's side of a holder: weights that are there already, or that it brings first.

The connection is the claim on them: as long as it is open they stay, and when this process ends it
is closed, however that comes. Knows no tensors (``held_weights.py`` does).
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rekindle.exception import GpuError
from rekindle.gpu_restore.device import Device, Shared
from rekindle.gpu_restore.holding.ledger import State
from rekindle.wire import gpu_environment
from rekindle.wire.frames import FrameError, FrameSocket, Header

#: Where the holder that an agent started dies, so long is waited to be ended by that agent.
_ENDED_WITHIN_S = 10.0


@dataclass(frozen=True)
class Arenas:
    """Weights in this process: address and size of each arena; ``index``: what is in them."""

    places: tuple[tuple[int, int], ...]
    index: Any = None


class Connection:
    """To one holder. Everything raises GpuError, where the holder is gone too."""

    def __init__(self, sock: socket.socket, device: Device, *, of_agent: bool = False) -> None:
        self._sock = sock
        #: Whether its agent ends this process where the holder dies: once that has served.
        self._of_agent = of_agent
        self._served = False
        self._frames = FrameSocket(sock)
        self._device = device
        self._opened: dict[str, Arenas] = {}

    @classmethod
    def to(cls, place: str, device: Device) -> Connection:
        """The holder that listens at the path ``place``; or, as an agent says it to a runner
        (gpu_environment.HOLDER), at the other end of a descriptor of this process."""
        if place.startswith(gpu_environment.HOLDER_FD):
            fd, pid = place.removeprefix(gpu_environment.HOLDER_FD).split(":")
            if int(pid) != os.getpid():
                raise GpuError("a runner's connection to its weights is not its children's")
            return cls(socket.socket(fileno=int(fd)), device, of_agent=True)
        path = place
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(path)
        except OSError as error:
            sock.close()
            raise GpuError(f"no process holds weights at {path}: {error}") from error
        return cls(sock, device)

    def has(self, key: str) -> bool:
        """Whether this process has the weights of that name already."""
        return key in self._opened

    def want(self, key: str) -> Arenas | None:
        """The weights of that name; None where this process is to bring them.

        Waits while another one brings them.
        """
        answer = self._ask({"op": "want", "key": key})
        if answer["state"] == State.LOADING.value:
            return None
        return self._open(key, answer["index"])

    def allocate(self, key: str, sizes: Sequence[int]) -> Arenas:
        """Memory for the weights that this process is to bring."""
        self._send({"op": "allocate", "key": key, "sizes": list(sizes)})
        return self._open(key, None)

    def commit(self, key: str, index: Any, *, checksums: bool = False) -> None:
        """They are there: others may have them."""
        self._ask({"op": "commit", "key": key, "index": index, "checksums": checksums})

    def release(self, key: str) -> None:
        """They are used here no more: nothing may point to them."""
        arenas = self._opened.pop(key, None)
        for address, _size in arenas.places if arenas is not None else ():
            self._device.release(address)
        self._ask({"op": "release", "key": key})

    def limit(self, key: str) -> None:
        """From now on, this connection is good for that name alone."""
        self._ask({"op": "limit", "key": key})

    def damaged(self, key: str) -> list[int]:
        """Arenas that are not what was loaded."""
        found: list[int] = self._ask({"op": "verify", "key": key})["damaged"]
        return found

    def status(self) -> Header:
        """What is held, for people and metrics."""
        return self._ask({"op": "status"})

    def close(self) -> None:
        """Let go of everything."""
        for arenas in self._opened.values():
            for address, _size in arenas.places:
                self._device.release(address)
        self._opened.clear()
        self._sock.close()

    def _open(self, key: str, index: Any) -> Arenas:
        count = int(self._receive()[0]["arenas"])
        offered: list[tuple[Header, list[int]]] = []
        places: list[tuple[int, int]] = []
        try:
            # The whole answer, before anything can fail.
            offered.extend(self._receive() for _ in range(count))
            if (known := self._opened.get(key)) is not None:
                return Arenas(known.places, index)
            for header, fds in offered:
                handle = bytes.fromhex(header["handle"])
                shared = Shared(header["mapped"], fd=fds[0] if fds else -1, handle=handle)
                places.append((self._device.open(shared), header["size"]))
        except BaseException:
            for address, _size in places:
                self._device.release(address)
            raise
        finally:
            for _header, fds in offered:
                for fd in fds:
                    os.close(fd)
            arenas = self._opened[key] = Arenas(tuple(places), index)
        return arenas

    def _ask(self, order: Header) -> Header:
        self._send(order)
        return self._receive()[0]

    def _send(self, order: Header) -> None:
        try:
            self._frames.send(order)
        except OSError as error:
            raise self._gone(f": {error}") from error

    def _receive(self) -> tuple[Header, list[int]]:
        try:
            header, _body, fds = self._frames.receive()
        except FrameError as error:
            raise self._gone("") from error
        except OSError as error:
            raise self._gone(f": {error}") from error
        self._served = True
        if not header.get("ok", True):
            raise GpuError(header["reason"])
        return header, fds

    def _gone(self, why: str) -> GpuError:
        """An input of a runner that is to be ended for it is to run again, not to fail of it."""
        if self._of_agent and self._served:
            time.sleep(_ENDED_WITHIN_S)
            self._of_agent = False  # or this would have been ended by now
        return GpuError(f"the process that holds weights is gone{why}")
