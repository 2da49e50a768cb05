"""Deployed apps: which version of each is called, and how the next one takes its place.

A version is an app of the controller, with an id, functions and queues of its own. To deploy is to
register it and then to write one field in Redis: before that all calls go to the former version,
after it to the new one. What is not switched to yet, and whose program has gone, is dropped
(pending_deploys.py). The former version is retired: it ends what it has, or gives it back to be
run by the new code ("recreate"), and is put away; its definition stays, so that it can be called by
its number and rolled back to.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from rekindle.controller import names
from rekindle.controller.apps import Apps
from rekindle.controller.core import Core
from rekindle.controller.deployments import choosing, other_pythons, records
from rekindle.controller.deployments.contents import Contents
from rekindle.controller.deployments.deployment_book import DeploymentBook
from rekindle.controller.deployments.first_start import FirstStart
from rekindle.controller.deployments.pending_deploys import PendingDeploy, PendingDeploys
from rekindle.controller.deployments.records import Deployment, Version
from rekindle.controller.deployments.retirement import Retirement
from rekindle.controller.deployments.turns import Turns
from rekindle.controller.events import AppDeployed
from rekindle.controller.nodes.orders import Orders
from rekindle.controller.state import App
from rekindle.exception import InvalidError, StartError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.callid import new_app_id
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

_MOST_TAG = 50

T = TypeVar("T")


@dataclass(eq=False)
class Deployments:
    """The deployed apps of an instance, by name."""

    _core: Core
    _apps: Apps
    _contents: Contents
    book: DeploymentBook
    _first_start: FirstStart
    _retirement: Retirement
    _pending: PendingDeploys
    _orders: Orders
    _clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        self._turns = Turns(self._core.tasks)

    def restored(self, app: App) -> None:
        """An app was restored: what is no present version ends what it has."""
        if not app.version or app.closing:
            return
        if self.book.is_damaged(app.name):  # it may be the present one: it goes on as it is
            return
        deployment = self.book.of_version(app.app_id, app.name)
        version = deployment.of_app(app.app_id) if deployment is not None else None
        if deployment is not None:  # a rename that was broken off has given it another
            app.name = deployment.name
        if deployment is None or version is None:  # it was not switched to
            app.on_trial = True
            self._core.tasks.spawn(self._drop_later(app), f"drop {app.app_id}")
        elif deployment.stopped or deployment.present is not version:
            by = deployment.recreated_by(version)
            self._retirement.begin(app, recreate=by.functions if by is not None else None)
            if not version.kept:
                self._core.tasks.spawn(self._contents.forget(version), f"forget {app.app_id}")

    def keeps(self, app: App) -> bool:
        """Whether an app that ends is put away: it is a version, or may be one."""
        is_one = self.book.of_version(app.app_id, app.name) is not None
        return app.version > 0 and (is_one or self.book.is_damaged(app.name))

    def go_on(self) -> None:
        """All apps were restored: what the controller before this one was to let go goes."""
        for deployment in self.book.known.values():
            for version in [one for one in deployment.versions if not one.kept][-1:]:
                if version.app_id not in self._core.state.apps:  # else once it has ended
                    forget = self._contents.forget_rest(version)
                    self._core.tasks.spawn(forget, f"forget {version.app_id}")

    async def _drop_later(self, app: App) -> None:
        """End it, unless its program asks for it again soon."""
        await asyncio.sleep(self._core.settings.hold_grace_s)

        async def drop() -> None:
            if not self._pending.is_pending(app.app_id):  # else it is that one's to end it
                await self._drop(app.name, app.app_id)

        await self._turns.take(app.name, drop)  # or it would be made a version while it ends

    async def _drop(self, name: str, app_id: str) -> None:
        """End what was registered, unless it was made a version. In its name's turn."""
        deployment = self.book.known.get(name)
        if deployment is None or not deployment.is_version(app_id):
            await self._apps.close(app_id, "it was not made a version")

    def message(self, deployment: Deployment) -> pb.DeployedApp:
        """As clients see it."""
        open_ids = [
            one.app_id
            for one in deployment.versions
            if (app := self._core.state.apps.get(one.app_id)) is not None and app.retired
        ]
        return deployment.message(open_ids)

    # ---- deploying

    async def deploy(self, request: pb.DeployRequest) -> pb.DeployReply:
        """Make a version the present one. Raises InvalidError for what cannot be deployed."""
        wanted = request.app
        strategy = choosing.checked(request.strategy)
        names.check_app_id(wanted.app_id)
        if not wanted.name:
            raise InvalidError("an app needs a name to be deployed")
        if len(request.tag) > _MOST_TAG:
            raise InvalidError(f"the tag {request.tag!r} has more than {_MOST_TAG} characters")
        wanted.ephemeral = wanted.detached = False
        digest = records.digest_of(wanted)

        async def switch(pending: PendingDeploy) -> pb.DeployReply:
            self.book.check_damage(wanted.name)  # it would be written over
            deployment = self.book.known.get(wanted.name)
            if deployment is not None:
                if deployment.is_version(wanted.app_id):  # sent again
                    return pb.DeployReply(app=self.message(deployment))
                present = deployment.present
                same = present.digest == digest and present.tags == dict(wanted.tags)
                if same and not deployment.stopped:
                    return await self._unchanged(deployment, request.tag)
            version = Version(
                version=deployment.present.version + 1 if deployment is not None else 1,
                app_id=wanted.app_id,
                at=self._clock(),
                digest=digest,
                tag=request.tag,
                strategy=strategy,
                schedules=records.schedules_of(wanted),
                tags=dict(wanted.tags),
            )
            return await self._switch(wanted, version, pending)

        return await self._made_once(wanted.name, wanted.app_id, switch)

    async def rollback(
        self, request: pb.RollbackRequest, *, first_start: bool = True
    ) -> pb.DeployReply:
        """Make the content of an older version the next one; ``first_start``: once that starts.

        Raises NotFoundError for a version that there is not, InvalidError for one that is not kept.
        """
        strategy = choosing.checked(request.strategy)
        names.check_app_id(request.app_id)
        name = self.book.find(request.app).name

        async def switch(pending: PendingDeploy) -> pb.DeployReply:
            deployment = self.book.find(name)  # it may be gone since
            if deployment.is_version(request.app_id):  # sent again
                return pb.DeployReply(app=self.message(deployment))
            source = choosing.source(deployment, request)
            wanted = await self._contents.read(name, source, request.app_id)
            version = dataclasses.replace(
                source,
                version=deployment.present.version + 1,
                app_id=request.app_id,
                at=self._clock(),
                strategy=strategy,
                digest=records.digest_of(wanted),
                rolled_back_to=source.version,
                kept=True,
            )
            return await self._switch(wanted, version, pending, first_start=first_start)

        return await self._made_once(name, request.app_id, switch)

    def end(self) -> None:
        """The controller ends: of what is being deployed, nothing goes live any more."""
        self._pending.end()

    async def give_up(self, app_id: str) -> pb.GiveUpDeployReply:
        """Make a version no more, as its program gives it up; whether it was made before that."""
        await self._pending.give_up(app_id)
        deployment = self.book.of_version(app_id)
        if deployment is None or (version := deployment.of_app(app_id)) is None:
            return pb.GiveUpDeployReply()
        return pb.GiveUpDeployReply(live=True, version=version.version)

    async def stop(self, wanted: str) -> pb.DeployedApp:
        """End an app; once more does nothing. Raises NotFoundError, ServiceError."""
        name = self.book.find(wanted).name
        why = f"the app {name!r} was stopped meanwhile, so this version of it was not made"
        self._pending.give_up_all(name, why)

        async def end() -> pb.DeployedApp:
            deployment = self.book.find(name)
            if not deployment.stopped:
                deployment = dataclasses.replace(deployment, stopped=True)
                await self.book.keep(deployment, patience_s=None)
                self._core.publish(AppDeployed(name, ""))
            reason = f"the app {name!r} was stopped"
            for app in self._open_versions(name):
                put_away = deployment.is_version(app.app_id)
                await self._apps.close(app.app_id, reason, put_away=put_away)
            return self.message(deployment)

        return await self._turns.take(name, end)

    async def set_tags(self, wanted: str, tags: dict[str, str]) -> pb.DeployedApp:
        """Have the present version have these. Raises NotFoundError, ServiceError."""
        name = self.book.find(wanted).name

        async def change() -> pb.DeployedApp:
            return self.message(await self._change(self.book.find(name), tags=tags))

        return await self._turns.take(name, change)

    # ---- environments

    async def rename(self, name: str, new_name: str) -> None:
        """Have an app, with its versions, be called otherwise. Once more does nothing.

        Its runners know the former name: ``roll_over`` replaces them.
        """

        async def move() -> None:
            deployment = self.book.known.get(name)
            if deployment is None:
                return
            await self._contents.rename(deployment, new_name)
            await self.book.rename(name, dataclasses.replace(deployment, name=new_name))
            for app in self._open_versions(name):
                app.name = new_name

        await self._turns.take(name, move)

    async def roll_over(self, name: str) -> None:
        """Make the present version of an app the next one, whether it starts or not."""
        if not self.book.known[name].stopped:
            again = pb.RollbackRequest(app=name, same=True, app_id=new_app_id())
            await self.rollback(again, first_start=False)

    async def forget(
        self, name: str, before: Callable[[Deployment], Coroutine[Any, Any, T]], *, stop: bool
    ) -> T:
        """Have no app of a name any more, nor anything of its versions; what ``before`` gives,
        which is called first, in the same turn, and may raise.

        ``stop``: it is ended before. Raises NotFoundError.
        """
        if stop:
            await self.stop(name)

        async def remove() -> T:
            deployment = self.book.find(name)
            value = await before(deployment)
            for version in deployment.versions:
                if version.kept:
                    await self._contents.forget(version)
            await self.book.forget(name)
            return value

        return await self._turns.take(name, remove)

    async def _made_once(
        self, name: str, app_id: str, switch: Callable[[PendingDeploy], Coroutine[Any, Any, T]]
    ) -> T:
        """A switch, once for each id, for as long as its program waits for it.

        Of what is made no version of, nothing is left.
        """

        async def made(pending: PendingDeploy) -> T:
            async def step() -> T:
                try:
                    pending.check()
                    value = await switch(pending)
                except Exception as error:
                    why = kv(app=name, id=app_id, error=repr(error))
                    log.info("no version was made", extra=why)
                    await self._drop(name, app_id)
                    raise
                await self._drop(name, app_id)  # nothing was new, and a crash had left it
                return value

            return await self._turns.take(name, step)

        return await self._pending.make(name, app_id, made)

    async def _unchanged(self, deployment: Deployment, tag: str) -> pb.DeployReply:
        if tag and tag != deployment.present.tag:
            deployment = await self._change(deployment, tag=tag)
        return pb.DeployReply(app=self.message(deployment), unchanged=True)

    async def _change(self, deployment: Deployment, **of_version: Any) -> Deployment:
        """The same with something else said of its present version, and that stored."""
        present = dataclasses.replace(deployment.present, **of_version)
        made = dataclasses.replace(deployment, versions=(*deployment.versions[:-1], present))
        await self.book.keep(made, patience_s=None)
        return made

    async def _switch(
        self,
        wanted: pb.RegisterAppRequest,
        version: Version,
        pending: PendingDeploy,
        *,
        first_start: bool = True,
    ) -> pb.DeployReply:
        """Register a version, switch to it once it starts, retire the former one.

        Raises StartError where it does not, and a version is there that is called; GivenUpError
        where nobody waits for it any more.
        """
        name, before = wanted.name, self.book.known.get(wanted.name)
        handles = await self._apps.register(wanted, version.version)
        functions = {handle.name: handle.function_id for handle in handles}
        app = self._core.state.apps[version.app_id]
        notes = await pending.while_wanted(other_pythons.notes_on(self._orders, app))
        rolls = first_start and version.strategy == "rolling"
        if rolls and before is not None and not before.stopped:
            notes += await pending.while_wanted(self._started(version, before.present))
        await pending.go_live()
        version = dataclasses.replace(version, functions=functions, at=self._clock())
        former = before or Deployment(name=name, versions=())
        deployment, dropped = former.with_next(version)
        await self.book.keep(deployment)
        # No wait from here to the end of the switch.
        self._core.state.apps[version.app_id].on_trial = False
        recreate = functions if version.strategy == "recreate" else None
        retired = []
        for app in self._open_versions(name):
            if self._pending.is_pending(app.app_id):
                continue  # this one; another has its turn after it
            if not app.retired:
                put_away = deployment.is_version(app.app_id)
                self._retirement.begin(app, recreate=recreate, put_away=put_away)
                retired.append(app)
        self._core.publish(AppDeployed(name, version.app_id))
        await self._retirement.heard_of(retired)  # what is called after this is the new version
        log.info("deployed", extra=kv(app=name, version=version.version, id=version.app_id))
        for one in dropped:
            forget = self._contents.forget(one)
            if one.app_id in self._core.state.apps:  # it may take long to end
                self._core.tasks.spawn(forget, f"forget {one.app_id}")
            else:
                await forget
        return pb.DeployReply(app=self.message(deployment), notes=notes)

    async def _started(self, version: Version, present: Version) -> list[str]:
        """A version that was registered starts; notes on what could not be tried.

        Raises StartError where it does not.
        """
        apps = self._core.state.apps
        app = apps[version.app_id]
        try:
            return await self._first_start.of(app, apps.get(present.app_id))
        except StartError as error:
            raise StartError(
                f"{app.name}, version {version.version}, does not start, so version "
                f"{present.version} stays: {error}. (strategy='recreate' replaces it all the same.)"
            ) from None

    def _open_versions(self, name: str) -> list[App]:
        return [app for app in self._core.state.apps.values() if app.version and app.name == name]
