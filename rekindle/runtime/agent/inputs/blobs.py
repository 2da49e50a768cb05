"""Large payloads and results on a node: fetched before an input is run, put before it is done.

All off the loop. What is fetched at a time is bounded: the payloads that wait for a runner stay in
the store. So are results that the store has not taken: no input is run meanwhile. Knows nothing of
pools and runners.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import time
from collections import deque
from collections.abc import Callable
from itertools import chain, repeat
from pathlib import Path
from typing import TypeVar

from rekindle.exception import Error, ServiceError
from rekindle.guarded_loops import Retries
from rekindle.runtime.agent.inputs import outcome
from rekindle.runtime.agent.inputs.assignment import Assignment
from rekindle.runtime.agent.inputs.outcome import Outcomes
from rekindle.wire import blobs
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.logs import kv
from rekindle.wire.messages import refuse_too_large

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Fetched payloads whose inputs have no result yet take no more than this, unless it is one alone.
MAX_FETCHED_BYTES = 256 * 1024 * 1024
#: Results that the store has not taken yet, or does not answer about, wait up to so many bytes.
MAX_KEPT_BACK_BYTES = 256 * 1024 * 1024
#: A store that does not answer is asked again after so long, and after the last of these again and
#: again: for so long together, or until there is room where its disk is full.
_WAITS_S = (0.2, 1.0, 3.0)
_PATIENCE_S = 60.0


def unfetched(one: Assignment, error: Error) -> pb.Result:
    """The result of an input whose payload cannot be had."""
    result = outcome.start_failed(one, error)
    result.status = pb.INTERNAL
    result.message = f"the arguments could not be fetched: {error}"
    return result


class Blobs:
    """The blob store as the agent uses it."""

    def __init__(self, instance_dir: Path) -> None:
        self._instance_dir = instance_dir
        self._url = ""
        self._threshold = blobs.threshold_bytes()
        #: What a result may have at most; the controller says it.
        self.limit = blobs.DEFAULT_MAX_PAYLOAD_BYTES
        self._fetched: dict[Assignment, int] = {}
        self._bytes = 0
        self._waiting: deque[tuple[asyncio.Future[None], Assignment, int]] = deque()
        self._kept_back = 0
        #: Called when inputs may be run again that ``full`` had wait.
        self.on_room: Callable[[], None] = lambda: None
        # Two, as what is full gives what it has.
        self._gets = Retries(log, "payloads wait for the blob store", "it gives them")
        self._puts = Retries(log, "results wait for the blob store", "it takes them")

    def welcomed(self, welcome: pb.Welcome) -> None:
        """The controller, before its first input, says whose blobs they are and what limit is."""
        self._url = blobs.store_url(self._instance_dir, welcome.instance_id)
        self.limit = welcome.max_payload_bytes or self.limit

    def store(self) -> blobs.BlobStore:
        """The store. Raises ServiceError until the controller has said whose; SetupError."""
        if not self._url:
            raise ServiceError("the controller has not taken this agent in yet; ask again")
        return blobs.open_store(self._url)

    # ---- payloads ------------------------------------------------------------------------------

    async def fetch(self, one: Assignment) -> None:
        """Give an input its payload, once there is room for it.

        Raises Error alone, as the input must have a result: InternalFailure where the blob is gone
        or damaged, ServiceError where the store does not answer, InvalidError for what is no key.
        """
        size = blobs.size_of(one.blob)
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, one, size))
        self._let_in()
        try:
            await turn
            one.payload = await self._get(one.blob)
        except BaseException as error:
            self.release(one)
            if isinstance(error, Error) or not isinstance(error, Exception):
                raise
            raise outcome.unforeseen(error, of=one.blob) from error

    def release(self, one: Assignment) -> None:
        """Free the memory of an input's payload, which is not needed any more."""
        self._bytes -= self._fetched.pop(one, 0)
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting:
            turn, one, size = self._waiting[0]
            if self._fetched and self._bytes + size > MAX_FETCHED_BYTES:
                return
            self._waiting.popleft()
            if not turn.done():  # or it was cancelled
                self._fetched[one] = size
                self._bytes += size
                turn.set_result(None)

    async def _get(self, key: str) -> bytes:
        return await self._patiently(lambda: self._get_now(key), self._gets)

    def _get_now(self, key: str) -> bytes:
        return self.store().get(key)

    # ---- results -------------------------------------------------------------------------------

    def large(self, batch: Outcomes) -> bool:
        """Whether a result of a batch belongs into the store."""
        limit = self._threshold
        return limit > 0 and any(len(result) > limit for result in batch.results)

    @property
    def full(self) -> bool:
        """Whether results must be stored before more inputs are run."""
        return self._kept_back >= MAX_KEPT_BACK_BYTES

    async def put_aside(self, batch: Outcomes) -> None:
        """Put the large results of a batch into the store; what remains of them names the blob.

        A result that cannot be put becomes an error that says so.
        """
        for at, raw in enumerate(batch.results):
            if len(raw) > self._threshold:
                result = pb.Result.FromString(raw)
                if len(result.data) > self._threshold:
                    await self._put(result)
                    batch.statuses[at] = result.status
                    batch.results[at] = result.SerializeToString()

    async def _put(self, result: pb.Result) -> None:
        if refuse_too_large(result, self.limit):  # as the controller does with one that is inline
            return
        data = result.data

        def put() -> str:
            key = blobs.new_key(result.call_id, result.index, data)
            self.store().put(key, data)
            return key

        try:
            result.blob = await self._done(put, len(data))
        except Exception as caught:  # noqa: BLE001 - it is logged, and told with the result
            error = caught
            if not isinstance(caught, Error):
                error = outcome.unforeseen(caught, of=result.call_id)
            log.error("result lost", extra=kv(call=result.call_id, reason=error))
            result.status = pb.INTERNAL
            result.error_type = outcome.type_name(type(error))
            result.message = f"the input ran, but its result could not be kept: {error}"
            result.traceback = ""
        result.ClearField("data")

    async def _done(self, put: Callable[[], str], size: int) -> str:
        """What ``put`` gives, once the store takes it. Raises what it does."""
        self._kept_back += size  # from the start: a store that hangs gives no answer for minutes
        try:
            with contextlib.suppress(ServiceError):
                return await asyncio.to_thread(put)
            return await self._patiently(put, self._puts)
        finally:
            was_full = self.full
            self._kept_back -= size
            if was_full and not self.full:
                self.on_room()

    async def _patiently(self, ask: Callable[[], T], retries: Retries) -> T:
        """What a store says, once it answers. Raises ServiceError for one that does not."""
        until = time.monotonic() + _PATIENCE_S
        waits_s = chain(_WAITS_S, repeat(_WAITS_S[-1]))
        while True:
            try:
                answer = await asyncio.to_thread(ask)
            except ServiceError as error:
                if time.monotonic() >= until and not _is_full(error):
                    raise
                retries.failed(error)
            else:
                retries.worked()
                return answer
            await asyncio.sleep(next(waits_s))


def _is_full(error: ServiceError) -> bool:
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
