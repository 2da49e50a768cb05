"""FunctionCall: a handle to inputs that were submitted and not waited for.

Standard library only until one of its methods is used.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from rekindle.counted import counted
from rekindle.exception import InvalidError, a_or_an, of_the_program
from rekindle.execution import nesting
from rekindle.sdk import checks, running
from rekindle.sdk.absent import SaysWhatToUse
from rekindle.sdk.calls.target import CallTarget
from rekindle.sdk.dual import Dual, dual, dual_iterator, dual_of_itself, settled
from rekindle.sdk.user_frames import trims

if TYPE_CHECKING:
    from rekindle.sdk.call_graph import InputInfo
    from rekindle.sdk.calls.callers import Caller
    from rekindle.sdk.connection.client import Client
    from rekindle.sdk.running import RunningApp
    from rekindle.wire import rekindle_pb2 as pb

R = TypeVar("R")


@trims
class FunctionCall(SaysWhatToUse, Generic[R]):
    """A submitted call. Pickles as a handle, so its result can be fetched from elsewhere.

    As an annotation it may say what its function returns: ``FunctionCall[int]``.
    """

    def __init__(
        self,
        call_id: str,
        *,
        function: str = "",
        inputs: int | None = None,
        instance: str = "",
        app: RunningApp | None = None,
        submitted_ns: int = 0,
    ) -> None:
        if not isinstance(call_id, str) or not call_id.startswith("fc-"):
            raise InvalidError(f"{call_id!r} is not the id of a call: these start with 'fc-'")
        self._call_id = call_id
        self._function = function
        self._inputs = inputs
        self._instance = instance
        self._app = app
        self._submitted_ns = submitted_ns
        self._got: pb.Result | None = None  # the last that was asked for

    @classmethod
    def from_id(cls, function_call_id: str, client: None = None) -> FunctionCall[Any]:
        """The handle to a call by its id; nothing is asked of the controller yet."""
        checks.of_this_instance("FunctionCall.from_id", client=client)
        return cls(function_call_id)

    @classmethod
    def of(
        cls, target: CallTarget, call_id: str, inputs: int, submitted_ns: int = 0
    ) -> FunctionCall[Any]:
        """The handle to inputs that were submitted just now."""
        return cls(
            call_id,
            function=target.name,
            inputs=inputs,
            instance=str(target.client.instance),
            app=target.app,
            submitted_ns=submitted_ns,
        )

    @property
    def object_id(self) -> str:
        """The id of the call (``fc-...``)."""
        return self._call_id

    def __repr__(self) -> str:
        of = f" of {self._function}" if self._function else ""
        return f"<FunctionCall {self._call_id}{of}>"

    def __reduce__(self) -> tuple[Any, ...]:
        instance = str(self._client().instance)
        return _handle, (self._call_id, self._function, self._inputs, instance)

    @dual_of_itself
    async def hydrate(self, caller: Caller, client: None = None) -> Self:
        """``hydrate()``: make sure that there is such a call; itself. Raises NotFoundError."""
        checks.of_this_instance("FunctionCall.hydrate", client=client)
        await caller.run(self._client().get_call(self._call_id))
        return self

    @dual
    async def num_inputs(self, caller: Caller) -> int:
        """``num_inputs()``: how many inputs it has; so far, while they are being submitted.

        Asks the controller where only the id is known. Raises NotFoundError.
        """
        if self._inputs is not None:
            return self._inputs
        info = await caller.run(self._client().get_call(self._call_id))
        if info.submitted:
            self._inputs = info.inputs
        return info.inputs

    @dual
    async def cancel(self, caller: Caller, terminate_containers: bool = False) -> None:
        """``cancel(terminate_containers=False)``: end what is not done of it.

        Inputs that wait never start; those that run get ``rekindle.exception.InputCancellation``
        (async functions ``asyncio.CancelledError``) and are not retried; ``get()`` of each raises
        RemoteError. With ``terminate_containers`` their runners are ended instead of asked; other
        inputs of these runners are placed again. What is done stays done. Raises NotFoundError.
        """
        await caller.run(
            self._client().cancel_call(self._call_id, terminate_containers=terminate_containers)
        )

    @dual
    async def get_call_graph(self, caller: Caller) -> list[InputInfo]:
        """``get_call_graph()``: its inputs and what became of each (sdk/call_graph.py).

        Of many inputs the first 1,000. Raises NotFoundError and OutputExpiredError.
        """
        from rekindle.sdk import call_graph

        return await caller.run(call_graph.of_call(self._client(), self._call_id))

    # ---- one result ----------------------------------------------------------------------------

    @property
    def get(self) -> Dual[..., R, Awaitable[R]]:
        """``get(timeout=None, *, index=0)``: the value of one input of the call.

        Waits ``timeout`` seconds (None: as long as it takes; 0: only looks). Raises what the
        function raised, the builtin TimeoutError when there is no result in time, NotFoundError
        or OutputExpiredError when the call is unknown or its result was kept for its time.
        """
        return settled(self._get)

    async def _get(
        self, caller: Caller, timeout: float | None = None, *, index: int = 0
    ) -> Callable[[], R]:
        with nesting.waiting():
            result = await caller.run(self._fetch(timeout, index))
        return lambda: self._settle(result)

    def _client(self) -> Client:
        return self._app.client if self._app is not None else running.client_of(self._instance)

    def _target(self) -> CallTarget:
        name = self._function or self._call_id
        return CallTarget(self._client(), "", b"", "", name, self._app)

    def _settle(self, result: pb.Result) -> Any:
        from rekindle.sdk.calls.outcome import settle

        return settle(result, self._function or self._call_id, self._submitted_ns)

    async def _fetch(self, timeout: float | None, index: int) -> pb.Result:
        import asyncio

        if isinstance(timeout, bool) or not isinstance(timeout, (int, float, type(None))):
            raise InvalidError(f"get(timeout={timeout!r}) must be a number of seconds, or None")
        self._check_index(index)
        if self._got is not None and self._got.index == index:
            return self._got
        if timeout is None:
            result = await self._one(index)
            if result is None:
                raise InvalidError(f"{self!r} has no input {index}")
        else:
            result = await self._one(index, stored=True)
            if result is None and timeout > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(timeout):
                        result = await self._one(index)
            if result is None:
                text = f"{self!r} has no result after {timeout:g} s; it goes on, "
                raise of_the_program(TimeoutError(text + "get() can be called again"))
        if result.blob:
            result.data = await self._client().blob(result.blob)
            result.ClearField("blob")
        self._got = result
        await self._printed(result)
        return result

    async def _one(self, index: int, *, stored: bool = False) -> pb.Result | None:
        """The result of one input; None where there is none, or none yet."""
        from rekindle.sdk.connection.seen import Seen
        from rekindle.wire import rekindle_pb2 as pb

        stream = self._client().results(
            self._call_id, Seen(index), end_index=index + 1, stored=stored
        )
        async with contextlib.aclosing(stream):
            async for batch, _ in stream:
                for at, raw in batch:
                    if at == index:
                        return pb.Result.FromString(raw)
        return None

    async def _printed(self, result: pb.Result) -> None:
        if self._app is not None and self._app.logs is not None:
            await self._app.logs.reached(result.log_seq)

    def _check_index(self, index: int) -> None:
        if self._inputs == 0:
            raise InvalidError(f"{self!r} has no inputs, so there is no value to get")
        if index < 0 or (self._inputs is not None and index >= self._inputs):
            has = counted(self._inputs or 0, "input")
            raise InvalidError(f"index={index}: {self!r} has {has}; the first is 0")

    # ---- all results ---------------------------------------------------------------------------

    @dual_iterator
    def iter(
        self, caller: Caller, *, start: int = 0, end: int | None = None
    ) -> AsyncGenerator[R, None]:
        """``iter(*, start=0, end=None)``: values of its inputs in order, as they complete.

        From ``start`` on, those before ``end`` (None: to the last). Raises what ``get`` raises.
        """
        from rekindle.sdk.calls.result_reader import StoredCall, values

        known = self._inputs
        if start < 0 or (end is not None and end < start):
            raise InvalidError(f"start={start}, end={end}: give 0 <= start <= end")
        if known is not None and max(start, end or 0) > known:
            has = counted(known, "input")
            raise InvalidError(f"start={start}, end={end}: {self!r} has {has}")
        last = known if end is None else end

        async def begin() -> StoredCall:
            return StoredCall(caller, self._target(), self._call_id, start, last)

        return values(caller, begin)

    # ---- several calls -------------------------------------------------------------------------

    gather: Dual[..., list[Any], Awaitable[list[Any]]]


async def _gather(caller: Caller, *calls: FunctionCall[Any]) -> Callable[[], list[Any]]:
    """``gather(*calls)``: values of calls with one input each, in the order of the calls.

    Raises the first failure, as soon as there is one; the other calls go on.
    """
    for call in calls:
        if not isinstance(call, FunctionCall):
            many = isinstance(call, Iterable) and not isinstance(call, str | bytes)
            raise InvalidError(
                f"FunctionCall.gather() takes calls, not {a_or_an(type(call))}: "
                + ("FunctionCall.gather(*calls)" if many else "what f.spawn(...) returns")
            )
    with nesting.waiting():
        results = await caller.run(_fetch_all(calls))
    return lambda: [call._settle(result) for call, result in zip(calls, results, strict=True)]


FunctionCall.gather = settled(_gather)


async def _fetch_all(calls: tuple[FunctionCall[Any], ...]) -> list[pb.Result]:
    """Results of all, or as soon as one is a failure: that one's exception."""
    import asyncio

    from rekindle.sdk.calls.outcome import within
    from rekindle.wire import rekindle_pb2 as pb

    async def one(call: FunctionCall[Any]) -> pb.Result:
        result = await call._fetch(None, 0)
        if result.status != pb.SUCCESS:
            within(lambda: call._settle(result))
        return result

    tasks = [asyncio.ensure_future(one(call)) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _handle(call_id: str, function: str, inputs: int | None, instance: str) -> FunctionCall[Any]:
    here = running.arrived_from(instance)
    return FunctionCall(call_id, function=function, inputs=inputs, instance=here)
