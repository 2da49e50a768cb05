"""One input: from the arguments in the caller's hands to the value, or to a FunctionCall.

Arguments are pickled and values unpickled on the caller's thread. A call is made directly where
this process holds a lease on a runner, or is granted one (calls/leases.py): where none is idle, one
is started for it. The others go through the controller, which queues them: those whose strategy is
asked for, that no runner is free for and none can be started for now, and whose runner was lost.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from rekindle import lazily
from rekindle.exception import StrategyUnavailableError
from rekindle.execution import nesting
from rekindle.sdk import progress
from rekindle.sdk.calls import leases
from rekindle.sdk.calls.callers import BLOCKING, Caller, LoopCaller, finish
from rekindle.sdk.calls.invocation import Invocation
from rekindle.sdk.calls.lease import Lease, NotRunError
from rekindle.sdk.calls.outcome import settle, within
from rekindle.sdk.calls.target import CallTarget
from rekindle.sdk.connection.background import background
from rekindle.sdk.running import check_strategy
from rekindle.wire import direct_frames
from rekindle.wire.granted import Began

if TYPE_CHECKING:
    from rekindle.sdk.function_call import FunctionCall
    from rekindle.wire import rekindle_pb2 as pb
else:
    pb = lazily.module("rekindle.wire.rekindle_pb2")


def remote(target: CallTarget, args: tuple[Any, ...], kwargs: dict[str, Any], asked_ns: int) -> Any:
    """Call and wait. ``asked_ns``: when the caller began to."""
    if progress.watched is None:
        return _remote(target, args, kwargs, asked_ns)
    with progress.watched.during(progress.of_call(target)):
        return _remote(target, args, kwargs, asked_ns)


def _remote(
    target: CallTarget, args: tuple[Any, ...], kwargs: dict[str, Any], asked_ns: int
) -> Any:
    """As ``remote``.

    A call on an idle lease has a body of its own: by ``_answered`` it would take 6 % more time.
    """
    call = Invocation.begin(target, args, kwargs, asked_ns=asked_ns)
    lease = call.idle_lease()
    if call.cache is None or lease is None:
        return finish(_answered(BLOCKING, call))()
    packed = call.packed(lease)
    if packed is None:
        call.cache.give_back(lease)
        return finish(_queued(BLOCKING, call))()
    try:
        with nesting.waiting():
            reply = lease.call(call.call_id, target.method, packed, call.depth)
    except NotRunError:
        lease = None  # it was taken back
    finally:
        packed.close()
    if lease is None:
        return finish(_answered(BLOCKING, call))()
    if reply is None:
        call.keep_sent(packed)
        call.check_wanted()
        call.lost(lease.runner_id, lease.fate())
        return finish(_queued(BLOCKING, call))()
    if call.kept is not None:
        call.let_go()
    call.cache.give_back(lease)
    if reply.printed and target.logs is not None:
        target.logs.wait_marked(call.call_id)
    return call.settle(lease, reply)


async def remote_aio(
    target: CallTarget, args: tuple[Any, ...], kwargs: dict[str, Any], asked_ns: int
) -> Any:
    """Call and await."""
    call = Invocation.begin(target, args, kwargs, asked_ns=asked_ns)
    if progress.watched is None:
        return within(await _answered(LoopCaller(), call))
    with progress.watched.during(progress.of_call(target)):
        return within(await _answered(LoopCaller(), call))


async def _answered(caller: Caller, call: Invocation) -> Callable[[], Any]:
    """Wait for the answer to a call; what gives its value, or raises what the function raised.

    By an idle lease, by one that is asked for, or through the controller.
    """
    cache = call.cache
    try:
        if cache is not None:
            for lease in iter(call.idle_lease, None):
                with contextlib.suppress(NotRunError):  # it was taken back meanwhile
                    return await _through(caller, call, cache, lease)
            if cache.may_ask():
                with contextlib.suppress(NotRunError):
                    return await _by_new_lease(caller, call, cache)
        return await _queued(caller, call)
    finally:
        call.let_go()


async def _by_new_lease(
    caller: Caller, call: Invocation, cache: leases.LeaseCache
) -> Callable[[], Any]:
    """Ask for a lease, and send the call along where it is small.

    Raises NotRunError where there is none, or nothing that can be sent to one.
    """
    try:
        with nesting.waiting():
            asked = (call.depth, call.strategy, call.frame)
            lease = await cache.ask_node(*asked, blocks=caller.blocks)
            if lease is None and cache.may_ask():
                call.keep()
                lease = await caller.run(cache.ask(call.depth, call.strategy))
            if lease is None:
                raise NotRunError
            if not lease.has_call:
                return await _through(caller, call, cache, lease)
            began, lease.began = lease.began, None
            reply = await lease.answer(blocks=caller.blocks)
    except leases.NoRunnerError as failed:
        return partial(settle, call.of(failed.result), call.target.name, call.submitted_ns)
    except leases.LostError as lost:
        call.lost("", lost.fate)
        return await _queued(caller, call)
    return await _ended(caller, call, cache, lease, reply, began)


async def _through(
    caller: Caller, call: Invocation, cache: leases.LeaseCache, lease: Lease
) -> Callable[[], Any]:
    """Make the call by this lease. Raises NotRunError."""
    packed = call.packed(lease, keeps=True)
    began, lease.began = lease.began, None
    if packed is None:
        cache.give_back(lease)
        return await _queued(caller, call)
    sent = (call.call_id, call.target.method, packed, call.depth)
    try:
        with nesting.waiting():
            reply = lease.call(*sent) if caller.blocks else await lease.call_aio(*sent)
    finally:
        packed.close()
    return await _ended(caller, call, cache, lease, reply, began)


async def _ended(
    caller: Caller,
    call: Invocation,
    cache: leases.LeaseCache,
    lease: Lease,
    reply: direct_frames.ReplyFrame | None,
    began: Began | None,
) -> Callable[[], Any]:
    """An answer has come: once all lines that were printed before it are there, its value.

    None where its runner is gone: the call goes through the controller, or is over its time.
    """
    if reply is None:
        call.check_wanted()
        call.lost(lease.runner_id, await caller.in_thread(lease.fate), began)
        return await _queued(caller, call)
    cache.give_back(lease)
    if (logs := call.target.logs) is not None:
        for printed, marked in (
            (began is not None and began.printed, lease.id),
            (reply.printed, call.call_id),
        ):
            if printed and caller.blocks:
                logs.wait_marked(marked)
            elif printed:
                await caller.run(logs.marked(marked))
    return partial(call.settle, lease, reply, began)


async def _queued(caller: Caller, call: Invocation) -> Callable[[], Any]:
    """As ``_answered``, through the controller."""
    call.check_wanted()
    request = call.request()
    call.let_go()
    with nesting.waiting():
        result = await caller.run(_invoke(call.target, request))
    return partial(settle, result, call.target.name, call.submitted_ns)


async def spawn(
    caller: Caller, target: CallTarget, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> FunctionCall[Any]:
    """Submit."""
    from rekindle.sdk.function_call import FunctionCall

    request = Invocation.begin(target, args, kwargs, direct=False).request()
    await caller.run(target.client.submit(request))
    return FunctionCall.of(target, request.call_id, 1, request.submitted_ns)


def prepare(target: CallTarget, strategy: str, timeout: float) -> None:
    """Make a strategy possible."""
    check_strategy(strategy)
    request = pb.PrepareRequest(
        function_id=target.function_id,
        params=target.params,
        strategy=strategy,
        timeout_s=timeout,
        pinned=target.pinned,
    )
    reply = background().run(target.client.request("Prepare", request, pb.PrepareReply))
    if not reply.ok:
        raise StrategyUnavailableError(f"{target.name} by {strategy}: {reply.reason}")


async def _invoke(target: CallTarget, request: pb.SubmitRequest) -> pb.Result:
    result = await target.client.invoke(request)
    if target.logs is not None:
        await target.logs.reached(result.log_seq)
    return result
