"""What runners wrote to volumes with a store: sent every few seconds, and when a runner has ended.

Nothing is lost with a runner: the folder is the node's. What a store does not take is tried again
for as long as the node lives.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rekindle.exception import VolumeFileNotFoundError
from rekindle.runtime.agent.apart import apart
from rekindle.volumes.remote import Folder
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: Between two looks at what runners wrote.
EVERY_S = 5.0


@dataclass(eq=False)
class VolumePushes:
    """The folders of a node that runners may be writing to. No store keeps another one waiting."""

    _folders: dict[Folder, _Pushed] = field(default_factory=dict)

    def use(self, folders: Sequence[Folder]) -> Callable[[], None]:
        """A runner has these; what is returned says that it is gone."""
        used = [self._folders.setdefault(folder, _Pushed(folder)) for folder in folders]
        for one in used:
            one.users += 1
            if one.task is None:
                one.task = asyncio.create_task(self._push_on(one))

        def release() -> None:
            for one in used:
                one.users -= 1
                one.is_owed = True
                one.news.set()

        return release

    async def close(self, timeout_s: float) -> None:
        """Send what is left, as far as stores take it within this time."""
        left = list(self._folders.values())
        tasks = [one.task for one in left if one.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        pushes = {asyncio.create_task(one.push()): one for one in left}
        late = (await asyncio.wait(pushes, timeout=timeout_s))[1] if pushes else set()
        for push in late:  # its thread is left behind
            push.cancel()
        await asyncio.gather(*pushes, return_exceptions=True)
        for push in late:
            pushes[push].is_owed = True
            pushes[push].refused = f"its store did not take it within {timeout_s:.0f} s"
        for one in left:
            if one.is_owed:
                log.warning(
                    "volume left unsent until it is used again",
                    extra=kv(volume=one.folder.label, reason=one.refused),
                )

    async def _push_on(self, one: _Pushed) -> None:
        while one.users or one.is_owed:
            try:
                async with asyncio.timeout(EVERY_S):
                    await one.news.wait()
            except TimeoutError:
                pass  # time to look
            one.news.clear()
            if not await one.push():
                break
        del self._folders[one.folder]


@dataclass(eq=False)
class _Pushed:
    """A folder, and how it stands with its store."""

    folder: Folder
    #: Runners that have it.
    users: int = 0
    #: To be sent once more, whoever has it: a runner ended, or the store did not take all.
    is_owed: bool = False
    #: Why it could not be sent when that was tried last.
    refused: str = ""
    news: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    async def push(self) -> bool:
        """Try to send what was written; whether there is anything to be sent ever again."""
        owed, self.is_owed = self.is_owed, False  # a runner that ends from now on owes it once more
        try:
            await apart(self.folder.push)
        except VolumeFileNotFoundError as error:  # the volume
            log.info("volume not sent any more", extra=kv(reason=error))
            return False
        except asyncio.CancelledError:
            self.is_owed = owed or self.is_owed
            raise
        except Exception as error:  # noqa: BLE001 - tried again, whatever it is
            self.is_owed = True
            reason = str(error) or type(error).__name__
            if self.refused != reason:
                log.warning("volume not sent", extra=kv(volume=self.folder.label, reason=reason))
            self.refused = reason
        else:
            if self.refused:
                log.info("volume sent after all", extra=kv(volume=self.folder.label))
            self.refused = ""
        return True
