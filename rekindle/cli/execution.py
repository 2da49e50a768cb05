"""What ``rekindle run`` has found in a file is run: an entrypoint here, a function in a runner.

Knows nothing of command lines.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from rekindle.cli import lost_output, result_file, shown
from rekindle.cli.exit_status import INTERRUPTED
from rekindle.cli.refs import Target
from rekindle.sdk import notes, progress, running
from rekindle.sdk.calls import records
from rekindle.sdk.cls import Cls
from rekindle.sdk.entrypoint import LocalEntrypoint
from rekindle.sdk.local import choosing, lingering

if TYPE_CHECKING:
    from rekindle.sdk.calls.call_record import CallRecord


class RunOptions(NamedTuple):
    """What is rekindle's own among the options."""

    phases: bool = False
    strategy: str | None = None
    quiet: bool = False
    linger: str | None = None
    detach: bool = False
    interactive: bool = False
    name: str | None = None
    write_result: str | None = None
    timestamps: bool = False


def raw_of(target: Target) -> Callable[..., Any]:
    """The user's function, a method without its self."""
    if isinstance(target.what, LocalEntrypoint):
        return target.what.raw
    raw: Any = target.what._declaration.raw
    if isinstance(target.what, Cls):
        method = getattr(raw, target.what._declaration.methods[target.method])
        bound: Callable[..., Any] = method.__get__(raw.__new__(raw))
        return bound
    function: Callable[..., Any] = raw
    return function


def execute(target: Target, options: RunOptions, call: Callable[[], Any]) -> int:
    """Run the app for a call; the exit status."""
    _take(options)
    shown.show_notes(quiet=options.quiet)
    finished: list[CallRecord] = []
    made: running.RunningApp | None = None
    try:
        with contextlib.ExitStack() as stack:
            finished = _enter(stack, options)
            with progress.step(f"Bringing up {options.name or target.app.name or 'the app'}"):
                stack.enter_context(
                    target.app.run(
                        name=options.name, detach=options.detach, interactive=options.interactive
                    )
                )
            made = target.app.running
            assert made is not None  # its block says so
            notes.on_terminal(f"{made.name} is up: {', '.join(target.app.registered)}.")
            status = _called(target, options, call, made.app_id)
    except KeyboardInterrupt:  # while it came up or was taken down
        if not lost_output.interrupted_program():
            notes.write_note("Stopping.")
        status = INTERRUPTED
    stays = made is not None and choosing.is_up(made.client.instance)
    status = lost_output.status(status, made.app_id if made is not None and stays else "")
    # The program may have closed standard output, or taken it away.
    if finished and not getattr(sys.stdout, "closed", sys.stdout is None):
        from rekindle.cli import phases

        sys.stdout.flush()
        phases.show(finished)
    return status


def _take(options: RunOptions) -> None:
    """What is wrong with them is refused before anything is started. Raises InvalidError."""
    if options.linger is not None:
        lingering.time_s(options.linger, "--linger ")
        os.environ[lingering.VARIABLE] = options.linger  # also for what the program starts
    lingering.linger_s()
    if options.write_result is not None:
        result_file.check(options.write_result)


def _enter(stack: contextlib.ExitStack, options: RunOptions) -> list[CallRecord]:
    """What holds while the app runs; calls are noted in what is returned, where that is wanted."""
    stack.enter_context(shown.waits(quiet=options.quiet))
    finished = stack.enter_context(records.collect()) if options.phases else []
    stack.enter_context(running.enable_output())
    stack.enter_context(lost_output.watched())
    if options.strategy:
        stack.enter_context(running.ask_strategy(options.strategy))
    if options.timestamps:
        from rekindle.sdk import logs

        stack.enter_context(logs.timestamps(True))
    return finished


def _called(target: Target, options: RunOptions, call: Callable[[], Any], app_id: str) -> int:
    """Make the call, and show or keep what it gives; the exit status."""
    try:
        result = call()
        if options.write_result is not None:
            result_file.write(options.write_result, result, target.name)
        elif not (result is None or options.quiet or isinstance(target.what, LocalEntrypoint)):
            notes.write(sys.stdout, result if isinstance(result, str) else repr(result), True)
    except BrokenPipeError as error:  # its own writing
        from rekindle.wire.exceptions import remote_traceback

        if remote_traceback(error) is None and lost_output.has_no_reader():
            lost_output.forget_unwritten()  # the program has not come to its end
        else:
            show_failure(error)
        return 1
    except KeyboardInterrupt:
        if lost_output.interrupted_program():
            return INTERRUPTED
        notes.write_note(
            f"Spawned calls and inputs of maps go on without this program; `rekindle logs "
            f"{app_id}` shows their output. A remote() that it waited for ends with it."
            if options.detach
            else "Stopping."
        )
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - whatever the user's code raised
        show_failure(error)
        return 1
    return 0


def show_failure(error: BaseException) -> None:
    from rekindle.cli import failure  # loads what a run without one does not need

    failure.show_failure(error)


def call_of(
    target: Target, options: RunOptions, for_class: dict[str, Any], /, *words: Any, **values: Any
) -> Any:
    """The value of the call."""
    what = target.what
    if isinstance(what, LocalEntrypoint):
        made = what.raw(*words, **values)
        if inspect.iscoroutine(made):
            import asyncio

            return asyncio.run(made)
        return made
    function = getattr(what(**for_class), target.method) if isinstance(what, Cls) else what
    if options.detach:  # in the queue, where it needs nobody who waits
        submitted = function.spawn(*words, **values)
        if not options.quiet:
            notes.write_note(f"Submitted {submitted.object_id}.")
        return submitted.get()
    return function.remote(*words, **values)
