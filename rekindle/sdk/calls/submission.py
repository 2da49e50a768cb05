"""The inputs of one call on their way to the controller: many in a request, several at a time.

The feeder's side pickles and notes; the background thread's side submits. The first requests are
small, so that the first results come soon; they grow to what the feeder is ahead. Where a limit of
the controller is reached it waits and goes on.
"""

from __future__ import annotations

import asyncio
import warnings
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from rekindle.exception import (
    CallDepthError,
    InvalidError,
    RequestSizeError,
    ResourceExhaustedError,
    a_or_an,
)
from rekindle.execution import nested_calls, nesting
from rekindle.sdk.calls.arguments import packed
from rekindle.sdk.calls.target import CallTarget
from rekindle.sdk.calls.window import Window
from rekindle.sdk.connection.background import background
from rekindle.sdk.connection.blob_offload import ALWAYS_INLINE_BYTES
from rekindle.sdk.running import asked_strategy
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.callid import new_call_id
from rekindle.wire.phases import now_ns

#: Inputs, and about so many bytes, in one request; the first has fewer.
BATCH = 512
FIRST_BATCH = 64
BATCH_BYTES = 4 * 1024 * 1024
#: Requests on their way at a time.
IN_FLIGHT = 3
#: A controller that is full is asked again after so long, twice as long each time.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.05, 2.0
#: That it stays full is worth a warning after this.
WARN_AFTER_S = 10.0

#: No number of inputs is so large: do not wake the submitter.
_NEVER = 1 << 62


