"""Inputs side by side: those of sync functions in threads, of async ones as tasks of one loop.

Generators as well, each at the pace of its own reader (streams.py).

The agent gives a runner as many as it may have, so all that come begin at once.
"""

from __future__ import annotations

import contextvars
import inspect
import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from rekindle.exception import NotFoundError, ResourceExhaustedError
from rekindle.runtime.runner.many import streams
from rekindle.runtime.runner.many.execution import Running, answer
from rekindle.runtime.runner.many.interrupt import Interrupt
from rekindle.runtime.runner.many.run import Run
from rekindle.runtime.runner.service import Service
from rekindle.wire.phases import now_ns

if TYPE_CHECKING:
    import asyncio


class Concurrent:
    """Runs what it takes."""

    def __init__(self, service: Service, running: Running) -> None:
        self._service = service
        self._running = running
        self._async = {
            name: inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
            for name, function in service.functions.items()
        }
        self._threads = _Threads()
        self._tasks: set[asyncio.Task[None]] = set()
        #: The event loop, once it goes on all the time.
        self.loop: asyncio.AbstractEventLoop | None = None

    @property
    def wants_loop(self) -> bool:
        """Whether the event loop goes on all the time."""
        if any(self._async.values()) or self._service.has_loop:
            return True
        # What a plain function wraps, as decorators do, gives a coroutine all the same.
        wrapped = map(inspect.unwrap, self._service.functions.values())
        return any(map(inspect.iscoroutinefunction, wrapped))

    def take(self, run: Run) -> None:
        """Begin it; on the main thread."""
        is_async = self._async.get(run.method)
        if is_async is None:
            run.failure = NotFoundError(f"{self._service.name} has no method {run.method!r}")
            answer([run])
        elif is_async:
            task = self._service.event_loop().create_task(self._await(run))
            self._tasks.add(task)  # the loop itself would let go of it
            task.add_done_callback(self._tasks.discard)
        else:
            try:
                self._threads.run(partial(self._call, run))
            except RuntimeError as error:
                run.failure = ResourceExhaustedError(
                    f"{self._service.what(run.method)} needs a thread to run in, and there is none "
                    f"({error}): lower max_inputs of @rekindle.concurrent, have fewer threads in "
                    f"your code, or allow more processes where the agent runs"
                )
                answer([run])

    async def _await(self, run: Run) -> None:
        import asyncio

        nested = self._running.begin(run)
        try:
            if run.cause is None:
                args, kwargs = run.load()
                run.loaded_ns = now_ns()
                run.interrupt = cast("asyncio.Task[None]", asyncio.current_task()).cancel
                made = self._service.functions[run.method](*args, **kwargs)
                del args, kwargs
                if run.stream is None:
                    self._service.check_value(run.method, made)
                    run.value = await made
                else:
                    await streams.send_aio(run, made)
                del made
        except BaseException as error:  # noqa: BLE001 - goes to the caller, whatever it is
            run.failure = error
        run.interrupt = None
        self._running.end(run, nested)

    def _call(self, run: Run) -> None:
        nested = self._running.begin(run)
        interrupt = Interrupt()
        run.interrupt = interrupt
        try:
            try:
                if run.cause is None:
                    args, kwargs = run.load()
                    run.loaded_ns = now_ns()
                    value = self._service.functions[run.method](*args, **kwargs)
                    del args, kwargs
                    if run.stream is not None:
                        what = self._service.what(run.method)
                        streams.send(run, value, interrupt, what, self.loop)
                    else:
                        self._service.check_value(run.method, value)
                        if inspect.iscoroutine(value):
                            interrupt.disarm()
                            value = _awaited(run, value, self.loop)
                        run.value = value
                    del value
            finally:
                interrupt.disarm()
        except BaseException as error:  # noqa: BLE001 - goes to the caller, whatever it is
            interrupt.disarm()  # it may have come just before
            run.failure = error
        run.interrupt = None
        self._running.end(run, nested)


def _awaited(run: Run, coroutine: Any, loop: asyncio.AbstractEventLoop | None) -> Any:
    """What a sync function's coroutine gives: on the runner's loop, where that goes on, as what it
    waits for may belong to it; else by a loop of this thread's own."""
    import asyncio

    async def wait(call: Callable[[Callable[[], object]], object]) -> Any:
        run.interrupt = partial(call, cast("asyncio.Task[Any]", asyncio.current_task()).cancel)
        if run.cause is not None:
            coroutine.close()
            return None
        return await coroutine

    async def wait_here() -> Any:
        return await wait(asyncio.get_running_loop().call_soon_threadsafe)

    if loop is None:
        return asyncio.run(wait_here())
    return asyncio.run_coroutine_threadsafe(wait(loop.call_soon_threadsafe), loop).result()


class _Threads:
    """As many threads as there are inputs at a time; they stay for the next ones."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        #: How many have no job; negative: how many jobs have no thread.
        self._idle = 0
        self._count = 0

    def run(self, job: Callable[[], object]) -> None:
        """Run it in a thread, at once; where there can be no other thread, in the next that is
        free. Raises RuntimeError: there can be none at all."""
        with self._lock:
            self._idle -= 1
            begins = self._idle < 0
        if begins and self._begin():
            with self._lock:
                self._idle += 1
        self._jobs.put(job)

    def _begin(self) -> bool:
        """Begin a thread, which has a job from then on; whether that could be done."""
        name = f"rekindle-input-{self._count + 1}"
        try:
            # What hooks have set of context variables holds in threads, too.
            within = contextvars.copy_context()
            work = partial(within.run, self._work)
            threading.Thread(target=work, name=name, daemon=True).start()
        except RuntimeError:
            if self._count:
                return False
            with self._lock:
                self._idle += 1
            raise
        self._count += 1
        return True

    def _work(self) -> None:
        while True:
            self._jobs.get()()
            with self._lock:
                self._idle += 1
