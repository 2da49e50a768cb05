"""The agent's side of the process that makes roots (``root_process``)."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from rekindle.exception import StartError
from rekindle.runtime.images.root import RootRequest
from rekindle.runtime.images.root_process import MAX_REQUEST_BYTES

_MAX_ANSWER_BYTES = 1 << 16


class RootClient:
    """Takes over the connection to such a process."""

    def __init__(self, control: socket.socket) -> None:
        control.setblocking(False)
        control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MAX_REQUEST_BYTES)
        self._control = control
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._last = 0
        asyncio.get_running_loop().add_reader(control, self._readable)

    @property
    def is_gone(self) -> bool:
        """Whether the process has ended."""
        return self._control.fileno() < 0

    async def make(self, request: RootRequest) -> int:
        """A descriptor of the root's mount namespace; the caller closes it. Raises StartError."""
        return await self._ask({"root": request.to_dict()})

    async def let_go(self, places: Sequence[str]) -> None:
        """Layers that are one file each, mounted at ``places``, are not needed any more.

        Roots keep what they have. Raises StartError.
        """
        await self._ask({"let_go": list(places)})

    async def _ask(self, order: Mapping[str, Any]) -> int:
        if self.is_gone:
            raise StartError("the process that makes roots is gone")
        self._last += 1
        number = self._last
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        data = json.dumps({"id": number, **order}).encode()
        try:
            await asyncio.get_running_loop().sock_sendall(self._control, data)
            return await answer
        except OSError as error:
            raise StartError(f"the process that makes roots does not answer: {error}") from error
        finally:
            # Where nobody waits any more, the descriptor is closed when it comes.
            self._waiting.pop(number, None)

    def _readable(self) -> None:
        try:
            data, fds, _flags, _address = socket.recv_fds(self._control, _MAX_ANSWER_BYTES, 1)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        if not data:
            self.close()
            return
        said = json.loads(data)
        answer = self._waiting.get(said["id"])
        if answer is None or answer.done():
            for fd in fds:
                os.close(fd)
        elif fds:
            answer.set_result(fds[0])
        elif "done" in said:
            answer.set_result(-1)
        else:
            answer.set_exception(StartError(f"no root for a process: {said['reason']}"))

    def close(self) -> None:
        """The process ends."""
        if self.is_gone:
            return
        asyncio.get_running_loop().remove_reader(self._control)
        self._control.close()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(StartError("the process that makes roots ended"))
