"""The user's function or class instance inside a template or a runner.

Made from the code payload that the SDK pickled; knows how to run hooks and methods, sync and async.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from inspect import iscoroutinefunction
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any

from rekindle.exception import InvalidError, NotFoundError
from rekindle.execution import context, self_calls
from rekindle.execution.declared import contents, declared_at, stands_at
from rekindle.forkserver import exception_hooks, forking
from rekindle.linux.plain_descriptors import readable
from rekindle.runtime.runner import program
from rekindle.runtime.runner.cancelling import Awaited, Canceller
from rekindle.wire.class_parameters import unpack

if TYPE_CHECKING:
    import asyncio
    from contextvars import Context

    from rekindle.runtime.runner.parked_loop import ParkedLoop

#: What a function may give that is no value, or none yet.
_NO_VALUES = (GeneratorType, AsyncGeneratorType, CoroutineType)


@dataclass
class Service:
    """What inputs are run on."""

    name: str
    functions: dict[str, Callable[..., Any]]  # method name ("" for a function) -> callable
    enter_snap: list[Callable[[], Any]] = field(default_factory=list)
    enter: list[Callable[[], Any]] = field(default_factory=list)
    exit: list[Callable[[], Any]] = field(default_factory=list)
    #: With a GPU: before a GPU snapshot, or in each runner; empty once they have run.
    enter_gpu: list[Callable[[], Any]] = field(default_factory=list)
    #: Gets the task of an async function, in a runner.
    canceller: Canceller | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _parked: ParkedLoop | None = None

    def what(self, method: str) -> str:
        """How errors name what is run."""
        return f"{self.name}.{method}" if method else self.name

    def call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one input. Raises what the user's code raises; InvalidError for a generator."""
        function = self.functions.get(method)
        if function is None:
            return self.start(method, args, kwargs)
        value = function(*args, **kwargs)
        if isinstance(value, _NO_VALUES):
            self.check_value(method, value)
            return self.settle(value)
        return value

    def check_value(self, method: str, value: Any) -> None:
        """Refuse items in place of a value. Raises InvalidError."""
        if isinstance(value, (GeneratorType, AsyncGeneratorType)):
            raise InvalidError(
                f"{self.what(method)} has returned a generator, which is no value. To have its "
                f"items come one by one, declare it with is_generator=True and iterate over "
                f"{self.what(method)}.remote_gen(...); otherwise return a list"
            )

    def start(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What calling it gives: a value, a coroutine or a generator. Raises NotFoundError."""
        function = self.functions.get(method)
        if function is None:
            raise NotFoundError(f"{self.name} has no method {method!r}")
        return function(*args, **kwargs)

    def settle(self, value: Any) -> Any:
        """The value itself, or what it becomes when awaited (async functions and hooks)."""
        if isinstance(value, CoroutineType):
            return self._run(value)
        return value

    def ends_by_itself(self) -> None:
        """What runs is ending: it is not to be cancelled any more."""
        if self.canceller is not None:
            self.canceller.disarm()

    def run_hooks(self, hooks: list[Callable[[], Any]]) -> None:
        """Run hooks in order. Raises what they raise."""
        for hook in hooks:
            try:
                made = hook()
                if isinstance(made, CoroutineType):
                    self._run_hook(made)
            except BaseException as error:
                forking.end_users_child(error)
                raise
            forking.end_users_child()

    def _run_hook(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """What it sets of context variables holds for inputs, as with a sync hook."""
        import contextvars

        within = contextvars.copy_context()
        self._run(coroutine, within)
        for variable, value in within.items():
            if variable.get(within) is not value:
                variable.set(value)

    def _run(self, coroutine: Coroutine[Any, Any, Any], within: Context | None = None) -> Any:
        """One event loop for the life of the runner, as connections made in hooks belong to it.
        ``within``: the context of the task, where that is not a copy of this one."""
        loop = self.event_loop()
        if self.canceller is None:
            if within is None:
                return loop.run_until_complete(coroutine)
            return loop.run_until_complete(loop.create_task(coroutine, context=within))
        # From here on a cancellation raises nothing: a task that it found half made would stay.
        awaited = self.canceller.awaited = Awaited(loop)
        try:
            if within is None:
                task = awaited.task = loop.create_task(coroutine)
            else:
                task = awaited.task = loop.create_task(coroutine, context=within)
            return loop.run_until_complete(task)
        finally:
            self.canceller.awaited = None
            if awaited.task is not None:
                awaited.task.cancel()  # of no effect on one that has ended; Ctrl-C may leave one

    def event_loop(self) -> asyncio.AbstractEventLoop:
        """The loop of hooks and inputs; made when it is first asked for."""
        loop = self._open_loop()
        if loop is None:
            loop = self._loop = _current_loop()
        return loop

    def _open_loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop, where there is one: user code may have closed it."""
        if self._loop is not None and self._loop.is_closed():
            self._loop = None
        return self._loop

    @property
    def is_async(self) -> bool:
        """Whether any function is."""
        return any(map(iscoroutinefunction, self.functions.values()))

    @property
    def has_loop(self) -> bool:
        """Whether something may go on between inputs: in async hooks and functions."""
        return self._open_loop() is not None

    def wait(self, fd: int, timeout_s: float | None = None) -> bool:
        """Wait until ``fd`` can be read, while the event loop goes on; False: not within the time.

        Tasks, timers and connections that hooks and inputs left behind live between inputs by this.
        Returns at once where there is no loop and no time: whoever reads waits.
        """
        loop = self._open_loop()
        if loop is None and timeout_s is None:
            return True
        events = -1 if loop is None else _events_of(loop)
        if loop is None or events >= 0:
            # Most loops rest between inputs: one system call, where a turn of the loop takes ten.
            until = None if timeout_s is None else time.monotonic() + timeout_s
            woken = readable([fd, events] if events >= 0 else [fd], timeout_s)
            if events not in woken:
                return fd in woken
            if until is not None:
                timeout_s = max(0.0, until - time.monotonic())
        assert loop is not None
        came = loop.create_future()

        def settle(readable: bool) -> None:
            if not came.done():
                came.set_result(readable)

        loop.add_reader(fd, settle, True)
        timer = None if timeout_s is None else loop.call_later(timeout_s, settle, False)
        try:
            while True:
                if came.done():
                    break
                try:
                    loop.run_until_complete(came)
                except BaseException as error:  # noqa: BLE001 - of a task that no input waits for
                    forking.end_users_child(error)
                    exception_hooks.print_error(error)
            forking.end_users_child()
            return bool(came.result())
        finally:
            loop.remove_reader(fd)
            if timer is not None:
                timer.cancel()

    def park_loop(self) -> None:
        """Before a process is frozen or forked: the loop rests until ``take_up_loop``.

        One that is not asyncio's own is closed: its copies would not know of each other.
        """
        loop = self._open_loop()
        if loop is None:
            return
        from rekindle.runtime.runner.parked_loop import ParkedLoop, can_be_parked

        if can_be_parked(loop):
            self._parked = ParkedLoop(loop)
        else:
            self.drop_loop()

    def take_up_loop(self) -> None:
        """In what is a runner from now on: the loop goes on."""
        if self._parked is not None:
            parked, self._parked = self._parked, None
            parked.take_up()

    def drop_loop(self) -> None:
        """Close the loop, where there is one."""
        if self._loop is not None:
            import asyncio

            self._loop.close()
            asyncio.set_event_loop(None)
            self._loop = None


def _current_loop() -> asyncio.AbstractEventLoop:
    """The loop that this thread has by what a sync hook or an import did, where that does not run
    in another one; else a new one."""
    import asyncio
    import warnings

    loop: asyncio.AbstractEventLoop | None = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that there is none
        try:
            loop = asyncio.get_event_loop()
        except RuntimeError:
            loop = None
    if loop is None or loop.is_closed() or loop.is_running():
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
    return loop


def _events_of(loop: asyncio.AbstractEventLoop) -> int:
    """What is readable once a loop that rests has something to do; -1 where it does not rest.

    Or where that is unknown: these are asyncio's own names, and the loop may be another's.
    """
    ready, timers = getattr(loop, "_ready", None), getattr(loop, "_scheduled", None)
    events = getattr(getattr(loop, "_selector", None), "fileno", None)
    if ready is None or timers is None or events is None:
        return -1
    if ready or any(not timer.cancelled() for timer in timers):
        return -1
    return int(events())


def load(
    name: str, place: tuple[str, str], code: bytes, params: bytes, *, gpu_snapshots: bool = False
) -> Service:
    """Import the user's code and build the service; hooks have not run yet.

    ``place``: module and qualified name of the function or class; where the module is "", ``code``
    is its pickle. ``gpu_snapshots``: without hooks for the GPU, those of ``snap=True`` are these.
    Raises DeserializationError, or whatever the import of the user's modules raises.
    """
    module, qualified_name = place
    payload: dict[str, Any]
    if module:
        imported = program.import_module(module)
        payload = contents(declared_at(imported, qualified_name))
        context.set_runs(stands_at(imported, qualified_name))
    else:
        payload = pickle.loads(code)
    if payload["kind"] == "function":
        return Service(name, {"": payload["callable"]})
    cls = payload["cls"]
    instance = cls.__new__(cls)
    values = {key: value for key, value in payload["parameters"].items() if value is not ...}
    given = unpack(params)
    if unknown := sorted(set(given).difference(payload["parameters"])):
        known = ", ".join(payload["parameters"]) or "none"
        raise InvalidError(
            f"{name} has no parameter {unknown[0]!r} (its parameters: {known}): the call is of "
            f"another version of its app; look the class up again"
        )
    for key, value in (values | given).items():
        setattr(instance, key, value)
    self_calls.offer(instance, name, payload["methods"], given)
    before, on_gpu = payload["enter_snap"], payload["enter_gpu"]
    if gpu_snapshots and not on_gpu:
        before, on_gpu = [], before
    return Service(
        name,
        {public: getattr(instance, attr) for public, attr in payload["methods"].items()},
        [getattr(instance, attr) for attr in before],
        [getattr(instance, attr) for attr in payload["enter"]],
        [getattr(instance, attr) for attr in payload["exit"]],
        [getattr(instance, attr) for attr in on_gpu],
    )
