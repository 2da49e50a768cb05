"""Function: what ``@app.function()`` and the methods of a ``Cls`` instance give.

Standard library only until something is called remotely.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterator
from functools import cache, cached_property
from time import time_ns
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, TypeVar, Unpack

from rekindle.exception import ExecutionError, InvalidError, of_the_program
from rekindle.execution.context import is_local
from rekindle.sdk import checks, loop_warning, user_frames
from rekindle.sdk.binding import Binding
from rekindle.sdk.declaration import Declaration, named
from rekindle.sdk.dual import Dual, dual, dual_iterator
from rekindle.sdk.function_target import FunctionTarget
from rekindle.sdk.user_frames import trims

if TYPE_CHECKING:
    from rekindle.sdk.calls.callers import Caller
    from rekindle.sdk.function_call import FunctionCall
    from rekindle.sdk.options import VariantOptions

P = ParamSpec("P")
R = TypeVar("R")


@trims
class Function(FunctionTarget, Generic[P, R]):
    """A function that can be called here (``local``) or in a runner (``remote`` and the others).

    It cannot be called with parentheses: which of the two is meant has to be said. All but
    ``local`` have an asyncio form: ``f.remote.aio(...)``.
    """

    def __init__(
        self, declaration: Declaration, *, method: str = "", binding: Binding | None = None
    ) -> None:
        super().__init__(declaration, method, binding)
        raw = declaration.raw
        if raw is not None:
            if method:
                raw = getattr(raw, declaration.methods[method], None)
            self.__doc__ = getattr(raw, "__doc__", None)
            self.__wrapped__ = raw

    @property
    def __name__(self) -> str:
        return self._method or self._declaration.name

    @property
    def undecorated(self) -> Any:
        """The user's function, where this is not a method and not only a handle."""
        return None if self._method else self._declaration.raw

    def __reduce__(self) -> tuple[Any, ...]:
        return _handle, (self._declaration, self._method, self._binding)

    @classmethod
    def from_name(
        cls,
        app_name: str,
        name: str,
        *,
        version: int | None = None,
        environment_name: str | None = None,
        client: None = None,
    ) -> Function[..., Any]:
        """A function of a deployed app. It is looked up when it is called first.

        ``version``: just that one of the app, also when there is a newer one; without, each call is
        of the version that is the present one then. ``environment_name``: without, that of this
        process or, in a runner, of its app. Raises InvalidError for what can be no name.
        """
        checks.of_this_instance("Function.from_name", client=client)
        if "." in name:
            owner, _, method = name.partition(".")
            raise InvalidError(
                f"{name!r} is a method: rekindle.Cls.from_name({app_name!r}, {owner!r})().{method}"
            )
        return Function(named(app_name, name, "function", version, environment_name))

    @classmethod
    def from_id(cls, object_id: str, client: None = None) -> Function[..., Any]:
        """The function of that ``object_id``, while its app runs or is deployed.

        Nothing is asked for until it is called. Raises InvalidError for what is no such id.
        """
        checks.of_this_instance("Function.from_id", client=client)
        if not isinstance(object_id, str) or not object_id.startswith("fu-"):
            raise InvalidError(
                f"{object_id!r} is not the id of a function: these start with 'fu-'; by its name: "
                f"rekindle.Function.from_name(app, name)"
            )
        return Function(Declaration("", object_id, "function", function_id=object_id))

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Refused, as it does not say where. Raises TypeError."""
        text = (
            f"{self.name}(...) does not say where it is to run: {self.name}.remote(...) calls it "
            f"in a runner, {self.name}.local(...) in this process"
        )
        raise of_the_program(TypeError(text))

    # ---- calls ---------------------------------------------------------------------------------

    @user_frames.passing
    def local(self, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Call the function in this process. Of an async function: a coroutine; of a generator:
        that generator.

        A method runs on an object of this process, whose enter hooks run once, before its first
        call. Volumes are not at their paths here, of which a warning is given.
        """
        if (paths := self._declaration.volume_paths) and is_local():
            loop_warning.Place.of_caller().warn(
                f"{self.name}.local() runs in this process, where its volumes are not: "
                f"{', '.join(paths)} is what this machine has there. `.remote()` runs it with them",
                UserWarning,
            )
        if self._binding is not None:
            return self._binding.call(self._method, args, kwargs, method_of)
        raw = self._declaration.raw
        if raw is None:
            raise ExecutionError(
                f"{self.name}.local(): its code is not in this process, only a handle to it; "
                f"use .remote()"
            )
        return raw(*args, **kwargs)

    @cached_property
    def remote(self) -> Dual[P, R, Awaitable[R]]:
        """``remote(*args, **kwargs)``: call it in a runner and wait for its value.

        Raises what the function raised, of the same type, with the remote traceback as its cause;
        SerializationError for arguments that cannot be pickled; FunctionTimeoutError,
        RunnerLostError and StartError for what can happen to a runner; ConnectionError when no
        controller answers.
        """
        if self.is_generator:
            return Dual(self._no_value, self._no_value, self._remote)
        return Dual(self._remote, self._remote_aio)

    @user_frames.trimmed
    def _no_value(self, /, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise InvalidError(
            f"{self.name} is a generator, which has no one value: iterate over "
            f"{self.name}.remote_gen(...), or .remote_gen.aio(...) with `async for`"
        )

    def _remote(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        asked_ns = time_ns()  # what is loaded or looked up first, its caller waits for, too
        value: R = _calls().remote(self._target(), args, kwargs, asked_ns)
        return value

    async def _remote_aio(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        asked_ns = time_ns()
        calls = _calls()
        try:
            target = await self._target_for(calls.LoopCaller())
            value: R = await calls.remote_aio(target, args, kwargs, asked_ns)
        except BaseException as error:
            user_frames.only(error)
            raise
        return value

    @cached_property
    def remote_gen(self) -> Dual[P, Iterator[R], AsyncGenerator[R, None]]:
        """``remote_gen(*args, **kwargs)``: run a generator in a runner; an iterator of its items.

        It starts with the first item that is asked for. Items come as they are yielded; the
        generator is at most 64 small ones ahead of its reader. To leave the loop, or to close the
        iterator, closes the generator. After the items that came before it, raises what the
        generator raised, and the like of ``remote``; a runner that is lost after the first item is
        a RunnerLostError. ``timeout=`` counts from the first to the last item.
        """
        return Dual(self._remote_gen, self._remote_gen_aio, iterates=True)

    def _remote_gen(self, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[R]:
        from rekindle.sdk.calls import streaming

        self._check_items()
        target = self._target()
        return streaming.Items(self.name, lambda: streaming.ready(target), args, kwargs)

    @user_frames.trimmed
    def _remote_gen_aio(self, /, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[R, None]:
        from rekindle.sdk.calls import streaming
        from rekindle.sdk.calls.callers import LoopCaller

        self._check_items()
        caller = LoopCaller()
        return streaming.LoopItems(
            self.name, caller, lambda: self._target_for(caller), args, kwargs
        )

    @dual
    async def spawn(self, caller: Caller, /, *args: P.args, **kwargs: P.kwargs) -> FunctionCall[R]:
        """``spawn(*args, **kwargs)``: submit the call, durably; its FunctionCall, at once.

        It runs also when this program ends, of a deployed or a detached app; its result is kept for
        seven days. Raises SerializationError and RequestSizeError for its arguments,
        ResourceExhaustedError where too much waits already, ConnectionError.
        """
        from rekindle.sdk.calls import invoke

        self._check_queued("spawn")
        return await invoke.spawn(caller, await self._target_for(caller), args, kwargs)

    # ---- many inputs ---------------------------------------------------------------------------

    @dual_iterator
    def map(
        self,
        caller: Caller,
        *iterators: Any,
        kwargs: dict[str, Any] | None = None,
        order_outputs: bool = True,
        return_exceptions: bool = False,
        wrap_returned_exceptions: bool | None = None,
    ) -> AsyncGenerator[R, None]:
        """``map(*iterators, kwargs={}, order_outputs=True, return_exceptions=False)``.

        One input for each tuple of the zipped iterators, ``kwargs`` for all of them; an iterator
        of the values. Inputs are taken from the iterators as runners get to them (at most 8,192
        are on their way); with ``order_outputs=False`` values come as they are ready; with
        ``return_exceptions=True`` exceptions come in the place of values, otherwise the first one
        is raised and ends it. What ends it early, closing it too, cancels what is left.
        ``wrap_returned_exceptions=`` changes nothing: exceptions are those that were raised.
        """
        from rekindle.sdk.calls import arguments

        self._check_queued("map")
        inputs = arguments.zipped(self.name, iterators, blocks=caller.blocks)
        return self._mapped(caller, inputs, kwargs, order_outputs, return_exceptions)

    @dual_iterator
    def starmap(
        self,
        caller: Caller,
        input_iterator: Any,
        *,
        kwargs: dict[str, Any] | None = None,
        order_outputs: bool = True,
        return_exceptions: bool = False,
        wrap_returned_exceptions: bool | None = None,
    ) -> AsyncGenerator[R, None]:
        """``starmap(iterator, *, kwargs={}, order_outputs=True, return_exceptions=False)``.

        As ``map``, with one iterator of argument tuples.
        """
        from rekindle.sdk.calls import arguments

        self._check_queued("starmap")
        inputs = arguments.starred(self.name, input_iterator, blocks=caller.blocks)
        return self._mapped(caller, inputs, kwargs, order_outputs, return_exceptions)

    def _mapped(
        self,
        caller: Caller,
        inputs: AsyncIterator[tuple[Any, ...]],
        kwargs: dict[str, Any] | None,
        order_outputs: bool,
        return_exceptions: bool,
    ) -> AsyncGenerator[R, None]:
        from rekindle.sdk.calls import mapping

        return mapping.run(
            caller, self._target_for, inputs, kwargs, order_outputs, return_exceptions
        )

    @dual
    async def for_each(
        self,
        caller: Caller,
        *iterators: Any,
        kwargs: dict[str, Any] | None = None,
        ignore_exceptions: bool = False,
    ) -> None:
        """``for_each(*iterators, kwargs={}, ignore_exceptions=False)``: ``map``, values dropped.

        Returns when all have run. With ``ignore_exceptions`` those that raised are passed over,
        otherwise the first exception is raised, and what is left is cancelled.
        """
        from rekindle.sdk.calls import arguments

        self._check_queued("for_each")
        inputs = arguments.zipped(self.name, iterators, blocks=caller.blocks, what="for_each")
        async for _ in self._mapped(caller, inputs, kwargs, False, ignore_exceptions):
            pass

    @dual
    async def spawn_map(
        self, caller: Caller, *iterators: Any, kwargs: dict[str, Any] | None = None
    ) -> FunctionCall[R]:
        """``spawn_map(*iterators, kwargs={})``: submit all inputs, durably, as one call.

        Inputs are taken from the iterators as they are accepted; where the controller has no room
        for more, it waits and warns. Where an iterator raises, what was submitted is cancelled.
        Fetch values from the FunctionCall that it returns: ``get(index=i)``, ``iter()``.
        """
        from rekindle.sdk.calls import arguments, mapping

        self._check_queued("spawn_map")
        inputs = arguments.zipped(self.name, iterators, blocks=caller.blocks, what="spawn_map")
        return await mapping.spawn(caller, await self._target_for(caller), inputs, kwargs)

    #: What Modal calls the one that gives its call.
    experimental_spawn_map = spawn_map

    # ---- variants ------------------------------------------------------------------------------

    def with_options(self, **given: Unpack[VariantOptions]) -> Function[P, R]:
        """The same function with other options, and with runners of its own.

        ``cpu``, ``memory``, ``gpu``, ``gpu_memory``, ``gpu_priority``, ``env``, ``secrets``,
        ``volumes``, ``retries``, ``timeout``, ``startup_timeout``, ``max_containers``,
        ``buffer_containers``, ``spare_containers``, ``scaledown_window`` and
        ``single_use_containers``, as of ``@app.function``. Variables of ``env`` are added to the
        function's; ``secrets`` and ``volumes`` replace them; what is None stays, as do these
        three where they are empty. Calls of it add up, and equal options are one variant, also from
        several programs. Raises InvalidError, and TypeError for what cannot differ.
        """
        from rekindle.sdk.variants import variant

        self._no_method(f"{{}}.with_options(...)().{self._method}")
        return Function(variant(self._declaration, given))

    def with_concurrency(
        self, *, max_inputs: int, target_inputs: int | None = None
    ) -> Function[P, R]:
        """The same function, as if it had ``@rekindle.concurrent``; as ``with_options``.

        Raises InvalidError.
        """
        from rekindle.sdk.variants import concurrent_variant

        self._no_method(f"{{}}.with_concurrency(...)().{self._method}")
        return Function(concurrent_variant(self._declaration, max_inputs, target_inputs))

    def with_batching(self, *, max_batch_size: int, wait_ms: int) -> Function[..., Any]:
        """The same function, as if it had ``@rekindle.batched``; as ``with_options``.

        Raises InvalidError.
        """
        from rekindle.sdk.variants import batched_variant

        self._no_method(f"{{}}.with_batching(...)().{self._method}")
        return Function(batched_variant(self._declaration, max_batch_size, wait_ms))

    # ---- for the bench -------------------------------------------------------------------------

    def prepare(self, strategy: str, timeout: float = 300.0) -> None:
        """Make sure that ``strategy`` can be taken: a template is live, a snapshot is there, GPUs
        are free.

        Waits up to ``timeout`` seconds. Raises StrategyUnavailableError with the reason.
        """
        from rekindle.sdk.calls import invoke

        invoke.prepare(self._target(), strategy, timeout)


def method_of(binding: Binding, method: str) -> Function[..., Any]:
    """A method of an instance."""
    return Function(binding.declaration, method=method, binding=binding)


@cache
def _calls() -> ModuleType:
    """What calls; loaded with the first one. To ask the import system takes a tenth of a call."""
    from rekindle.sdk.calls import invoke

    return invoke


def _handle(declaration: Declaration, method: str, binding: Binding | None) -> Function[..., Any]:
    return Function(declaration, method=method, binding=binding)
