"""Checks ids that peers send, and finds the nearest names to one that does not exist."""

from __future__ import annotations

import difflib
import re
import time
from collections.abc import Iterable

from rekindle.exception import InvalidError, NotFoundError, OutputExpiredError
from rekindle.wire.callid import made_at

_TAIL = r"[0-9A-Za-z_-]{4,64}"
_APP = re.compile(rf"ap-{_TAIL}")
_OBJECT = re.compile(r"[A-Za-z0-9._-]{1,64}")
_CALL = re.compile(rf"fc-{_TAIL}")


def check_app_id(app_id: str) -> None:
    """Raise InvalidError unless ``app_id`` has the form of one (it becomes part of keys)."""
    if not _APP.fullmatch(app_id):
        raise InvalidError(f"{app_id!r} is not an app id (ap- and 4 to 64 letters or digits)")


def check_object_name(name: str) -> None:
    """Raise InvalidError unless ``name`` may be that of a Dict or Queue, or of an environment."""
    if not _OBJECT.fullmatch(name):
        raise InvalidError(f"{name!r} is no name: 1 to 64 letters, digits, '.', '-' and '_'")


def check_call_id(call_id: str) -> None:
    """Raise InvalidError unless ``call_id`` has the form of one."""
    if not _CALL.fullmatch(call_id):
        raise InvalidError(f"{call_id!r} is not a call id (fc- and 4 to 64 letters or digits)")


def unknown_call(call_id: str, kept_s: float) -> OutputExpiredError | NotFoundError:
    """What to say of a call that is not known, where results are kept for so many seconds."""
    made = made_at(call_id)
    if made is not None and time.time() - made > kept_s:
        return OutputExpiredError(
            f"the results of call {call_id!r} are gone: it was made "
            f"{(time.time() - made) / 86_400:.1f} days ago, and results are kept for "
            f"{kept_s / 86_400:.1f} days (REKINDLE_RESULT_TTL_S)"
        )
    return NotFoundError(
        f"no call {call_id!r}: it was not submitted here, its results were kept for their time "
        f"(REKINDLE_RESULT_TTL_S) and are gone, or Redis was emptied since"
    )


def nearest(wanted: str, known: Iterable[str], none: str) -> str:
    """The clause that goes behind "there is no X": the nearest of ``known``, or all when few."""
    names = sorted(set(known))
    if not names:
        return none
    close = difflib.get_close_matches(wanted, names, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(name) for name in close) + "?"
    shown = ", ".join(repr(name) for name in names[:8])
    return f"known are {shown}" + (f" and {len(names) - 8} more" if len(names) > 8 else "")
