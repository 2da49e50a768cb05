"""The processes of an instance that can be killed, found among its supervisor's descendants."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import grpc
import psutil

from rekindle.paths import controller_socket
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire import rekindle_pb2_grpc as pb_grpc
from rekindle.wire.messages import as_dict
from tests.faults.schedule import Kind

_LOOK_S = 0.02
#: So long may a victim take to be there: everything may be coming up again.
_PATIENCE_S = 60.0
#: And so long one that need not be there at all: without memory to spare no template is kept.
_MAY_BE_MISSING_S = {Kind.TEMPLATE: 10.0, Kind.RUNNER: 20.0}
_MODULES = {Kind.AGENT: "rekindle.runtime.agent", Kind.CONTROLLER: "rekindle.controller"}


class Victims:
    """Finds who is to be killed."""

    def __init__(self, supervisor: psutil.Process, directory: Path) -> None:
        self._supervisor = supervisor
        self._directory = directory
        self._channel = grpc.insecure_channel(
            f"unix:{controller_socket(directory)}",
            options=[
                ("grpc.initial_reconnect_backoff_ms", 50),
                ("grpc.min_reconnect_backoff_ms", 50),
                ("grpc.max_reconnect_backoff_ms", 200),
            ],
        )

    def close(self) -> None:
        """Give the connection back."""
        self._channel.close()

    def kill(self, kind: Kind, rank: int) -> int | None:
        """SIGKILL to the one of that rank, of those that are there; its process id.

        None where there is none, and need not be.
        """
        deadline = time.monotonic() + _MAY_BE_MISSING_S.get(kind, _PATIENCE_S)
        while True:
            found = sorted(self._there(kind), key=lambda process: process.pid)
            if found:
                victim = found[rank % len(found)]
                with contextlib.suppress(psutil.NoSuchProcess):
                    victim.kill()
                    return int(victim.pid)
            if time.monotonic() > deadline:
                assert kind in _MAY_BE_MISSING_S, f"there is no {kind.value}"
                return None
            time.sleep(_LOOK_S)  # a process that comes up tells nobody

    def status(self) -> dict[str, Any]:
        """What the controller tells of itself; nothing while it is away."""
        with contextlib.suppress(grpc.RpcError):
            return as_dict(self._ask("Status", pb.StatusRequest()))
        return {}

    def call(self, call_id: str) -> tuple[int, int]:
        """How many inputs of a call were accepted, and how many results are stored."""
        info = self._ask("GetCall", pb.GetCallRequest(call_id=call_id))
        return info.inputs, info.done

    def _ask(self, method: str, request: Any) -> Any:
        token = (self._directory / "token").read_text().strip()
        stub = pb_grpc.ControllerStub(self._channel)  # type: ignore[no-untyped-call]
        metadata = (("authorization", f"Bearer {token}"),)
        return getattr(stub, method)(request, metadata=metadata, timeout=60)

    def _there(self, kind: Kind) -> list[psutil.Process]:
        below = self._below()
        if kind is Kind.REDIS:
            return [p for p in below if _is_redis(p)]
        if kind in _MODULES:
            return [p for p in below if _runs(p, _MODULES[kind])]
        told = [agent.get("stats", {}) for agent in self.status().get("agents", ())]
        pids = {one["pid"] for stats in told for one in stats.get(f"{kind.value}s", ())}
        return [process for process in below if process.pid in pids]

    def _below(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):  # one ended while they were counted
            return self._supervisor.children(recursive=True)
        return []


def _runs(process: psutil.Process, module: str) -> bool:
    with contextlib.suppress(psutil.Error):
        return module in process.cmdline()
    return False


def _is_redis(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        words = [process.name(), *process.cmdline()[:1]]
        return any("redis-server" in word or "valkey-server" in word for word in words)
    return False
