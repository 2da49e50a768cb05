"""A command line, and how its process ends.

``rekindle run FILE`` alone is done here without click, which takes as long to load as such a
program waits for its runner; whatever else is given is click's to understand (group.py).
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import time
from collections.abc import Sequence
from io import TextIOWrapper

from rekindle import lazily
from rekindle.cli import interrupts
from rekindle.cli.exit_status import INTERRUPTED
from rekindle.exception import Error, InvalidError

#: SIGTERM within so long after another one is the same order to end.
_ONE_ORDER_S = 3.0
_told_to_end_s = -_ONE_ORDER_S


def main(argv: Sequence[str] | None = None) -> None:
    """What the console script does. Ends with 0, 1 (an error), 2 (wrong usage) or 130 (Ctrl-C)."""
    try:
        status = run(sys.argv[1:] if argv is None else argv)
    finally:
        _forget_unwritten()
    sys.exit(status)


def _forget_unwritten() -> None:
    """Have the interpreter not fail, with a status of its own, at what could not be written."""
    for stream in (sys.stdout, sys.stderr):
        try:
            _flush(stream)
        except OSError:
            from rekindle.cli import lost_output

            lost_output.forget_unwritten(stream)


def _flush(stream: object) -> None:
    """But for what a program has put there in its place: that is its own, and Python's to end."""
    if isinstance(stream, TextIOWrapper):
        with contextlib.suppress(ValueError):  # the program has closed it
            stream.flush()


def run(argv: Sequence[str]) -> int:
    """Run the command line ``argv``; the exit status."""
    signal.signal(signal.SIGTERM, _end)
    if None in (sys.stdin, sys.stdout, sys.stderr):
        _open_what_is_closed()
    _take_any_text()
    status = 0
    try:
        status = _run(argv)
        _flush(sys.stdout)
        return status
    except KeyboardInterrupt as interrupt:
        interrupts.tell(interrupt)
        return INTERRUPTED
    except SystemExit as end:
        interrupts.tell(end)
        raise
    except OSError as error:
        return _of_surroundings(error, status)
    except UnicodeEncodeError as error:
        return _of_words(error, argv)


def _of_words(error: UnicodeEncodeError, argv: Sequence[str]) -> int:
    """Say which word of the command line is no text: bytes that nothing can be called by, but a
    file. Raises the error where all are."""
    for word in argv:
        try:
            word.encode()
        except UnicodeEncodeError:
            from rekindle.cli import failure

            failure.show_error(InvalidError(f"{word!r} is no text in UTF-8"))
            return 1
    raise error


def _of_surroundings(error: OSError, status: int) -> int:
    """Say that standard output or the working directory is gone, or that rekindle's own directory
    cannot be written to. ``status``: that of a command which has ended already. Raises what is none
    of these."""
    from rekindle import paths
    from rekindle.cli import failure, lost_output

    if lost_output.is_lost(error):
        return lost_output.report(error) or status
    if isinstance(error, FileNotFoundError):
        try:
            paths.working_directory()
        except Error as deleted:
            failure.show_error(deleted)
            return 1
    if (unwritable := paths.unwritable(error)) is not None:
        failure.show_error(unwritable)
        return 1
    raise error


def _open_what_is_closed() -> None:
    """``rekindle ... >&-``: no file that is opened later is to take its place."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - for the whole run


def _take_any_text() -> None:
    """What an output has no characters for is written in escapes (``\\xe9``), as runners do: a
    name, or what somebody prints, is no reason to fail. PYTHONIOENCODING may say otherwise."""
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, TextIOWrapper):
            continue
        # In the locale C bytes that are no text go through as they are: that is any text.
        goes_through = (stream.encoding, stream.errors) == ("utf-8", "surrogateescape")
        if stream.errors in ("strict", "surrogateescape") and not goes_through:
            stream.reconfigure(errors="backslashreplace")


def _run(argv: Sequence[str]) -> int:
    try:
        if (plain := _plain_run(argv)) is not None:
            return _run_plainly(*plain)
        from rekindle.cli import group

        return group.run(argv)
    except Error as error:
        from rekindle.cli import failure, wording

        failure.show_error(wording.of_commands(error, argv))
        return 1


def _plain_run(argv: Sequence[str]) -> tuple[str, bool] | None:
    """Of ``run FILE`` and ``run -q FILE``: the file, and whether it is quiet."""
    match argv:
        case ["run", reference] if not reference.startswith("-"):
            return reference, False
        case ["run", "-q" | "--quiet", reference] if not reference.startswith("-"):
            return reference, True
    return None


def _run_plainly(reference: str, quiet: bool) -> int:
    with lazily.loading():
        from rekindle.cli import plain_run

        gc.freeze()  # nor at the end, when it would look at everything once more
    interrupts.begun()
    return plain_run.run(reference, quiet)


def _end(number: int, _frame: object) -> None:
    """SIGTERM ends the program in good order: what it started is taken down.

    ``timeout`` sends it to the process and to its group. The second one is the same order, and
    would end in a traceback the taking down that it meets.
    """
    global _told_to_end_s
    before, _told_to_end_s = _told_to_end_s, time.monotonic()
    if _told_to_end_s - before > _ONE_ORDER_S:
        raise SystemExit(128 + number)
