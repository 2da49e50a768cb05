"""Entries that come into memory from the stream: in their turn, after a restart, found again.

Memory holds a bounded number of undone inputs of a function; the others wait on the stream. What
is here and what was completed a moment ago is never loaded a second time (tombstones.py).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from rekindle.controller.core import Core
from rekindle.controller.detached import DetachedState
from rekindle.controller.events import CallerMissing
from rekindle.controller.queue.dispatcher import Dispatcher
from rekindle.controller.queue.finalizer import Finalizer
from rekindle.controller.queue.table import InputTable
from rekindle.controller.settings import MIB
from rekindle.controller.state import (
    Call,
    DetachedInput,
    Function,
    QueuedBatch,
    QueueEntry,
)
from rekindle.controller.storage import keys
from rekindle.controller.storage.damage import Damage, Record
from rekindle.controller.storage.queue_store import QueueStore
from rekindle.controller.storage.records import Acceptance, CallMeta, InputProgress, StoredEntry
from rekindle.controller.storage.redis_link import RefusedError
from rekindle.exception import InternalFailure
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

_TAKE_BYTES = 16 * MIB
_TAKE_INPUTS = 4096
#: No retry and no delivery after a loss is delayed by more: the clock was set back then.
_LONGEST_DELAY_S = 60.0
#: Entries that are read at once by their ids; each may have some MiB.
_LOAD = 16
_UNREADABLE = (
    "what Redis has kept of the input cannot be read: its files, or those of the backup that it "
    "was started from, are damaged. Submit the input again"
)
_NO_CALL = "the call that they are of is not there"
_OTHER_QUEUE = (
    "start from a backup of before (docs/operating.md), or run or deploy the app again, which has "
    "queues of its own"
)


@dataclass(eq=False)
class StreamLoader:
    """Loads inputs from the stream into memory."""

    _core: Core
    _store: QueueStore
    _table: InputTable
    _dispatcher: Dispatcher
    _finalizer: Finalizer
    _damage: Damage
    #: Entries that cannot be read; they are not loaded again and again.
    _unreadable: set[tuple[str, str]] = field(default_factory=set)

    # ---- room

    def fits(self, function: Function, inputs: int, size: int, depth: int) -> bool:
        """Whether memory has room for so many more inputs of a function.

        What is made inside of calls has as much room again: what waits on the stream may wait for
        just these.
        """
        settings = self._core.settings
        if depth:
            return function.held + function.coming + inputs <= 2 * settings.held_inputs
        held, held_bytes = function.held + function.coming, function.held_bytes
        held_bytes += function.coming_bytes
        return held + inputs <= settings.held_inputs and (
            not held_bytes or held_bytes + size <= settings.held_bytes
        )

    def _room(self, function: Function) -> tuple[int, int]:
        settings = self._core.settings
        inputs = settings.held_inputs - function.held - function.coming
        size = settings.held_bytes - function.held_bytes - function.coming_bytes
        return min(inputs, _TAKE_INPUTS), min(size, _TAKE_BYTES)

    def load_more(self, function: Function) -> None:
        """Load inputs that wait on the stream, where memory has room for them."""
        if not function.backlog or function.loading or function.app.closing:
            return
        if min(self._room(function)) <= 0:
            return
        function.loading = True
        function.loaded.clear()
        self._core.tasks.spawn(self._load_waiting(function), "load inputs")

    async def _load_waiting(self, function: Function) -> None:
        try:
            with self._damage_noted(function):
                await self._take_waiting(function)
        finally:
            function.loading = False
            function.loaded.set()
            self._wake_readers(function)

    async def _take_waiting(self, function: Function) -> None:
        while function.backlog and not function.app.closing:
            inputs, size = self._room(function)
            if inputs <= 0 or size <= 0:
                return
            function.backlog = False  # an accept that comes in meanwhile sets it again
            with function.tombstones.reading():
                entries, left = await self._store.take(function.function_id, inputs, size)
                function.backlog = function.backlog or left
                await self._hold(function, entries)

    async def drain(self, function: Function) -> None:
        """Take and complete all that waits on the stream: the function's app is closing."""
        await function.loaded.wait()  # no more than one take is on its way
        with self._damage_noted(function):
            with function.tombstones.reading():
                while True:
                    entries, _ = await self._store.take(
                        function.function_id, _TAKE_INPUTS, _TAKE_BYTES
                    )
                    if not entries:
                        break
                    await self._hold(function, entries)
            await self.adopt(function)

    async def check(self, function: Function, call_id: str) -> None:
        """Raise InternalFailure where some of a call's inputs cannot be read: they have no end."""
        entries = [entry for of, entry in self._unreadable if of == function.function_id]
        if entries and await self._store.has_left(function.function_id, call_id, entries):
            raise InternalFailure(f"{_UNREADABLE} (of the call {call_id})")

    def _wake_readers(self, function: Function) -> None:
        """Readers look whether what they wait for can come, where something cannot be read."""
        if any(of == function.function_id for of, _ in self._unreadable):
            for call in self._core.state.calls.values():
                if call.function is function:
                    call.wake_watchers()

    async def _tell_callers(self, function: Function) -> None:
        """Who waits for an input that cannot be read is told so."""
        self._wake_readers(function)
        waiters = self._core.state.waiters
        for key in list(waiters):
            try:
                await self.check(function, key[0])
            except InternalFailure as error:
                for one in waiters.get(key, ()):
                    if not one.done():
                        one.set_exception(error)

    def reload(self) -> None:
        """Redis is back: a reply may have been lost with the connection; read what is pending."""
        for function in self._core.state.functions.values():
            function.backlog = True
            function.count_again()
            self._core.tasks.spawn(self._count(function), "count inputs")
            self._core.tasks.spawn(self.adopt(function), "adopt inputs")
            self.load_more(function)

    # ---- by their ids

    async def adopt(self, function: Function) -> None:
        """Hold entries that are pending but not in memory: a reply was lost, or a restart."""
        with function.tombstones.reading():
            await self._load(function, await self._store.pending(function.function_id))

    async def claim(self, function: Function, idle_s: float) -> None:
        """Take over entries that are pending for too long, under whatever name."""
        with function.tombstones.reading():
            found = await self._store.pending(function.function_id, int(idle_s * 1000))
            missing = self._missing(function, found)
            if missing:
                log.warning(
                    "entries were lost track of",
                    extra=kv(function=function.function_id, entries=len(missing)),
                )
            await self._load(function, missing)

    async def hold(self, function: Function, entries: Sequence[str]) -> None:
        """Take up entries wherever they are, waiting ones too (their call is cancelled)."""
        with function.tombstones.reading():
            await self._load(function, entries)

    async def cancel(self, call: Call, got: Acceptance) -> None:
        """Complete inputs that were accepted of a call that is cancelled, wherever they are."""
        if got.taken:
            await self._finalizer.cancel(call, got.new)
        else:
            await self.hold(call.function, [got.entry])

    async def recover(self, function: Function, *, orphaned: bool) -> None:
        """Read back what the controller before this one had taken.

        ``orphaned``: agents may come back with some of it. A queue that is damaged is noted.
        """
        with self._damage_noted(function):
            with function.tombstones.reading():
                pending = await self._store.pending(function.function_id)
                await self._load(function, pending, orphaned=orphaned)
            await self._count(function)
            function.backlog = True  # whether it is so, the first take shows

    @contextmanager
    def _damage_noted(self, function: Function) -> Iterator[None]:
        """A queue that is damaged ends the block, and is noted."""
        try:
            yield
        except (InternalFailure, RefusedError) as error:
            if isinstance(error, RefusedError) and not error.is_of_damage:
                raise
            record = Record(
                *("queue", function.function_id, keys.queue(function.function_id)),
                app=function.app.app_id,
                label=function.label,
                remedy=_OTHER_QUEUE,
            )
            self._damage.note(record, error)

    async def _count(self, function: Function) -> None:
        function.counted(await self._store.undone(function.function_id))

    async def _load(
        self, function: Function, entries: Sequence[str], *, orphaned: bool = False
    ) -> None:
        missing = self._missing(function, entries)
        for start in range(0, len(missing), _LOAD):
            page = self._missing(function, missing[start : start + _LOAD])
            found = await self._store.load(function.function_id, page) if page else []
            await self._hold(function, found, orphaned=orphaned)

    def _missing(self, function: Function, entries: Iterable[str]) -> list[str]:
        known, is_gone, damaged = function.entries, function.tombstones.is_gone, self._unreadable
        return [
            one
            for one in entries
            if one not in known and not is_gone(one) and (function.function_id, one) not in damaged
        ]

    # ---- into memory

    async def _hold(
        self, function: Function, entries: Sequence[StoredEntry], *, orphaned: bool = False
    ) -> None:
        over: list[tuple[Call, list[int]]] = []
        unreadable: list[tuple[Call, list[int]]] = []
        damaged = False
        for stored in entries:
            if stored.entry in function.entries or function.tombstones.is_gone(stored.entry):
                continue
            if stored.meta is None or stored.damage:
                # It stays: no one can say whose inputs these are, or which.
                damaged = True
                self._unreadable.add((function.function_id, stored.entry))
                self._damage.note(_entry_record(function, stored), stored.damage or _NO_CALL)
                continue
            wanted = set(stored.indexes) - stored.done
            if not wanted:
                log.error(
                    "an entry of the queue is done already",
                    extra=kv(function=function.function_id, entry=stored.entry),
                )
                await self._store.discard(function.function_id, stored.entry)
                continue
            call = self.call(stored.call_id, function, stored.meta)
            try:
                request = pb.SubmitRequest.FromString(stored.request)
            except DecodeError as error:  # its inputs are to have an end, and others to be loaded
                log.error("inputs cannot be read", extra=kv(call=call.call_id, reason=error))
                entry = self._table.admit(call, stored.entry, len(wanted), len(stored.request))
                self._table.admit_orphaned(entry, {one: pb.Input(index=one) for one in wanted})
                unreadable.append((call, list(wanted)))
                continue
            call.depth = max(call.depth, request.depth)
            call.lost = request.lost
            inputs = {item.index: item for item in request.inputs if item.index in wanted}
            entry = self._table.admit(call, stored.entry, len(inputs), len(stored.request))
            if call.cancelled or function.app.closing:  # never to be ready
                self._table.admit_orphaned(entry, inputs)
                over.append((call, list(inputs)))
                continue
            self._resume(entry, inputs, stored.progress, orphaned)
            if call.kind == "invoke":
                self._core.publish(CallerMissing(call))
        for call, indexes in over:
            await self._finalizer.cancel(call, indexes)
        for call, indexes in unreadable:
            await self._finalizer.finish(call, indexes, pb.INTERNAL, _UNREADABLE)
        if damaged:
            self._core.tasks.spawn(self._tell_callers(function), "tell callers")
        self._dispatcher.pump()

    def _resume(
        self,
        entry: QueueEntry,
        inputs: dict[int, pb.Input],
        progress: dict[int, InputProgress],
        orphaned: bool,
    ) -> None:
        for index, kept in progress.items():
            item = inputs.get(index)
            if item is None:
                continue
            alone = DetachedInput(entry, item, DetachedState.QUEUED, kept=True)
            alone.lost, alone.retries, alone.ambiguous = kept.lost, kept.retries, kept.ambiguous
            alone.killed = kept.lost  # by what, is not kept
            self._table.admit_detached(alone)
            wait_s = kept.due_ms / 1000 - time.time()
            if kept.due_ms and 0 < wait_s <= _LONGEST_DELAY_S:
                alone.state = DetachedState.DELAYED
                self._dispatcher.delay(alone, wait_s)
            else:
                self._resume_alone(alone, orphaned)
        plain = {index: item for index, item in inputs.items() if index not in progress}
        if not plain:
            return
        if entry.call.lost:
            for item in plain.values():
                self._resume_alone(self._table.admit_tried(entry, item), orphaned)
            return
        if orphaned:
            self._table.orphaned[self._table.admit_orphaned(entry, plain)] = None
        else:
            self._table.enqueue(QueuedBatch(entry, list(plain.values())))

    def _resume_alone(self, alone: DetachedInput, orphaned: bool) -> None:
        if orphaned:
            alone.state = DetachedState.ORPHANED
            self._table.orphaned[alone] = None
        else:
            self._table.enqueue(alone)

    def call(self, call_id: str, function: Function, meta: CallMeta) -> Call:
        """The call in memory, made from ``meta`` where it is not there."""
        call = self._core.state.calls.get(call_id)
        if call is None:
            call = self._core.state.calls[call_id] = Call(
                call_id=call_id,
                function=function,
                params=meta.params,
                strategy=meta.strategy,
                submitted_ns=meta.submitted_ns,
                kind=meta.kind,
            )
        call.counted(meta.done, meta.total, meta.batches)
        call.accepted = max(call.accepted, meta.accepted)
        call.depth = max(call.depth, meta.depth)
        call.cancelled = max(call.cancelled, meta.cancelled)
        return call


def _entry_record(function: Function, stored: StoredEntry) -> Record:
    return Record(
        *("inputs", of := stored.call_id or stored.entry, keys.queue(function.function_id)),
        field=of,  # of a call there may be very many
        app=function.app.app_id,
        label=function.label,
        remedy="start from a backup of before (docs/operating.md), or submit them again",
    )
