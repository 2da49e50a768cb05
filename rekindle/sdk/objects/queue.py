"""Queue: values in the order in which they came, for all programs and runners of an instance."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterable
from typing import Any, ClassVar

from rekindle.exception import InvalidError, RequestSizeError, of_the_program
from rekindle.sdk import checks
from rekindle.sdk.objects.handle import Handle
from rekindle.sdk.objects.keys import pickled, plain_pickles, unpickled, unpickled_before
from rekindle.sdk.objects.named import Objects
from rekindle.sdk.objects.steps import Batches, Steps, both, both_iterators, both_taking
from rekindle.sdk.user_frames import trims
from rekindle.wire.object_frames import (
    OPTION,
    PART_BYTES,
    PART_COUNT,
    Op,
    Request,
    Status,
    unpack_list,
)
from rekindle.wire.serialization import deserialize

_GET, _PUT = int(Op.QUEUE_GET), int(Op.QUEUE_PUT)
_MAX_ITEM_BYTES = 1 << 20
_DAY_S = 86_400
_PAGE = 100
_ITEM = "an item of a Queue"


@trims
class Queue(Handle):
    """A queue (first in, first out) that programs and runners share.

    Values are pickled. A queue has partitions, each with an order of its own; without
    ``partition=`` it is the one that has no name. A partition goes a day after the last put.
    """

    _kind = "queue"
    #: ``create``, ``list``, ``delete``: those that have names.
    objects: ClassVar[Objects[Queue]]

    @both
    def put(
        self,
        v: Any,
        block: bool = True,
        timeout: float | None = None,
        *,
        partition: str | None = None,
        partition_ttl: float = _DAY_S,
    ) -> Steps[None]:
        """``put(v, block=True, timeout=None, *, partition=None, partition_ttl=86400)``.

        Waits for room, ``timeout`` seconds at most. Raises queue.Full, RequestSizeError beyond
        1 MiB, SerializationError.
        """
        ttl_s = _ttl(partition_ttl)
        where = _partition(partition)
        parts = [_pickled(v)]
        reply = yield Request(_PUT, b"", b"", where, 0, ttl_s, _wait(block, timeout), parts)
        if reply.status == Status.FULL:
            raise _full(self, block, timeout, partition)

    @both
    def put_many(
        self,
        vs: Iterable[Any],
        block: bool = True,
        timeout: float | None = None,
        *,
        partition: str | None = None,
        partition_ttl: float = _DAY_S,
    ) -> Steps[None]:
        """``put_many(vs, ...)``: put many, as ``put``; up to 5,000 that take 8 MiB all or none.

        More go in parts, each when there is room for it.
        """
        ttl_s, where = _ttl(partition_ttl), _partition(partition)
        until = None if timeout is None else time.monotonic() + timeout
        for part in _parts(vs):
            left = None if until is None else max(0.0, until - time.monotonic())
            wait_s = _wait(block, left)
            reply = yield Request(_PUT, b"", b"", where, 0, ttl_s, wait_s, part)
            if reply.status == Status.FULL:
                raise _full(self, block, timeout, partition)

    @both_taking
    def get(
        self, block: bool = True, timeout: float | None = None, *, partition: str | None = None
    ) -> Steps[Any]:
        """``get(block=True, timeout=None, *, partition=None)``: take the next value.

        Waits for one, ``timeout`` seconds at most, and raises queue.Empty then; without ``block``
        it gives None where there is none. A value that cannot be unpickled here is taken out, too,
        and DeserializationError raised.
        """
        reply = yield Request(_GET, b"", b"", _partition(partition), 0, 1, _wait(block, timeout))
        if reply.status == Status.EMPTY:
            if block:
                raise _empty(self, timeout, partition)
            return None
        return deserialize(reply.body[9:], _ITEM)

    @both_taking
    def get_many(
        self,
        n_values: int,
        block: bool = True,
        timeout: float | None = None,
        *,
        partition: str | None = None,
    ) -> Steps[list[Any]]:
        """``get_many(n_values, ...)``: take up to so many, as soon as there is one.

        Raises queue.Empty when there is none in time; without ``block`` it gives an empty list.
        Ends before a value that cannot be unpickled here, and takes out that one alone, and raises
        DeserializationError, where it is the first.
        """
        checks.number("n_values", n_values, 1, None, whole=True)
        count = min(n_values, PART_COUNT)
        reply = yield Request(
            _GET, b"", b"", _partition(partition), 0, count, _wait(block, timeout)
        )
        if reply.status == Status.EMPTY:
            if block:
                raise _empty(self, timeout, partition)
            return []
        items = unpack_list(reply.body, 1) if reply.parts is None else reply.parts
        values, error = unpickled_before(items, _ITEM)
        if error is not None:
            left = items[max(1, len(values)) :]
            if left:
                yield _back(left, partition)
            if not values:
                raise error
        return values

    @both
    def len(self, *, partition: str | None = None, total: bool = False) -> Steps[int]:
        """``len(*, partition=None, total=False)``: values in one partition, or in all."""
        if total and partition is not None:
            raise InvalidError("give partition= or total=True, not both")
        reply = yield Request(
            Op.QUEUE_LEN, partition=_partition(partition), flags=OPTION if total else 0
        )
        return int(reply.body)

    @both
    def clear(self, *, partition: str | None = None, all: bool = False) -> Steps[None]:
        """``clear(*, partition=None, all=False)``: take out all of one partition, or of all."""
        if all and partition is not None:
            raise InvalidError("give partition= or all=True, not both")
        yield Request(Op.QUEUE_CLEAR, partition=_partition(partition), flags=OPTION if all else 0)

    @both_iterators
    def iterate(
        self, *, partition: str | None = None, item_poll_timeout: float = 0.0
    ) -> Batches[Any]:
        """``iterate(*, partition=None, item_poll_timeout=0.0)``: look at values, take none.

        From the first one on; ends when none has come for ``item_poll_timeout`` seconds. What is
        taken out meanwhile by others is passed over.
        """
        checks.number("item_poll_timeout", item_poll_timeout, 0, None, "of seconds")
        where, cursor = _partition(partition), 0
        while True:
            reply = yield Request(
                Op.QUEUE_PEEK, b"%d" % cursor, b"", where, 0, _PAGE, float(item_poll_timeout)
            )
            if reply.status == Status.EMPTY:
                return
            first, *items = unpack_list(reply.body, 1)
            cursor = int(first) + len(items)
            yield unpickled(items, _ITEM)


def _back(items: list[bytes], partition: str | None) -> Request:
    """Puts items that were taken to the front again."""
    return Request(Op.QUEUE_RETURN, partition=_partition(partition), parts=items)


def _full(where: Queue, block: bool, timeout: float | None, partition: str | None) -> queue.Full:
    waited = f" after {timeout:g} s" if block and timeout else ""
    what = f"{where!r}{_which(partition)} has no room{waited}"
    return of_the_program(queue.Full(f"{what}: something has to get() values from it first"))


def _empty(where: Queue, timeout: float | None, partition: str | None) -> queue.Empty:
    waited = f" in {timeout:g} s" if timeout else ""
    return of_the_program(queue.Empty(f"nothing was put into {where!r}{_which(partition)}{waited}"))


def _which(partition: str | None) -> str:
    return "" if partition is None else f", partition {partition!r},"


def _pickled(value: Any) -> bytes:
    raw = pickled(value, _ITEM)
    if len(raw) > _MAX_ITEM_BYTES:
        raise RequestSizeError(
            f"an item of a Queue takes {len(raw):,} bytes, the limit is {_MAX_ITEM_BYTES:,}; put "
            f"a large value into a Dict or a file, and its name here"
        )
    return raw


def _parts(values: Iterable[Any]) -> Iterable[list[bytes]]:
    if isinstance(values, (list, tuple)) and len(values) <= PART_COUNT:
        plain = plain_pickles(values)
        sizes = list(map(len, plain))
        if plain and max(sizes) <= _MAX_ITEM_BYTES and sum(sizes) <= PART_BYTES:
            yield plain
            return
    part: list[bytes] = []
    size = 0
    for value in values:
        raw = _pickled(value)
        if part and (len(part) >= PART_COUNT or size + len(raw) > PART_BYTES):
            yield part
            part, size = [], 0
        part.append(raw)
        size += len(raw)
    if part:
        yield part


def _partition(name: str | None) -> bytes:
    if name is None:
        return b""
    raw = name.encode() if isinstance(name, str) else b""
    if not 1 <= len(raw) <= 64:
        raise InvalidError(f"partition={name!r} must be a string of 1 to 64 bytes")
    return raw


def _ttl(seconds: float) -> int:
    checks.number("partition_ttl", seconds, 1, 7 * _DAY_S, "of seconds")
    return int(seconds)


def _wait(block: bool, timeout: float | None) -> float:
    """Seconds to wait: 0 for not at all, below 0 for ever."""
    if not block:
        return 0.0
    if timeout is None:
        return -1.0
    checks.number("timeout", timeout, 0, None, "of seconds")
    return float(timeout)


Queue.objects = Objects(Queue)
