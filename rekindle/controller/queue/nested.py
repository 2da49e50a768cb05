"""Calls that inputs made, kept with the call that they are under for as long as results are."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from rekindle.controller import names
from rekindle.controller.core import Core
from rekindle.controller.state import Function
from rekindle.controller.storage import keys, stored_messages
from rekindle.controller.storage.redis_link import Command, RedisLink
from rekindle.exception import Error, ServiceError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: So many are kept of one call, about.
_MOST = 1000


@dataclass(eq=False)
class NestedCallBook:
    """On Redis."""

    _core: Core
    _link: RedisLink

    def submitted(self, function: Function, request: pb.SubmitRequest) -> None:
        """Inputs have come that another input waits for, or has left to themselves."""
        if not request.parent:
            return
        calls = [
            pb.NestedCall(
                parent=request.parent,
                call_id=request.call_id,
                index=one.index,
                function_id=function.function_id,
                function=f"{function.name}.{one.method}" if one.method else function.name,
            )
            for one in list(request.inputs)[:_MOST]
        ]
        # What became of one may be told before this is kept.
        self._core.tasks.spawn(self._try_to_keep(calls, "HSETNX"), "keep nested calls")

    def ended(self, calls: Iterable[pb.NestedCall]) -> None:
        """What a runner tells."""
        self._core.tasks.spawn(self._try_to_keep(list(calls), "HSET"), "keep nested calls")

    async def _try_to_keep(self, calls: list[pb.NestedCall], command: str) -> None:
        try:
            await self._keep(calls, command)
        except ServiceError as error:  # no call waits for it, and the graph is no account of all
            log.warning("nested calls not kept", extra=kv(calls=len(calls), reason=error))

    async def _keep(self, calls: Iterable[pb.NestedCall], command: str) -> None:
        by_parent: dict[str, list[Command]] = {}
        for one in calls:
            of = one.parent.rpartition(":")[0]
            try:
                names.check_call_id(of)
                names.check_call_id(one.call_id)
            except Error:
                continue
            function = self._core.state.functions.get(one.function_id)
            one.module = function.spec.module if function is not None else ""
            field = f"{one.call_id}:{one.index}"
            value = one.SerializeToString()
            by_parent.setdefault(of, []).append((command, keys.nested(of), field, value))
        for of, commands in by_parent.items():
            key = keys.nested(of)
            if await self._link.command("HLEN", key) >= _MOST:
                continue
            ttl_s = self._core.settings.result_ttl_s
            await self._link.commands([*commands, ("EXPIRE", key, ttl_s)], atomic=True)

    async def of_call(self, call_id: str) -> pb.NestedCalls:
        """Those that the inputs of a call made."""
        found: list[bytes] = await self._link.command("HVALS", keys.nested(call_id))
        calls = [stored_messages.read(pb.NestedCall, raw, call_id) for raw in found]
        return pb.NestedCalls(calls=[one for one in calls if one is not None])
