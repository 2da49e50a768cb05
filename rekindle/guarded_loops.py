"""What daemons do again and again: a pass that fails is logged, and the next one comes as ever.

Nobody awaits such a loop: an error that ended it would stay unseen, and what it does would not be
done any more. Knows nothing of what that is.
"""

from __future__ import annotations

import asyncio
import logging
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
