"""The holder's loop: clients on a Unix socket, or handed over by an agent; one order at a time.

A client's connection is its claim: when it ends, however the process behind it ended, what it used
is not counted for it any more. Memory is the device's, shared by descriptor; the holder runs no
code of its users' and sees no tensors. One thread: an order takes as long as an allocation does,
and a client that does not read its answer is let go.
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
import zlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from rekindle.exception import GpuError
from rekindle.gpu_restore.device import Device
from rekindle.gpu_restore.holding.ledger import Entry, Ledger, Left, State
from rekindle.wire.frames import FrameError, FrameSocket, Header, HeaderStream

log = logging.getLogger(__name__)

#: To send a message that has begun.
PATIENCE_S = 2.0
_CHECKED_BYTES = 16 << 20
#: Of an arena: more than any device has, less than the driver's numbers take.
_LARGEST_BYTES = 1 << 46


@dataclass
class _Held:
    """An entry's memory: addresses and sizes of its arenas, what is in them."""

    arenas: list[tuple[int, int]]
    index: Any = None
    checksums: list[int] | None = None


@dataclass(eq=False)
class _Client:
    sock: socket.socket
    frames: FrameSocket = field(init=False)
    #: The revision whose names it may use, ``only`` and ``only/...``; "" is any.
    only: str = ""
    #: The agent, whose end is the holder's, too.
    is_agent: bool = False
    _came: HeaderStream = field(default_factory=HeaderStream)

    def __post_init__(self) -> None:
        self.sock.settimeout(PATIENCE_S)
        self.frames = FrameSocket(self.sock)

    def orders(self) -> Iterator[Header]:
        """Those that have come whole; the rest is waited for elsewhere. Raises EOFError."""
        try:
            part = self.sock.recv(1 << 16, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        if not part:
            raise EOFError("it closed the connection")
        yield from self._came.take(part)


class Holder:
    """Keeps weights on one device."""

    def __init__(self, device: Device, budget_bytes: int = 0) -> None:
        self._device = device
        self._ledger = Ledger(budget_bytes)
        self._selector = selectors.DefaultSelector()
        self._orders: dict[str, Callable[[_Client, Header], None]] = {
            "limit": self._limit,
            "want": self._want,
            "allocate": self._allocate,
            "commit": self._commit,
            "release": self._release,
            "verify": self._verify,
            "status": self._status,
        }
        self._ends = False
        #: An agent, and what it was told last of what is held.
        self._agent: _Client | None = None
        self._told: Header = {}

    def listen(self, listening: socket.socket) -> None:
        """Take clients from there."""
        self._selector.register(listening, selectors.EVENT_READ, None)

    def obey(self, control: socket.socket) -> None:
        """Take clients, and orders, from an agent, and tell it what is held; end with it."""
        self._agent = _Client(control, is_agent=True)
        self._selector.register(control, selectors.EVENT_READ, self._agent)

    def serve(self) -> None:
        """Until it is told to stop. An agent hears of it before any client has what is held."""
        if self._agent is not None:
            self._tell(self._agent)
        while not self._ends:
            for key, _events in self._selector.select():
                if isinstance(key.fileobj, socket.socket) and key.data is None:
                    self._accept(key.fileobj)
                elif isinstance(key.data, _Client) and key.data.is_agent:
                    self._obey_agent(key.data)
                elif isinstance(key.data, _Client):
                    self._answer(key.data)
            if self._agent is not None and not self._ends:
                self._tell(self._agent)

    def stop(self) -> None:
        """After the order at hand; for a signal's handler."""
        self._ends = True

    def wake_on(self, fd: int) -> None:
        """Look whether it is to stop when ``fd`` can be read: a signal came."""
        self._selector.register(fd, selectors.EVENT_READ, fd)

    def _accept(self, listening: socket.socket) -> None:
        sock, _address = listening.accept()
        self._selector.register(sock, selectors.EVENT_READ, _Client(sock))

    def _answer(self, client: _Client) -> None:
        try:
            for header in client.orders():
                self._obey(client, header)
                if client.sock.fileno() < 0:
                    return  # it was let go: no order of it counts any more
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            self._let_go(client, error)

    def _obey_agent(self, agent: _Client) -> None:
        """One of its orders: ``client``, with a connection, or ``drop_unused``."""
        try:
            order, _body, fds = agent.frames.receive()
        except (FrameError, OSError):
            self._ends = True  # it is gone, or of no use
            return
        if order["op"] == "client":
            sock = socket.socket(fileno=fds[0])
            self._selector.register(sock, selectors.EVENT_READ, _Client(sock, only=order["only"]))
        elif order["op"] == "drop_unused":
            while (entry := self._ledger.evict_one()) is not None:
                self._free(entry)

    def _tell(self, agent: _Client) -> None:
        """Where it is not what it was."""
        now = self._held()
        if now == self._told:
            return
        self._told = now
        try:
            agent.frames.send(now)
        except OSError:
            self._ends = True  # it is gone, or of no use

    def _obey(self, client: _Client, header: Header) -> None:
        if not isinstance(header, dict) or not isinstance(header.get("key", ""), str):
            raise ValueError("no order at all")
        try:
            order = self._orders.get(header.get("op", ""))
            if order is None:
                raise GpuError(f"an order that a holder does not know: {header.get('op')}")
            key = header.get("key", client.only)
            if client.only and key != client.only and not key.startswith(f"{client.only}/"):
                raise GpuError(f"this client may use {client.only!r} alone")
            order(client, header)
        except GpuError as error:
            self._send(client, {"ok": False, "reason": str(error)})

    def _let_go(self, client: _Client, why: BaseException | None = None) -> None:
        if client.sock.fileno() < 0:
            return
        log.info("client gone: %s", why)
        self._selector.unregister(client.sock)
        client.sock.close()
        self._settle(self._ledger.gone(client))

    def _send(self, client: Hashable, header: Header, fds: Sequence[int] = ()) -> None:
        assert isinstance(client, _Client)
        try:
            if fds:
                client.frames.send_with_fds(header, fds)
            else:
                client.frames.send(header)
        except OSError as error:
            self._let_go(client, error)

    # ---- orders ------------------------------------------------------------------------------

    def _limit(self, client: _Client, header: Header) -> None:
        """Of an agent, before it hands the connection to a runner."""
        if client.only:
            raise GpuError("this client's name is settled")
        client.only = header["key"]
        self._send(client, {"ok": True})

    def _want(self, client: _Client, header: Header) -> None:
        entry = self._ledger.want(header["key"], client)
        if entry is not None:
            self._offer(client, entry)

    def _offer(self, client: _Client, entry: Entry) -> None:
        if entry.state is State.LOADING:
            self._send(client, {"ok": True, "state": State.LOADING.value})
            return
        held: _Held = entry.memory
        self._send(client, {"ok": True, "state": State.HELD.value, "index": held.index})
        self._send_arenas(client, held)

    def _send_arenas(self, client: _Client, held: _Held) -> None:
        """How many, then each in a message of its own, with its descriptor."""
        self._send(client, {"ok": True, "arenas": len(held.arenas)})
        for address, size in held.arenas:
            if client.sock.fileno() < 0:
                return
            shared = self._device.share(address)
            header = {"size": size, "mapped": shared.size, "handle": shared.handle.hex()}
            try:
                self._send(client, header, [shared.fd] if shared.fd >= 0 else [])
            finally:
                if shared.fd >= 0:
                    os.close(shared.fd)

    def _allocate(self, client: _Client, header: Header) -> None:
        entry = self._ledger.find(header["key"])
        if entry.state is not State.LOADING or client not in entry.users or entry.memory:
            raise GpuError(f"the weights {entry.key!r} are not this client's to load")
        sizes = header["sizes"]
        if not all(isinstance(size, int) and 0 < size <= _LARGEST_BYTES for size in sizes):
            raise GpuError("an arena of no size, or of one that no device has")
        evicted = self._ledger.make_room(sum(sizes))
        if evicted is None:
            raise GpuError(
                f"no room: {sum(sizes)} bytes, {self._ledger.held_bytes} of "
                f"{self._ledger.budget_bytes} are held and in use"
            )
        for one in evicted:
            self._free(one)
        held = _Held([])
        try:
            for size in sizes:
                held.arenas.append((self._allocated(size), size))
        except GpuError:
            for address, _size in held.arenas:
                self._device.release(address)
            raise
        entry.memory, entry.size = held, sum(sizes)
        self._send_arenas(client, held)

    def _allocated(self, size: int) -> int:
        """Others use the device too: where it is full, what nobody uses goes."""
        while True:
            try:
                return self._device.allocate_shared(size)
            except GpuError:
                victim = self._ledger.evict_one()
                if victim is None:
                    raise
                self._free(victim)

    def _commit(self, client: _Client, header: Header) -> None:
        entry = self._ledger.find(header["key"])
        held: _Held | None = entry.memory
        if held is None:
            raise GpuError(f"the weights {entry.key!r} have no memory yet")
        index = header["index"]
        woken = self._ledger.complete(entry.key, client)
        held.index = index
        if header.get("checksums"):
            held.checksums = [self._checksum(*arena) for arena in held.arenas]
        self._send(client, {"ok": True})
        for one in woken:
            assert isinstance(one, _Client)
            self._offer(one, entry)

    def _release(self, client: _Client, header: Header) -> None:
        self._settle(self._ledger.release(header["key"], client))
        self._send(client, {"ok": True})

    def _verify(self, client: _Client, header: Header) -> None:
        """Whether what is held is what was loaded; arenas that are not are named."""
        held: _Held | None = self._ledger.find(header["key"]).memory
        if held is None or held.checksums is None:
            raise GpuError(f"{header['key']!r} was loaded without checksums")
        now = [self._checksum(*arena) for arena in held.arenas]
        pairs = enumerate(zip(held.checksums, now, strict=True))
        damaged = [number for number, (then, found) in pairs if then != found]
        self._send(client, {"ok": True, "damaged": damaged})

    def _status(self, client: _Client, _header: Header) -> None:
        free, total = self._device.memory()
        self._send(client, {"ok": True, **self._held(), "free_bytes": free, "total_bytes": total})

    def _held(self) -> Header:
        entries = [
            {
                "key": entry.key,
                "state": entry.state.value,
                "bytes": entry.size,
                "users": len(entry.users),
                "waiting": len(entry.waiting),
            }
            for entry in self._ledger
        ]
        return {
            "entries": entries,
            "held_bytes": self._ledger.held_bytes,
            "budget_bytes": self._ledger.budget_bytes,
        }

    # ---- memory ------------------------------------------------------------------------------

    def _settle(self, left: Left) -> None:
        for entry, waiting in left:
            self._free(entry)
            # The first of them is to load it now; the others wait for that one.
            for client in waiting:
                assert isinstance(client, _Client)
                again = self._ledger.want(entry.key, client)
                if again is not None:
                    self._offer(client, again)

    def _free(self, entry: Entry) -> None:
        held: _Held | None = entry.memory
        entry.memory = None
        for address, _size in held.arenas if held is not None else ():
            self._device.release(address)

    def _checksum(self, address: int, size: int) -> int:
        buffer, value = bytearray(min(size, _CHECKED_BYTES)), 0
        for at in range(0, size, _CHECKED_BYTES):
            part = buffer if size - at >= len(buffer) else bytearray(size - at)
            self._device.read(address + at, part)
            value = zlib.crc32(part, value)
        return value
