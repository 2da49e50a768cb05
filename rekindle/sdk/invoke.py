"""One input: from the arguments in the caller's hands to the value, or to a FunctionCall.

Arguments are pickled and values unpickled on the caller's thread; only bytes go to the background.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rekindle.exception import StrategyUnavailableError
from rekindle.sdk.background import background
from rekindle.sdk.call import FunctionCall
from rekindle.sdk.client import Client
from rekindle.sdk.ids import new_call_id
from rekindle.sdk.inputs import packed
from rekindle.sdk.outcome import settle
from rekindle.sdk.running import RunningApp, ask_strategy, asked_strategy
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.phases import now_ns

if TYPE_CHECKING:
    from rekindle.sdk.function import Function


def remote(function: Function[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call and wait."""
    client, running, request = _request(function, args, kwargs)
    result = background().run(_invoke(client, running, request))
    return settle(result, function.name, request.submitted_ns)


async def remote_aio(
    function: Function[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Call and await."""
    client, running, request = _request(function, args, kwargs)
    result = await background().arun(_invoke(client, running, request))
    return settle(result, function.name, request.submitted_ns)


def spawn(
    function: Function[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> FunctionCall:
    """Submit."""
    client, running, request = _request(function, args, kwargs)
    background().run(client.submit(request))
    return handle(function, request, running, client, inputs=1)


async def spawn_aio(
    function: Function[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> FunctionCall:
    """Submit, awaited."""
    client, running, request = _request(function, args, kwargs)
    await background().arun(client.submit(request))
    return handle(function, request, running, client, inputs=1)


def prepare(function: Function[..., Any], strategy: str, timeout: float) -> None:
    """Make a strategy possible."""
    with ask_strategy(strategy):  # checks the name
        pass
    client, function_id, _ = function._declaration.resolve()
    request = pb.PrepareRequest(
        function_id=function_id, params=function.params, strategy=strategy, timeout_s=timeout
    )
    reply = background().run(client.prepare(request))
    if not reply.ok:
        raise StrategyUnavailableError(f"{function.name} by {strategy}: {reply.reason}")


def handle(
    function: Function[..., Any],
    request: pb.SubmitRequest,
    running: RunningApp | None,
    client: Client,
    inputs: int,
) -> FunctionCall:
    """The FunctionCall of a submitted request."""
    return FunctionCall(
        request.call_id,
        function=function.name,
        inputs=inputs,
        instance=str(client.instance),
        app=running,
        submitted_ns=request.submitted_ns,
    )


def _request(
    function: Function[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Client, RunningApp | None, pb.SubmitRequest]:
    submitted_ns = now_ns()
    client, function_id, running = function._declaration.resolve()
    payload = packed(function, args, kwargs)
    request = pb.SubmitRequest(
        call_id=new_call_id(),
        function_id=function_id,
        params=function.params,
        inputs=[pb.Input(index=0, method=function._method, payload=payload)],
        last=True,
        strategy=asked_strategy(),
        submitted_ns=submitted_ns,
    )
    return client, running, request


async def _invoke(
    client: Client, running: RunningApp | None, request: pb.SubmitRequest
) -> pb.Result:
    result = await client.invoke(request)
    if running is not None and running.logs is not None:
        await running.logs.reached(result.log_seq)
    return result
