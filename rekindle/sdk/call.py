"""FunctionCall: a handle to inputs that were submitted and not waited for.

Standard library only until one of its methods is used.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import TYPE_CHECKING, Any

from rekindle.exception import ExecutionError, InvalidError
from rekindle.sdk.dual import Dual

if TYPE_CHECKING:
    from rekindle.sdk.client import Client
    from rekindle.sdk.running import RunningApp
    from rekindle.wire import rekindle_pb2 as pb

#: A poll (``timeout=0``) gives a result that is stored this long to arrive.
_POLL_S = 0.25


class FunctionCall:
    """A submitted call. Pickles as a handle, so its result can be fetched from elsewhere."""

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
        self._results: dict[int, pb.Result] = {}

    @classmethod
    def from_id(cls, function_call_id: str) -> FunctionCall:
        """The handle to a call by its id; nothing is asked of the controller yet."""
        return cls(function_call_id)

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

    def num_inputs(self) -> int:
        """How many inputs it has. Raises ExecutionError where only the id is known."""
        if self._inputs is None:
            raise ExecutionError(
                f"how many inputs {self._call_id} has is known to the handle that made it; "
                f"keep that handle (it can be pickled), or count what iter() gives"
            )
        return self._inputs

    # ---- one result ----------------------------------------------------------------------------

    @property
    def get(self) -> Dual[..., Any, Awaitable[Any]]:
        """``get(timeout=None, *, index=0)``: the value of one input of the call.

        Waits ``timeout`` seconds (None: as long as it takes; 0: only looks). Raises what the
        function raised, the builtin TimeoutError when there is no result in time, NotFoundError
        or OutputExpiredError when the call is unknown or its result was kept for its time.
        """
        return Dual(self._get, self._get_aio)

    def _get(self, timeout: float | None = None, *, index: int = 0) -> Any:
        from rekindle.sdk.background import background

        return self._settle(background().run(self._fetch(timeout, index)))

    async def _get_aio(self, timeout: float | None = None, *, index: int = 0) -> Any:
        from rekindle.sdk.background import background

        return self._settle(await background().arun(self._fetch(timeout, index)))

    def _client(self) -> Client:
        from rekindle.sdk.declaration import _client

        return self._app.client if self._app is not None else _client(self._instance)

    def _settle(self, result: pb.Result) -> Any:
        from rekindle.sdk.outcome import settle

        return settle(result, self._function or self._call_id, self._submitted_ns)

    async def _fetch(self, timeout: float | None, index: int) -> pb.Result:
        import asyncio

        self._check_index(index)
        if index in self._results:
            return self._results[index]
        waits = None if timeout is None else max(float(timeout), _POLL_S)
        try:
            async with asyncio.timeout(waits):
                return await self._first(index)
        except TimeoutError:
            raise TimeoutError(
                f"{self!r} has no result after {timeout:g} s; it goes on, get() can be called again"
            ) from None

    async def _first(self, index: int) -> pb.Result:
        stream = self._client().results(self._call_id, from_index=index)
        try:
            async for result in stream:
                self._results[result.index] = result
                if result.index == index:
                    await self._printed(result)
                    return result
        finally:
            await stream.aclose()  # type: ignore[attr-defined]
        raise InvalidError(f"{self!r} has no input {index}")

    async def _printed(self, result: pb.Result) -> None:
        if self._app is not None and self._app.logs is not None:
            await self._app.logs.reached(result.log_seq)

    def _check_index(self, index: int) -> None:
        if index < 0 or (self._inputs is not None and index >= self._inputs):
            raise InvalidError(f"index={index}: {self!r} has inputs 0 to {(self._inputs or 1) - 1}")

    # ---- all results ---------------------------------------------------------------------------

    @property
    def iter(self) -> Dual[..., Iterator[Any], AsyncIterator[Any]]:
        """``iter(*, start=0, end=None)``: values of its inputs in order, as they complete."""
        return Dual(self._iter, self._iter_aio)

    def _last(self, end: int | None) -> int:
        return self.num_inputs() if end is None else end

    def _iter(self, *, start: int = 0, end: int | None = None) -> Iterator[Any]:
        for index in range(start, self._last(end)):
            yield self._get(index=index)

    async def _iter_aio(self, *, start: int = 0, end: int | None = None) -> AsyncIterator[Any]:
        for index in range(start, self._last(end)):
            yield await self._get_aio(index=index)

    # ---- several calls -------------------------------------------------------------------------

    @staticmethod
    def _gather(*calls: FunctionCall) -> list[Any]:
        from rekindle.sdk.background import background

        results = background().run(_fetch_all(calls))
        return [call._settle(result) for call, result in zip(calls, results, strict=True)]

    @staticmethod
    async def _gather_aio(*calls: FunctionCall) -> list[Any]:
        from rekindle.sdk.background import background

        results = await background().arun(_fetch_all(calls))
        return [call._settle(result) for call, result in zip(calls, results, strict=True)]

    #: ``gather(*calls)``: values of single-input calls, in order. Raises the first failure; the
    #: other calls go on.
    gather: Dual[..., list[Any], Awaitable[list[Any]]]


FunctionCall.gather = Dual(FunctionCall._gather, FunctionCall._gather_aio)


async def _fetch_all(calls: tuple[FunctionCall, ...]) -> list[pb.Result]:
    """Results of all, or as soon as one is a failure: that one's exception."""
    import asyncio

    from rekindle.wire import rekindle_pb2 as pb

    async def one(call: FunctionCall) -> pb.Result:
        result = await call._fetch(None, 0)
        if result.status != pb.SUCCESS:
            call._settle(result)
        return result

    tasks = [asyncio.ensure_future(one(call)) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _handle(call_id: str, function: str, inputs: int | None, instance: str) -> FunctionCall:
    return FunctionCall(call_id, function=function, inputs=inputs, instance=instance)
