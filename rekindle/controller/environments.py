"""Environments: name spaces of apps, secrets, Dicts and Queues. Volumes lie on nodes, and
are no business of the controller's.

An environment is there when it was created, or when something lies in it: a name is enough to put
something there. The default one is always there; names of apps in it have no prefix.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from functools import partial

from rekindle.controller import names
from rekindle.controller.apps import Apps
from rekindle.controller.deployments.deletion import Deletion
from rekindle.controller.deployments.deployments import Deployments
from rekindle.controller.objects.catalog import Catalog
from rekindle.controller.objects.named_secrets import NamedSecrets
from rekindle.controller.schedules.scheduler import Scheduler
from rekindle.controller.state import State
from rekindle.controller.storage import keys
from rekindle.controller.storage.damage import Damage, Record, text
from rekindle.controller.storage.redis_link import Command, RedisLink
from rekindle.controller.storage.typed import checked
from rekindle.exception import AlreadyExistsError, InvalidError, NotFoundError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.environment import DEFAULT_ENVIRONMENT, in_environment, split_name

_KIND = "environment"


@dataclass(frozen=True)
class _Made:
    """What is kept of an environment. ``renamed_from``: while it is being renamed."""

    created: float  # seconds since the epoch; 0: it came to be with what lies in it
    renamed_from: str = ""


@dataclass(eq=False)
class Environments:
    """All of an instance."""

    _state: State
    _link: RedisLink
    _apps: Apps
    _deployments: Deployments
    _schedules: Scheduler
    _deletion: Deletion
    _secrets: NamedSecrets
    _catalog: Catalog
    _damage: Damage
    _changing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def listed(self) -> list[pb.EnvironmentInfo]:
        """All that there are, by name, the default one first."""
        made = await self._made()
        apps = Counter(split_name(one)[0] for one in self._app_names())
        secrets = Counter(one.environment for one in await self._secrets.listed(""))
        objects = self._catalog.environments()
        damaged = {one.record.name for one in self._damage.of(_KIND)}
        known = {*made, *damaged, *apps, *secrets, *(where for _, where in objects)}
        known -= {DEFAULT_ENVIRONMENT}
        return [
            pb.EnvironmentInfo(
                name=name,
                created=made[name].created if name in made else 0.0,
                apps=apps[name],
                secrets=secrets[name],
                dicts=objects["dict", name],
                queues=objects["queue", name],
            )
            for name in (DEFAULT_ENVIRONMENT, *sorted(known))
        ]

    async def create(self, name: str) -> pb.EnvironmentInfo:
        """One with nothing in it. Raises AlreadyExistsError, InvalidError."""
        names.check_object_name(name)
        async with self._changing:
            if name in {one.name for one in await self.listed()}:
                raise AlreadyExistsError(f"there is an environment {name!r} already")
            await self._keep(name, _Made(time.time()))
        return await self._there(name)

    async def delete(self, name: str) -> pb.EnvironmentInfo:
        """End and remove all that is in one; what that was. Raises NotFoundError, InvalidError."""
        _check_not_default(name, "deleted")
        async with self._changing:
            found = await self._there(name)
            self._check_damage(name)
            for deployed in self._deployed_in(name):
                await self._deletion.stop_and_delete(deployed)
            for app in list(self._state.apps.values()):
                if split_name(app.name)[0] == name:
                    await self._apps.close(app.app_id, f"the environment {name!r} was deleted")
            await self._secrets.forget_environment(name)
            await self._catalog.forget_environment(name)
            await self._link.command("HDEL", self._key, name, durable=True)
        return found

    async def rename(self, name: str, new_name: str) -> pb.EnvironmentInfo:
        """Call one otherwise, with all that is in it; deployed apps get new runners.

        Programs that run an app in it keep that until they end. One that was broken off goes on
        where it was. Raises NotFoundError, AlreadyExistsError, InvalidError.
        """
        _check_not_default(name, "renamed")
        names.check_object_name(new_name)
        async with self._changing:
            made = await self._made()
            self._check_damage(name)
            self._check_damage(new_name)
            broken_off = new_name in made and made[new_name].renamed_from == name
            if not broken_off:
                found = await self._there(name)
                if new_name in {one.name for one in await self.listed()}:
                    raise AlreadyExistsError(f"there is an environment {new_name!r} already")
                await self._keep(new_name, _Made(found.created, name))
            await self._secrets.rename_environment(name, new_name)
            await self._catalog.rename_environment(name, new_name)
            for deployed in self._deployed_in(name):
                moved = in_environment(new_name, split_name(deployed)[1])
                await self._schedules.rename(deployed, moved)
                await self._deployments.rename(deployed, moved)
                await self._schedules.renamed(deployed, moved)
            # Those of a rename that was broken off, too.
            for deployed in self._deployed_in(new_name):
                await self._deployments.roll_over(deployed)
            made_again = _Made((await self._made())[new_name].created)
            await self._keep(new_name, made_again, in_place_of=name)
        return await self._there(new_name)

    # ---- what there is

    @property
    def _key(self) -> str:
        return keys.environments(self._state.instance_id)

    async def _made(self) -> dict[str, _Made]:
        raw: dict[bytes, bytes] = await self._link.command("HGETALL", self._key)
        made = {}
        for name, kept in raw.items():
            record = Record(_KIND, text(name), self._key, name)
            if (one := self._damage.read(record, partial(_read, kept))) is not None:
                made[record.name] = one
        return made

    def _check_damage(self, name: str) -> None:
        """Raise InternalFailure where something cannot be read that lies in an environment, or may.

        It would be left behind.
        """
        self._damage.check(_KIND, name)
        for kind, split in (("deployment", split_name), ("secret", _split_place)):
            for one in self._damage.of(kind):
                if split(one.record.name)[0] == name:
                    raise one.error()
        for one in (*self._damage.of("Dict"), *self._damage.of("Queue")):
            raise one.error()

    async def _keep(self, name: str, made: _Made, *, in_place_of: str = "") -> None:
        commands: list[Command] = [("HSET", self._key, name, json.dumps(asdict(made)))]
        if in_place_of:
            commands.append(("HDEL", self._key, in_place_of))
        await self._link.commands(commands, durable=True, atomic=True)

    def _app_names(self) -> set[str]:
        """Apps that are deployed, or run, as the instance knows them."""
        deployed = {one.name for one in self._deployments.book.all()}
        return deployed | {app.name for app in self._state.apps.values() if not app.version}

    def _deployed_in(self, name: str) -> list[str]:
        known = [one.name for one in self._deployments.book.all()]
        return [one for one in known if split_name(one)[0] == name]

    async def _there(self, name: str) -> pb.EnvironmentInfo:
        known = {one.name: one for one in await self.listed()}
        if name not in known:
            hint = names.nearest(name, known, "")
            raise NotFoundError(f"there is no environment {name!r}; {hint}")
        return known[name]


def _read(kept: bytes) -> _Made:
    made: _Made = checked(_Made(**json.loads(kept)))
    return made


def _split_place(place: str) -> tuple[str, str]:
    environment, _, name = place.partition("/")
    return environment, name


def _check_not_default(name: str, done: str) -> None:
    if name == DEFAULT_ENVIRONMENT:
        raise InvalidError(f"the environment {name!r} is always there; it cannot be {done}")
