"""Unique again: what was random or unique in a template differs in each of its runners.

A restored or forked process shares its memory with its siblings, so every generator that was
seeded before would say the same in all of them. The steps against it are collected when a
template parks, and tried there: one that fails is a reason not to copy the template at all. They
run in every copy before any user code, from the bottom up: native libraries, the standard library,
packages, generators that are objects, and last what ``on_restore`` was given. Areas of memory that
the kernel empties on fork have been emptied before (``rekindle.forkserver.wiped``), so that what
is drawn from the system is new.
"""

from __future__ import annotations

from collections.abc import Callable

from rekindle.exception import InvalidError
from rekindle.runtime.runner.unique import modules, native, objects
from rekindle.runtime.runner.unique.step import Step

_on_restore: list[Callable[[], object]] = []
_steps: list[Step] = []
#: Those of them that are for objects: a second look finds only what was made since the first.
_of_objects: list[Step] = []


def on_restore(function: Callable[[], object]) -> Callable[[], object]:
    """Call ``function`` in every runner, after rekindle's own steps and before user code.

    For library authors whose module keeps state that must differ between copies of a process.
    Usable as a decorator. An exception in it fails the start of the runner.
    """
    if not callable(function):
        text = f"rekindle.on_restore({function!r}): give a function that takes no arguments"
        try:
            raise InvalidError(text)
        except InvalidError as error:
            error.__traceback__ = None  # it is of the program's line (sdk/user_frames.py)
            raise
    _on_restore.append(function)
    return function


def forget_on_restore() -> None:
    """In a process that is to run no user code: ``on_restore`` was given nothing."""
    _on_restore.clear()


def track() -> None:
    """In a process that is to be a template, before user code: see which generators are seeded."""
    objects.track()


def prepare() -> list[str]:
    """In a template that parks: collect the steps for what is loaded, and try each.

    Trying them also sets up what is set up at first use, once and not in every copy. Returns why
    the template must not be copied: generators that could not be made to differ. A second time,
    after more user code: what it loaded and made counts, too.
    """
    reasons = []
    _steps.clear()
    _of_objects.extend(objects.steps())
    for step in [*native.steps(), *modules.steps(), *_of_objects]:
        try:
            step.run()
        except Exception as error:  # noqa: BLE001 - whatever a library raises is the reason
            reasons.append(
                f"the random numbers of {step.what} would repeat in every runner "
                f"({type(error).__name__}: {error})"
            )
        else:
            _steps.append(step)
    return reasons


def make_unique() -> None:
    """All steps, in order. A process that never was a template is no copy, and has none."""
    for step in _steps:
        step.run()


def run_on_restore() -> None:
    """What ``on_restore`` was given, once a runner knows its start. Raises what that raises."""
    for function in _on_restore:
        function()
