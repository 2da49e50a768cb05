"""What is tried again when a controller was lost, and until when. Knows nothing of requests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rekindle import lazily
from rekindle.exception import ConnectionError
from rekindle.sdk.connection.patience import why_ended

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = lazily.module("asyncio")


class BrokenError(Exception):
    """The connection broke while a stream was read."""


class Patience:
    """Waits between attempts; gives up when a controller was away for too long at a stretch."""

    #: An attempt that lasted longer than this had a controller; the count starts again.
    _CONTACT_S = 2.0

    def __init__(
        self,
        total_s: float,
        instance: Path,
        alive: Callable[[], bool],
        why_ended: Callable[[], str],
    ) -> None:
        self._total_s = total_s
        self._instance = instance
        self._alive = alive
        self._why_ended = why_ended
        self._away_since: float | None = None
        self._last = 0.0
        self._delay_s = 0.02

    async def wait(self) -> None:
        """Sleep before the next attempt.

        Raises ConnectionError when the time is over, or when no one restarts the controller.
        """
        over = why_ended(self._instance)
        if over or not self._alive():
            killed = "the process that kept it up (its supervisor) was killed"
            raise ConnectionError(
                f"the instance in {self._instance} has ended while it was in use: "
                f"{self._why_ended() or over or killed}"
            ) from None
        now = asyncio.get_running_loop().time()
        if self._away_since is None or now - self._last > self._CONTACT_S:
            self._away_since, self._delay_s = now, 0.02
        if now - self._away_since >= self._total_s:
            raise ConnectionError(_no_answer(self._instance, self._total_s)) from None
        await asyncio.sleep(min(self._delay_s, self._away_since + self._total_s - now))
        self._delay_s = min(self._delay_s * 2, 0.5)
        self._last = asyncio.get_running_loop().time()


def _no_answer(instance: Path, total_s: float) -> str:
    """Why, as far as its log says it."""
    from rekindle.sdk.local import directory  # most programs do without

    said = directory.tail(instance, "controller", lines=3)
    why = f"its log, {instance}/logs/controller.log, ends:\n{said}" if said else "it left no log"
    return (
        f"no controller answers at {instance}, and none has for {total_s:g} s; where nothing "
        f"serves there any more, `rekindle up` starts one; {why}"
    )
