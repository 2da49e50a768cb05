"""``sys.excepthook`` and ``sys.unraisablehook``, which user code may have replaced, as Python calls
them: what they raise themselves is shown, and has no other effect. Nor has a standard error of user
code's that fails, where an error is printed that goes nowhere else.

Knows nothing of what failed.
"""

from __future__ import annotations

import sys
from typing import Any


def show(error: BaseException) -> None:
    """An error that ends this process."""
    try:
        sys.excepthook(type(error), error, error.__traceback__)
    except BaseException as of_hook:  # noqa: BLE001 - shown, with what it was to show
        for one in (of_hook, error):
            sys.__excepthook__(type(one), one, one.__traceback__)


def show_ignored(error: BaseException, where: object) -> None:
    """An error that has no effect, as ``Exception ignored in`` ``where``."""
    trace = error.__traceback__.tb_next if error.__traceback__ is not None else None
    arguments = _arguments_of_hook()
    given = arguments((type(error), error, trace, None, where))
    hook: object = None
    try:
        hook = sys.unraisablehook
        sys.unraisablehook(given)
    except BaseException as of_hook:  # noqa: BLE001 - shown, with what it was to show
        trace = of_hook.__traceback__
        sys.__unraisablehook__(arguments((type(of_hook), of_hook, trace, None, hook)))
        sys.__unraisablehook__(given)


def print_error(error: BaseException) -> None:
    """An error that has no effect, as it is: nobody waits for what failed."""
    import traceback

    tell("".join(traceback.format_exception(error)))


def tell(text: str) -> None:
    """Write to standard error, to the process's own where user code has made it None, or one that
    fails."""
    for stream in (sys.stderr, sys.__stderr__):
        try:
            stream.write(text)  # type: ignore[union-attr]
            stream.flush()  # type: ignore[union-attr]
            return
        except BaseException:  # noqa: BLE001 - there is the other, or nowhere to say it
            continue


def _arguments_of_hook() -> Any:
    """The type of what ``sys.unraisablehook`` is given, which has no public name."""
    seen: list[object] = []

    class Raises:
        def __del__(self) -> None:
            raise ValueError

    hook, sys.unraisablehook = sys.unraisablehook, seen.append
    try:
        one: Raises | None = Raises()
        one = None
    finally:
        sys.unraisablehook = hook
    del one
    return type(seen[0])
