"""One call of one input on its way: what it carries, what it may be sent by, what becomes of it.

Which way it goes, and when the next one is tried, says invoke.py; of generators streaming.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rekindle import lazily
from rekindle.exception import ExecutionError, FunctionTimeoutError
from rekindle.execution import nested_calls, nesting
from rekindle.sdk.calls import lease_caches, leases, records
from rekindle.sdk.calls.arguments import MAX_PAYLOAD_BYTES, packed, within_limit
from rekindle.sdk.calls.kept_arguments import KeptArguments
from rekindle.sdk.calls.lease import Fate, Lease, NotRunError
from rekindle.sdk.calls.target import CallTarget
from rekindle.sdk.running import asked_strategy
from rekindle.wire import direct_frames
from rekindle.wire.callid import is_traced, new_call_id
from rekindle.wire.granted import Began
from rekindle.wire.phases import Strategy, now_ns
from rekindle.wire.serialization import unpickling_error
from rekindle.wire.shared import Packed, pack_input
from rekindle.wire.usercode import came_by_signal

if TYPE_CHECKING:
    from rekindle.wire import rekindle_pb2 as pb
else:
    pb = lazily.module("rekindle.wire.rekindle_pb2")

#: Arguments up to this go with the request for a lease: less than a socket takes at once.
_ALONG_BYTES = 32 << 10


@dataclass(slots=True)
class Invocation:
    """One call of one input on its way."""

    target: CallTarget
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    submitted_ns: int
    call_id: str
    #: How many calls it is made inside of.
    depth: int
    #: The one that it must take; empty for any.
    strategy: str
    #: Where leases for it are; None where it has to go through the controller.
    cache: leases.LeaseCache | None
    #: Runners that were lost under it.
    lost_runners: int = 0
    #: Its arguments as they were when it was made, once it may have to wait.
    kept: KeptArguments | None = None

    @classmethod
    def begin(
        cls,
        target: CallTarget,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        direct: bool = True,
        asked_ns: int = 0,
    ) -> Invocation:
        """``asked_ns``: when its caller began to wait, where something came before this."""
        submitted_ns = asked_ns or now_ns()
        depth = nesting.depth_of_calls(target.name)
        cache = None
        if direct:
            cache = lease_caches.cache_of(
                target.client, target.function_id, target.params, pinned=target.pinned
            )
            cache.used_ns = submitted_ns
        strategy = asked_strategy()
        call_id = new_call_id(traced=not direct or bool(nested_calls.maker()))
        return cls(target, args, kwargs, submitted_ns, call_id, depth, strategy, cache)

    def idle_lease(self) -> Lease | None:
        """A lease that this process holds already, where the call may go by one."""
        if self.cache is None or self.strategy not in ("", Strategy.WARM):
            return None
        return self.cache.take()

    def check_wanted(self) -> None:
        """Raise ExecutionError where its app has ended in this program meanwhile.

        Threads may still wait then, while the program ends: nothing is begun for them any more.
        """
        if self.cache is not None and self.cache.ended:
            raise ExecutionError(
                f"{self.target.name}: its app has ended in this program before the call had its "
                f"answer, so the call was given up"
            )

    # ---- through the controller

    def request(self) -> pb.SubmitRequest:
        """What the controller gets. Raises SerializationError, RequestSizeError."""
        target = self.target
        if self.kept is None:
            payload = packed(target.name, self.args, self.kwargs)
        else:
            payload = within_limit(self.kept.payload(), f"{target.name}()")
        return pb.SubmitRequest(
            call_id=self.call_id,
            function_id=target.function_id,
            params=target.params,
            inputs=[pb.Input(index=0, method=target.method, payload=payload)],
            last=True,
            strategy=self.strategy,
            submitted_ns=self.submitted_ns,
            depth=self.depth,
            lost=self.lost_runners,
            pinned=target.pinned,
            parent=nested_calls.maker(),
        )

    # ---- directly

    def keep(self) -> KeptArguments:
        """Have the arguments as they are now. Raises NotRunError: ``request`` says why."""
        if self.kept is None:
            try:
                packed = pack_input(self.args, self.kwargs, MAX_PAYLOAD_BYTES)
            except BaseException as error:
                if came_by_signal(error):
                    raise
                raise NotRunError from error  # a user's __reduce__ may raise anything
            self.kept = KeptArguments(packed)
        return self.kept

    def keep_sent(self, packed: Packed) -> None:
        """Have them as they were sent: no answer came, and they may have to be sent again."""
        if self.kept is None:
            self.kept = KeptArguments(Packed(packed.data))

    def let_go(self) -> None:
        """They are not sent any more."""
        if self.kept is not None:
            self.kept.close()
            self.kept = None

    def frame(self) -> bytes:
        """The call itself, to be sent with the request for a lease, where it is small; else empty.

        Raises NotRunError, as ``keep``.
        """
        kept = self.keep()
        if kept.size > _ALONG_BYTES:
            return b""
        packed = kept.to_send()
        return direct_frames.call_frame(self.call_id, self.target.method, packed, None, self.depth)

    def packed(self, lease: Lease, *, keeps: bool = False) -> Packed | None:
        """The arguments for a runner. None for those that cannot travel: ``request`` says why.

        They may change before it is known whether they have to be sent once more. ``keeps``: so
        they are kept; else those in a memory file are, and ``keep_sent`` has the others.
        """
        packed = None
        try:
            limit = min(MAX_PAYLOAD_BYTES, lease.limit_bytes - len(self.target.params))
            if self.kept is not None:
                return self.kept.to_send() if self.kept.size <= limit else None
            packed = pack_input(self.args, self.kwargs, limit, lease.files)
            if keeps or packed.file is not None:  # which goes when it was sent
                self.kept = KeptArguments(packed.again())
            return packed
        except BaseException as error:
            if packed is not None:
                packed.close()
            if came_by_signal(error):
                raise
            return None

    def settle(
        self,
        lease: Lease,
        reply: direct_frames.ReplyFrame,
        began: Began | None = None,
    ) -> Any:
        """The value; raises what the function raised. The record is complete then.

        ``began``: the start of the runner, where the call waited for it.
        """
        ok = False
        try:
            try:
                value = lease.value(reply)
            except BaseException as error:
                raise unpickling_error(f"the result of {self.target.name}", error) from error
            if reply.status != direct_frames.OK:
                from rekindle.wire.exceptions import ExceptionRecord, rebuild_exception

                raise rebuild_exception(ExceptionRecord(*value))
            ok = True
            return value
        finally:
            marks = (reply.received_ns, reply.loaded_ns, reply.executed_ns)
            self.record(lease.runner_id, ok, marks, began)

    def lost(self, runner_id: str, fate: Fate, began: Began | None = None) -> None:
        """No answer came: raises FunctionTimeoutError, or returns where it may run again."""
        if fate.kind == "timeout":
            # When its input was there, the runner can tell no more: as soon as it was ready.
            ready_ns = began.marks[-1][1] if began and began.marks else self.submitted_ns
            self.record(runner_id, False, (ready_ns, ready_ns, now_ns()), began)
            raise FunctionTimeoutError(fate.message)
        if fate.kind != "again":  # it had not begun, or its runner was ended for another call
            self.lost_runners += 1

    def of(self, result: pb.Result) -> pb.Result:
        """The result of a start, as that of this call."""
        result.call_id, result.function_id = self.call_id, self.target.function_id
        result.submitted_ns = self.submitted_ns
        return result

    def record(
        self,
        runner_id: str,
        ok: bool,
        marks: tuple[int, int, int],
        began: Began | None = None,
    ) -> None:
        """Have what it took in the records; ``marks``: received, loaded, executed."""
        if is_traced(self.call_id):
            status = pb.SUCCESS if ok else pb.FAILURE
            target = self.target
            nested_calls.note(self.call_id, 0, target.function_id, target.name, status, runner_id)
        records.add_direct(
            self.call_id,
            self.target.name,
            runner_id,
            ok=ok,
            submitted_ns=self.submitted_ns,
            marks=marks,
            began=began,
        )
