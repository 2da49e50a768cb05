"""Retires versions that are no longer the present one: each ends what it has, and is put away.

Its runners stay as long as inputs are running or calls are open; agents take back what is leased
after the call that runs. Nothing of it is cancelled.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rekindle.controller.apps import Apps
from rekindle.controller.core import Core
from rekindle.controller.nodes.orders import Orders
from rekindle.controller.state import App
from rekindle.controller.storage.queue_store import QueueStore
from rekindle.controller.storage.redis_link import FOREVER
from rekindle.controller.storage.version_store import VersionStore
from rekindle.exception import ServiceError
from rekindle.guarded_loops import Retries
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: How often a version that ends is looked at: soon at first, less often when it takes long.
_LOOK_S, _SELDOM_S = 0.02, 1.0
#: A former version that was called by its number is put away when it was not called for this long.
_USED_S = 60.0


@dataclass(eq=False)
class Retirement:
    """Ends versions in the background."""

    _core: Core
    _apps: Apps
    _orders: Orders
    _versions: VersionStore
    _store: QueueStore

    def begin(
        self,
        app: App,
        *,
        recreate: Mapping[str, str] | None = None,
        used: bool = False,
        put_away: bool = True,
    ) -> None:
        """A version takes no more calls, but those that are meant for it.

        ``recreate``: the functions of the new version, name -> id: what runs is stopped, and runs
        again by their code. ``used``: it was opened to be called, and stays for a while after that.
        Not ``put_away``: nothing of it is kept.
        """
        app.retired = True
        self._core.tasks.spawn(self._end(app, recreate, used, put_away), f"end {app.app_id}")

    async def heard_of(self, apps: Iterable[App]) -> None:
        """Return when no client of any agent begins a call of retired versions any more."""
        await asyncio.gather(*(self._orders.retire_app(app.app_id) for app in apps))

    async def _end(
        self, app: App, recreate: Mapping[str, str] | None, used: bool, put_away: bool
    ) -> None:
        retries = Retries(log, "a version does not end yet", "a version ends now")
        while not app.closing:
            try:
                if recreate is not None:
                    await self._recreate(app, recreate)
                    recreate = None
                if used:
                    await self._until_quiet(app, _USED_S)
                await self._orders.close_app(app.app_id, drain=True)
                # Redis has the last word on what is undone.
                undone = any(await self._store.depth(list(app.functions), patience_s=FOREVER))
                if undone or not self._is_quiet(app):
                    await self._until_quiet(app)
                    await asyncio.sleep(_LOOK_S)
                    continue
                log.info("version ends", extra=kv(app=app.name, version=app.version))
                break
            except ServiceError as error:
                await _wait(retries, app, error)
        while self._core.state.apps.get(app.app_id) is app:
            try:
                await self._apps.close(app.app_id, put_away=put_away)
            except ServiceError as error:
                await _wait(retries, app, error)
        retries.worked(app=app.name, version=app.version)

    async def _recreate(self, app: App, functions: Mapping[str, str]) -> None:
        """Once; also where a controller before this one did not come to its end."""
        if await self._versions.was_recreated(app.app_id):
            return
        same = {
            one.function_id: functions[one.name]
            for one in app.functions.values()
            if one.name in functions
        }
        await self._versions.run_code_of(same)
        while self._core.state.expected_agents:  # after a restart: they come with what runs
            await asyncio.sleep(_LOOK_S)
        await self._orders.close_app(app.app_id, recreate=True)
        await self._versions.note_recreated(app.app_id)

    async def _until_quiet(self, app: App, for_s: float = 0.0) -> None:
        loop = asyncio.get_running_loop()
        since, look_s = loop.time(), _LOOK_S
        while not app.closing:
            if not self._is_quiet(app):
                since = loop.time()
            elif loop.time() - since >= for_s:
                return
            await asyncio.sleep(look_s)
            look_s = min(2 * look_s, _SELDOM_S)

    def _is_quiet(self, app: App) -> bool:
        """Whether nobody asks for it, nothing of it is undone, and no results are being read."""
        if app.visits or app.accepting or any(one.undone for one in app.functions.values()):
            return False
        return not any(call.function.app is app for call in self._core.state.calls.values())


async def _wait(retries: Retries, app: App, error: ServiceError) -> None:
    await asyncio.sleep(retries.failed(error, app=app.name, version=app.version))
