"""Tracebacks of exceptions as text, and the text of one that came from another process.

An exception that goes through calls of calls has frames of its own in each process. They make one
traceback, the outermost call first, as if there had been one process: what was raised is told once.
Standard library only: runners import this.
"""

from __future__ import annotations

import os
import textwrap
import traceback
from collections.abc import Generator
from typing import Any

from rekindle.exception import RemoteError

_PACKAGE_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
#: Frames of these at the top of a traceback say nothing about the user's program.
_MACHINERY = (_PACKAGE_DIR, "<frozen importlib")
#: What runs a coroutine for us: no more does this, below frames of ours.
_LOOPS = os.path.join(os.path.dirname(os.__file__), "asyncio") + os.sep

_HEADER = "Traceback (most recent call last):\n"
_GROUP = "  + Exception Group "
#: What Python writes between two exceptions, where these are no members of a group.
_BETWEEN = (
    "\nThe above exception was the direct cause of the following exception:\n\n",
    "\nDuring handling of the above exception, another exception occurred:\n\n",
)


class RemoteTraceback(Exception):
    """The last ``__cause__`` of an exception that came from a runner; its text is the traceback."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text
        #: The exception that was raised, by its identity and how many causes are between.
        self.of, self.causes_between = 0, 0

    def __str__(self) -> str:
        return f'\n"""\n{self.text.rstrip()}\n"""'


def attach(exc: BaseException, text: str) -> None:
    """Have an exception say where it was raised: ``text`` becomes the cause of its last cause."""
    last, seen = exc, {id(exc)}
    while (cause := last.__cause__) is not None and id(cause) not in seen:
        last = cause
        seen.add(id(cause))
    remote = RemoteTraceback(text)
    remote.of, remote.causes_between = id(exc), len(seen) - 1
    suppressed = last.__suppress_context__
    object.__setattr__(last, "__cause__", remote)  # past a __setattr__ of the user's
    object.__setattr__(last, "__suppress_context__", suppressed)


def remote_traceback(exc: BaseException) -> str | None:
    """The text that was attached to it, if any."""
    seen: set[int] = set()
    cause = exc.__cause__
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, RemoteTraceback):
            return cause.text
        seen.add(id(cause))
        cause = cause.__cause__
    return None


def traceback_text(exc: BaseException, skip: tuple[str, ...] = ()) -> str:
    """What Python shows of it, without leading frames of ours and of files that start with one of
    ``skip``. Raises what code of the user's raises."""
    skip = _MACHINERY + skip
    text = traceback.TracebackException.from_exception(exc)
    root = _of_one(text, exc, skip)
    left, seen = [(text, exc)] if root is text else [], {id(text)}

    def follow(found: traceback.TracebackException, its: BaseException) -> Any:
        if id(found) in seen:
            return found
        seen.add(id(found))
        shown = _of_one(found, its, skip)
        if shown is found:
            left.append((found, its))
        return shown

    while left:
        one, raised = left.pop()
        if one.__cause__ is not None and raised.__cause__ is not None:
            one.__cause__ = follow(one.__cause__, raised.__cause__)
        if one.__context__ is not None and raised.__context__ is not None:
            one.__context__ = follow(one.__context__, raised.__context__)
        if one.exceptions and isinstance(raised, BaseExceptionGroup):
            pairs = zip(one.exceptions, raised.exceptions, strict=True)
            one.exceptions = [follow(*pair) for pair in pairs]
    return "".join(root.format())


def _of_one(
    text: traceback.TracebackException, exc: BaseException, skip: tuple[str, ...]
) -> traceback.TracebackException:
    """What is shown of one, without those that it is linked to: less, or the text of all that
    there is of it, where the most of that came from elsewhere."""
    frames = list(text.stack)
    ours = False
    while frames and (
        frames[0].filename.startswith(skip) or (ours and frames[0].filename.startswith(_LOOPS))
    ):
        frames.pop(0)
        ours = True
    text.stack = traceback.StackSummary.from_list(frames)
    told = _attached(exc)
    joined = "" if told is None else _joined(told.text, text, exc)
    return _Told(joined) if joined else text


def _attached(exc: BaseException) -> RemoteTraceback | None:
    """The remote traceback that is this one's, not that of one of its causes."""
    causes, cause = 0, exc.__cause__
    while cause is not None and not isinstance(cause, RemoteTraceback):
        if causes > _MOST_CAUSES:
            return None
        causes, cause = causes + 1, cause.__cause__
    if cause is None or (cause.of, cause.causes_between) != (id(exc), causes):
        return None
    return cause


#: How far away a remote traceback is looked for.
_MOST_CAUSES = 100


def _joined(remote: str, here: traceback.TracebackException, exc: BaseException) -> str:
    """The remote text of an exception with its frames of this process; empty where that text is
    not of the exception as it is now."""
    lines = list(here.format_exception_only())
    frames = "".join(here.stack.format())
    if here.exceptions is None:
        header, bare = _HEADER, "".join(lines[: len(lines) - _note_lines(here)])
        if isinstance(exc, RemoteError) and exc.type_name and bare not in remote:
            bare = f"{exc.type_name}: {exc.message}\n"  # which it stands for
            lines[: len(lines) - _note_lines(here)] = [bare]
        end = remote.rfind(bare)
    else:
        header, frames = f"{_GROUP}{_HEADER}", textwrap.indent(frames, "  | ")
        end = remote.find(textwrap.indent(lines[0], "  | "))
    if end < 0 or (end and remote[end - 1] != "\n"):
        return ""
    if here.exceptions is None:
        remote = remote[:end] + "".join(lines)  # with the notes that it has got since
    if not frames:
        return remote
    ends = [remote.rfind(one, 0, end) + len(one) for one in _BETWEEN if one in remote[:end]]
    begin = max(ends, default=0)
    if remote.startswith(header, begin):
        begin += len(header)
    else:
        frames = f"{header}{frames}"
    return f"{remote[:begin]}{frames}{remote[begin:]}"


def _note_lines(text: traceback.TracebackException) -> int:
    notes = getattr(text, "__notes__", None)
    if notes is None:
        return 0
    if not isinstance(notes, (list, tuple)):
        return 1
    return sum(str(note).count("\n") + 1 for note in notes)


class _Told(traceback.TracebackException):
    """A text in the place of an exception, and of all that this was linked to."""

    def __init__(self, text: str) -> None:
        self.__cause__ = self.__context__ = None
        self.__suppress_context__ = True
        self.exceptions = None
        self.stack: Any = None
        self._text = text

    def format_exception_only(self, *_: Any, **__: Any) -> Generator[str, None, None]:
        yield self._text
