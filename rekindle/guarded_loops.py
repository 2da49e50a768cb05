"""What daemons do again and again: a pass that fails is logged, and the next one comes as ever.

Nobody awaits such a loop: an error that ended it would stay unseen, and what it does would not be
done any more. What fails for good is tried ever more seldom, and logged once. Knows nothing of what
is done.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: After a pass that failed the next one comes no sooner.
_AFTER_FAILURE_S = 1.0
#: Errors of one type about one thing are logged so often: what fails now may fail with every pass.
_LOGGED_EVERY_S = 60.0
#: What differs from try to try in the text of one cause: for how long it has lasted, say.
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


@dataclass(eq=False)
class Guard:
    """Of one thing that is done again and again."""

    #: What that is, for the log.
    _name: str
    #: Whether the last pass failed.
    failed: bool = False
    #: Type of error, and what it was about -> when one was logged last, in monotonic seconds. Only
    #: of the last while: what passes are about comes and goes.
    _logged_at: dict[tuple[type[Exception], str], float] = field(default_factory=dict)

    @contextmanager
    def one_pass(self, **about: object) -> Iterator[None]:
        """What is raised within is logged, with ``about``, and goes no further."""
        self.failed = False
        try:
            yield
        except Exception as error:
            self.failed = True
            now, which = time.monotonic(), (type(error), repr(about))
            since = now - _LOGGED_EVERY_S
            self._logged_at = {one: at for one, at in self._logged_at.items() if at > since}
            if which not in self._logged_at:
                self._logged_at[which] = now
                log.exception("a pass failed; the next one comes", extra=kv(of=self._name, **about))


async def repeat(name: str, one_pass: Callable[[], Awaitable[object]]) -> None:
    """Pass after pass, each of which waits for its time itself; until cancelled."""
    guard = Guard(name)
    while True:
        with guard.one_pass():
            await one_pass()
        if guard.failed:
            await asyncio.sleep(_AFTER_FAILURE_S)


@dataclass(eq=False)
class Retries:
    """Of one thing that is tried until it works.

    The log has each cause once, and that it works again.
    """

    _log: logging.Logger
    #: What is said where it does not work yet, and where it does.
    _not_yet: str
    _again: str
    first_s: float = 1.0
    longest_s: float = 30.0
    _wait_s: float = 0.0
    _causes: set[str] = field(default_factory=set)

    def failed(self, reason: object, **about: object) -> float:
        """It did not work; how long to wait before the next try, in seconds."""
        cause = _NUMBER.sub("", str(reason))
        if cause not in self._causes:
            self._causes.add(cause)
            self._log.warning(self._not_yet, extra=kv(reason=reason, **about))
        self._wait_s = min(max(self.first_s, 2 * self._wait_s), self.longest_s)
        return self._wait_s

    def worked(self, **about: object) -> None:
        """It did."""
        if self._causes:
            self._causes.clear()
            self._log.info(self._again, extra=kv(**about))
        self._wait_s = 0.0
