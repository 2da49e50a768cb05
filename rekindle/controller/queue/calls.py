"""The queue put together, and what is known of a call in it; also after a restart.

Others hear of what happens through ``events``; see events.py.
"""

from __future__ import annotations

from rekindle.controller import names
from rekindle.controller.queue.blob_keeper import BlobKeeper
from rekindle.controller.queue.cancelling import Cancelling
from rekindle.controller.queue.completion import Completer
from rekindle.controller.queue.dead_letters import DeadLetters
from rekindle.controller.queue.dispatcher import Dispatcher
from rekindle.controller.queue.events import Events
from rekindle.controller.queue.finalizer import Finalizer
from rekindle.controller.queue.inputs import AssignedBatch, DetachedInput
from rekindle.controller.queue.intake import Intake
from rekindle.controller.queue.reaper import Reaper
from rekindle.controller.queue.redelivery import Redelivery
from rekindle.controller.queue.result_intake import Delivery
from rekindle.controller.queue.results import ResultStreams
from rekindle.controller.queue.retention import Retention
from rekindle.controller.queue.stream_loader import StreamLoader
from rekindle.controller.settings import Settings
from rekindle.controller.state import Call, State
from rekindle.controller.storage.letter_store import LetterStore
from rekindle.controller.storage.redis_link import RedisLink
from rekindle.controller.storage.store import QueueStore
from rekindle.controller.tasks import Tasks
from rekindle.wire import rekindle_pb2 as pb


class Calls:
    """Everything about inputs, from their acceptance to their results."""

    def __init__(
        self,
        state: State,
        link: RedisLink,
        store: QueueStore,
        tasks: Tasks,
        settings: Settings,
        *,
        blob_url: str,
        blob_threshold_bytes: int,
    ) -> None:
        self._state = state
        self._store = store
        self._tasks = tasks
        self.blob_url = blob_url
        self.blob_threshold_bytes = blob_threshold_bytes
        self.events = Events()
        self.dispatcher = Dispatcher(state, self.events, settings.lease_margin_s)
        self.blobs = BlobKeeper(blob_url, state, store, tasks, settings)
        self.retention = Retention(state, store, self.blobs, settings)
        letter_store = LetterStore(link, state.instance_id)
        self.letters = DeadLetters(state, letter_store, store, settings)
        self.completer = Completer(state, store, letter_store, tasks, settings, self.events)
        self.loader = StreamLoader(state, store, self.dispatcher, tasks, settings)
        finalizer = Finalizer(store, self.dispatcher, self.completer, self.letters)
        self.cancelling = Cancelling(state, store, self.dispatcher, finalizer, self.loader, tasks)
        self.redelivery = Redelivery(
            state, self.dispatcher, finalizer, tasks, settings, self.events
        )
        self.delivery = Delivery(
            state,
            self.dispatcher,
            self.completer,
            finalizer,
            self.loader,
            tasks,
            settings,
            self.events,
        )
        self.intake = Intake(
            state,
            store,
            self.dispatcher,
            self.loader,
            self.completer,
            tasks,
            settings,
            self.events,
        )
        self.reaper = Reaper(state, self.dispatcher, self.redelivery, self.loader, settings)
        self.results = ResultStreams(state, store, self.loader, self.completer)
        self.completer.on_room = self.loader.take_more
        self.completer.on_blobs = self.blobs.drop
        self.letters.on_blobs = self.blobs.drop
        self.letters.submit = self.intake.submit
        self.intake.on_hung_up = self.cancelling.hung_up

    def start(self) -> None:
        """Begin to look after leases and blobs, in the background."""
        self._tasks.start(self.reaper.run(), "look for ended leases")
        self._tasks.start(self.blobs.run(), "sweep blobs")

    def redis_is_back(self) -> None:
        """A reply may have been lost with the connection: read what is taken, and take more."""
        for function in self._state.functions.values():
            function.backlog = True
            self._tasks.start(self.loader.adopt(function), "adopt inputs")
            self.loader.take_more(function)

    async def info(self, call_id: str) -> pb.CallInfo:
        """The call's inputs, how many are done, and how.

        Raises NotFoundError for a call that is not known, OutputExpiredError for an old one.
        """
        call = self._state.calls.get(call_id)
        if call is not None:
            function_id = call.function.function_id
            app, name = call.function.app.name, call.function.name
        else:
            at = await self._store.index_of(call_id)
            function_id, app, name = (at.function_id, at.app, at.function) if at else ("", "", "")
        meta = await self._store.call_meta(function_id, call_id) if function_id else None
        if meta is None:
            raise names.unknown_call(call_id, self.completer.result_ttl_s)
        return pb.CallInfo(
            call_id=call_id,
            function_id=function_id,
            function=name,
            app=app,
            inputs=meta.accepted,
            submitted=meta.total >= 0,
            done=meta.done,
            running=_running(call) if call is not None else 0,
            submitted_ns=meta.submitted_ns,
            cancelled=meta.cancelled > 0,
        )


def _running(call: Call) -> int:
    """How many of a call's inputs are at agents."""
    return sum(
        isinstance(holder, AssignedBatch | DetachedInput) and holder.agent is not None
        for holder in call.undone.values()
    )