class Submission:
    """One call's inputs. ``offer`` and ``complete`` are the feeder's, ``run`` the background's."""

    def __init__(
        self,
        target: CallTarget,
        kwargs: dict[str, Any] | None,
        window: Window,
        *,
        read_once: bool,
    ) -> None:
        if kwargs is not None and not isinstance(kwargs, Mapping):
            raise InvalidError(
                f"kwargs= is {a_or_an(type(kwargs))}: give a dict of the arguments by name that "
                f"are the same for all inputs"
            )
        self.target = target
        self._parent = nested_calls.maker()
        self.call_id = new_call_id(traced=not read_once or bool(self._parent))
        self._depth = nesting.depth_of_calls(target.name)
        self._window = window
        self.count = 0  # inputs offered
        self.completed = False  # no more will be offered
        #: When an input was offered, and its size; by index.
        self.offered: dict[int, tuple[int, int]] = {}
        self.begun = asyncio.Event()  # the controller knows the call, or there is none
        self.submitted = False  # something was sent
        self._kwargs = dict(kwargs or {})
        self._read_once = read_once
        self._strategy = asked_strategy()
        self._outbox: deque[tuple[int, bytes]] = deque()
        self._put_bytes = self._got_bytes = 0  # into the outbox and out of it; one writer each
        self._loop = background().loop
        self._wake = asyncio.Event()
        self._wake_at = _NEVER  # wake the submitter when so many inputs are in the outbox
        self._in_flight: set[asyncio.Task[None]] = set()
        self._target = FIRST_BATCH
        self._last_sent = False

    # ---- the feeder's side ---------------------------------------------------------------------

    def offer(self, args: tuple[Any, ...]) -> None:
        """Pickle an input and have it submitted. Raises SerializationError, RequestSizeError."""
        index = self.count
        at_ns = now_ns()
        payload = packed(self.target.name, args, self._kwargs, index)
        size = len(payload)
        if self._read_once:
            self.offered[index] = (at_ns, size)
        self._window.take(size)
        self._put_bytes += size
        self._outbox.append((index, payload))
        self.count = index + 1
        if self._is_awaited():
            self._kick()

    def complete(self) -> None:
        """There are no more inputs."""
        self.completed = True
        self._kick()

    def report_taken(self, indexes: Iterable[int] = (), *, whole: bool = False) -> None:
        """Its only reader has these results, or asks for nothing more."""
        target = self.target
        target.client.taken(self.call_id, target.function_id, indexes, whole=whole)

    def _is_awaited(self) -> bool:
        """Whether the submitter waits for as much as there is."""
        return len(self._outbox) >= self._wake_at or (
            self._wake_at != _NEVER and self._put_bytes - self._got_bytes >= BATCH_BYTES
        )

    def _kick(self) -> None:
        self._wake_at = _NEVER
        self._loop.call_soon_threadsafe(self._wake.set)

    # ---- the background thread's side ----------------------------------------------------------

    async def run(self) -> None:
        """Return when all inputs are durable. Raises what the controller answered."""
        try:
            while True:
                completed = self.completed  # before the outbox is looked at
                if self._outbox and self._may_send(completed):
                    self._start(self._next_batch(), completed)
                elif completed and not self._outbox and not self._in_flight:
                    break
                else:
                    await self._something()
            # A spawned call of no inputs is a call all the same, which its id finds.
            if (self.submitted or not self._read_once) and not self._last_sent:
                await self._submit([], last=True)
            self.begun.set()
        finally:
            for task in self._in_flight:
                task.cancel()
            await asyncio.gather(*self._in_flight, return_exceptions=True)

    def _may_send(self, completed: bool) -> bool:
        """Small ones wait for company while others are on their way."""
        waiting = len(self._in_flight)
        return waiting == 0 or (waiting < IN_FLIGHT and (completed or self._is_batch()))

    def _is_batch(self) -> bool:
        """Whether the outbox has enough for a request."""
        return len(self._outbox) >= self._target or self._put_bytes - self._got_bytes >= BATCH_BYTES

    async def _something(self) -> None:
        """Return when there are inputs to send or a request has its answer."""
        self._wake.clear()
        room = len(self._in_flight) < IN_FLIGHT
        self._wake_at = (self._target if self._in_flight else 1) if room else _NEVER
        if self._is_awaited() or (self.completed and room):
            # It came between the look at the outbox and the wish to be woken.
            self._wake_at = _NEVER
            if self._outbox or not self._in_flight:
                return
        woken = asyncio.ensure_future(self._wake.wait())
        try:
            done, _ = await asyncio.wait(
                (woken, *self._in_flight), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            woken.cancel()
        for task in done & self._in_flight:
            self._in_flight.discard(task)
            task.result()

    def _next_batch(self) -> list[tuple[int, bytes]]:
        outbox = self._outbox
        batch = [outbox.popleft()]
        size = len(batch[0][1])
        while outbox and len(batch) < self._target and size + len(outbox[0][1]) <= BATCH_BYTES:
            batch.append(outbox.popleft())
            size += len(batch[-1][1])
        self._got_bytes += size
        if len(batch) == self._target and len(outbox) >= self._target:
            self._target = min(max(2 * self._target, len(outbox)), BATCH)
        return batch

    def _start(self, batch: list[tuple[int, bytes]], completed: bool) -> None:
        # Requests overtake each other: the last one is sent when the others are answered.
        last = completed and not self._outbox and not self._in_flight
        self._in_flight.add(asyncio.ensure_future(self._submit_patiently(batch, last)))

    async def _submit_patiently(self, batch: list[tuple[int, bytes]], last: bool) -> None:
        """Submit; where the controller has no room, in halves, again and again."""
        began = asyncio.get_running_loop().time()
        wait_s, warned = _FIRST_WAIT_S, False
        pending = deque([await self._inputs(batch)])
        while pending:
            try:
                await self._submit(pending[0], last=last and len(pending) == 1)
            except (RequestSizeError, CallDepthError):
                raise
            except ResourceExhaustedError as full:
                waited = asyncio.get_running_loop().time() - began
                if waited >= WARN_AFTER_S and not warned:
                    self._warn(waited, full)
                    warned = True
                if len(pending[0]) > 1:
                    whole = pending.popleft()
                    pending.extendleft((whole[len(whole) // 2 :], whole[: len(whole) // 2]))
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
            else:
                wait_s = _FIRST_WAIT_S
                pending.popleft()
        if not self._read_once:
            self._window.give_back(sum(len(payload) for _, payload in batch), len(batch))

    async def _inputs(self, batch: list[tuple[int, bytes]]) -> list[pb.Input]:
        """Inputs as they travel; large payloads are in the blob store then."""
        method = self.target.method
        if max(len(payload) for _, payload in batch) <= ALWAYS_INLINE_BYTES:
            return [pb.Input(index=i, method=method, payload=payload) for i, payload in batch]

        async def one(index: int, payload: bytes) -> pb.Input:
            if key := await self.target.client.put_large(self.call_id, index, payload):
                return pb.Input(index=index, method=method, blob=key)
            return pb.Input(index=index, method=method, payload=payload)

        return await asyncio.gather(*(one(index, payload) for index, payload in batch))

    async def _submit(self, inputs: list[pb.Input], *, last: bool) -> None:
        first = self.offered.get(inputs[0].index) if inputs else None
        self.submitted = True
        await self.target.client.submit(
            pb.SubmitRequest(
                call_id=self.call_id,
                function_id=self.target.function_id,
                params=self.target.params,
                inputs=inputs,
                last=last,
                strategy=self._strategy,
                submitted_ns=first[0] if first is not None else now_ns(),
                depth=self._depth,
                # Of a map no handle is given: whoever iterates over it is its only reader.
                read_once=self._read_once,
                pinned=self.target.pinned,
                parent=self._parent,
            ),
            offloaded=True,
        )
        self.begun.set()
        self._last_sent = self._last_sent or last

    def _warn(self, waited_s: float, full: ResourceExhaustedError) -> None:
        warnings.warn(
            f"{self.target.name}: its inputs have waited {waited_s:.0f} s for room, and wait "
            f"on: {full}",
            stacklevel=2,
        )
