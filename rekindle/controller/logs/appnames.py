"""Apps by name or id, also closed ones, for as long as their log is kept."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from functools import partial

from rekindle.controller import names
from rekindle.controller.state import App, State
from rekindle.controller.storage import keys
from rekindle.controller.storage.damage import Damage, Record, text
from rekindle.controller.storage.redis_link import FOREVER, Command, RedisLink
from rekindle.exception import InvalidError, NotFoundError

#: More closed apps than this are not remembered by name; the oldest are forgotten first.
_MOST = 2000


class AppNames:
    """Finds apps. What is closed is kept in one hash of the instance."""

    def __init__(self, state: State, link: RedisLink, kept_s: int, damage: Damage) -> None:
        self._state = state
        self._damage = damage
        self._link = link
        self._key = keys.closed_apps(state.instance_id)
        self._kept_s = kept_s

    async def closed(self, app: App) -> None:
        """Remember an app that closes."""
        kept = json.dumps({"name": app.name, "closed": time.time()})
        await self._link.command("HSET", self._key, app.app_id, kept, patience_s=FOREVER)
        known = await self._load()
        since = time.time() - self._kept_s
        old = [app_id for app_id, (_, closed) in known.items() if closed < since]
        spare = sorted(known, key=lambda app_id: known[app_id][1])[: max(0, len(known) - _MOST)]
        gone = {*old, *spare}
        if gone:
            await self._link.command("HDEL", self._key, *gone, patience_s=FOREVER)

    async def forget(self, app_ids: Sequence[str]) -> None:
        """Apps are gone for good, and their log lines with them."""
        if app_ids:
            await self._link.command("HDEL", self._key, *app_ids, patience_s=FOREVER)
            lines: list[Command] = [("UNLINK", keys.logs(app_id)) for app_id in app_ids]
            await self._link.commands(lines, patience_s=FOREVER)

    async def find(self, wanted: str) -> str:
        """The id of the app of a name or an id: an open one, else the one that closed last.

        Raises InvalidError when several open apps have the name, NotFoundError with the nearest
        names when there is none.
        """
        apps = self._state.apps
        if wanted in apps:
            return wanted
        of_name = [app.app_id for app in apps.values() if app.name == wanted]
        present = [one for one in of_name if apps[one].version and not apps[one].retired]
        if present:  # of an app that is deployed, its present version
            return present[0]
        of_name = [one for one in of_name if not apps[one].retired]
        if len(of_name) > 1:
            raise InvalidError(
                f"{len(of_name)} open apps are called {wanted!r}: {', '.join(of_name)}; "
                f"name one by its id"
            )
        if of_name:
            return of_name[0]
        known = await self._load()
        if wanted in known:
            return wanted
        closed = [app_id for app_id, (name, _) in known.items() if name == wanted]
        if closed:
            return max(closed, key=lambda app_id: known[app_id][1])
        near = {app.name for app in apps.values()} | {name for name, _ in known.values()}
        self._damage.check("closed app", wanted)
        ids = [*apps, *known] if wanted.startswith("ap-") else []
        hint = names.nearest(wanted, ids or near, "no app has a log here")
        raise NotFoundError(f"no app {wanted!r} is open or has a log that is kept; {hint}")

    async def _load(self) -> dict[str, tuple[str, float]]:
        raw: dict[bytes, bytes] = await self._link.command("HGETALL", self._key)
        known = {}
        for app_id, kept in raw.items():
            record = Record("closed app", text(app_id), self._key, app_id)
            if (one := self._damage.read(record, partial(_read, kept))) is not None:
                known[record.name] = one
        return known


def _read(kept: bytes) -> tuple[str, float]:
    fields = json.loads(kept)
    return str(fields["name"]), float(fields["closed"])
