"""Deployed apps: which version of each is called, and how the next one takes its place.

A version is an app of the controller, with an id, functions and queues of its own. To deploy is to
register it and then to write one field in Redis: before that all calls go to the former version,
after it to the new one. The former version is retired: it ends what it has, or gives it back to be
run by the new code ("recreate"), and is put away; its definition stays, so that it can be called by
its number and rolled back to.

A client may know a function by the id that it had in a former version. Its new calls are those of
the present version (``routed``), unless they are pinned or began there.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from rekindle.controller import names
from rekindle.controller.apps import Apps
from rekindle.controller.core import Core
from rekindle.controller.deployments import choosing, records
from rekindle.controller.deployments.records import Deployment, Version
from rekindle.controller.deployments.retiring import Retiring
from rekindle.controller.events import AppDeployed
from rekindle.controller.state import App, Function
from rekindle.controller.storage.deployment_store import DeploymentStore
from rekindle.controller.storage.registry import Registry
from rekindle.controller.storage.store import QueueStore
from rekindle.exception import ExecutionError, InvalidError, NotFoundError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

_MOST_TAG = 50

T = TypeVar("T")


@dataclass(eq=False)
class Deployments:
    """The deployed apps of an instance, by name."""

    _core: Core
    _apps: Apps
    _registry: Registry
    _store: DeploymentStore
    _calls: QueueStore
    _retiring: Retiring
    _clock: Callable[[], float] = time.time
    _known: dict[str, Deployment] = field(default_factory=dict)
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)
    _running: set[asyncio.Task[Any]] = field(default_factory=set)
    _reopening: dict[str, asyncio.Task[App]] = field(default_factory=dict)

    async def load(self) -> None:
        """What the controller before this one had; before its apps are restored."""
        for text in await self._store.load():
            deployment = Deployment.from_json(text)
            self._known[deployment.name] = deployment

    def restored(self, app: App) -> None:
        """An app was restored: what is no present version ends what it has."""
        if not app.version or app.closing:
            return
        deployment = self._known.get(app.name)
        if deployment is None or deployment.stopped or deployment.present.app_id != app.app_id:
            version = deployment.of_app(app.app_id) if deployment is not None else None
            self._retiring.begin(app, put_away=version is not None)
            if version is not None and not version.kept:
                self._core.tasks.spawn(self._forget(version), f"forget {app.app_id}")

    def all(self) -> list[Deployment]:
        """Those that there are, by name."""
        return [self._known[name] for name in sorted(self._known)]

    def kept_apps(self) -> list[str]:
        """The ids of all versions that are kept."""
        return [
            version.app_id
            for deployment in self._known.values()
            for version in deployment.versions
            if version.kept
        ]

    def find(self, wanted: str) -> Deployment:
        """By a name or the id of one of its versions. Raises NotFoundError with the nearest."""
        if wanted in self._known:
            return self._known[wanted]
        for deployment in self._known.values():
            if deployment.of_app(wanted) is not None:
                return deployment
        hint = names.nearest(wanted, self._known, "no app is deployed here (`rekindle deploy`)")
        raise NotFoundError(f"no app {wanted!r} is deployed here; {hint}")

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

        async def switch() -> pb.DeployReply:
            deployment = self._known.get(wanted.name)
            if deployment is not None:
                if deployment.of_app(wanted.app_id) is not None:  # sent again
                    return pb.DeployReply(app=self.message(deployment))
                if not deployment.stopped and deployment.present.digest == digest:
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
            return pb.DeployReply(app=self.message(await self._switch(wanted, version)))

        return await self._in_turn(wanted.name, switch)

    async def rollback(self, request: pb.RollbackRequest) -> pb.DeployReply:
        """Make the content of an older version the next one.

        Raises NotFoundError for a version that there is not, InvalidError for one that is not kept.
        """
        strategy = choosing.checked(request.strategy)
        names.check_app_id(request.app_id)
        name = self.find(request.app).name

        async def switch() -> pb.DeployReply:
            deployment = self._known[name]
            if deployment.of_app(request.app_id) is not None:  # sent again
                return pb.DeployReply(app=self.message(deployment))
            source = choosing.source(deployment, request)
            wanted = await self._content(name, source, request.app_id)
            version = dataclasses.replace(
                source,
                version=deployment.present.version + 1,
                app_id=request.app_id,
                at=self._clock(),
                strategy=strategy,
                rolled_back_to=source.version,
                kept=True,
            )
            return pb.DeployReply(app=self.message(await self._switch(wanted, version)))

        return await self._in_turn(name, switch)

    async def stop(self, wanted: str) -> pb.DeployedApp:
        """End an app; once more does nothing. Raises NotFoundError."""
        name = self.find(wanted).name

        async def end() -> pb.DeployedApp:
            deployment = self._known[name]
            if not deployment.stopped:
                deployment = dataclasses.replace(deployment, stopped=True)
                await self._keep(deployment)
                self._core.publish(AppDeployed(name))
            reason = f"the app {name!r} was stopped"
            for app in self._open_versions(name):
                await self._apps.close(app.app_id, reason, put_away=True)
            return self.message(deployment)

        return await self._in_turn(name, end)

    async def _in_turn(self, name: str, step: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """One after the other for each name, and to its end, also when the client goes."""
        lock = self._locks.setdefault(name, asyncio.Lock())

        async def run() -> T:
            async with lock:
                return await step()

        task: asyncio.Task[T] = asyncio.create_task(run(), name=f"deploy {name}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _unchanged(self, deployment: Deployment, tag: str) -> pb.DeployReply:
        if tag and tag != deployment.present.tag:
            present = dataclasses.replace(deployment.present, tag=tag)
            versions = (*deployment.versions[:-1], present)
            deployment = dataclasses.replace(deployment, versions=versions)
            await self._keep(deployment)
        return pb.DeployReply(app=self.message(deployment), unchanged=True)

    async def _switch(self, wanted: pb.RegisterAppRequest, version: Version) -> Deployment:
        """Register a version, switch to it, retire the former one."""
        name, before = wanted.name, self._known.get(wanted.name)
        handles = await self._apps.register(wanted, version.version)
        functions = {handle.name: handle.function_id for handle in handles}
        version = dataclasses.replace(version, functions=functions)
        former = before or Deployment(name=name, versions=())
        deployment, dropped = former.with_next(version)
        await self._keep(deployment)
        # No wait from here to the end of the switch.
        recreate = functions if version.strategy == "recreate" else None
        for app in self._open_versions(name):
            if not app.retired and app.app_id != version.app_id:
                self._retiring.begin(app, recreate=recreate)
        self._core.publish(AppDeployed(name))
        log.info("deployed", extra=kv(app=name, version=version.version, id=version.app_id))
        for one in dropped:
            forget = self._forget(one)
            if one.app_id in self._core.state.apps:  # it may take long to end
                self._core.tasks.spawn(forget, f"forget {one.app_id}")
            else:
                await forget
        return deployment

    async def _keep(self, deployment: Deployment) -> None:
        """What an app is from now on, in Redis first."""
        await self._store.save(deployment.name, deployment.to_json())
        self._known[deployment.name] = deployment

    def _open_versions(self, name: str) -> list[App]:
        return [app for app in self._core.state.apps.values() if app.version and app.name == name]

    async def _forget(self, version: Version) -> None:
        """Let one go that is not kept any more, once it has ended."""
        while (app := self._core.state.apps.get(version.app_id)) is not None:
            await _closed(app)
        ttl_s = self._core.settings.result_ttl_s
        await self._registry.forget_version(version.app_id, ttl_s)

    async def _content(self, name: str, source: Version, app_id: str) -> pb.RegisterAppRequest:
        """What was deployed as a version, to be deployed again under another id."""
        wanted = pb.RegisterAppRequest(app_id=app_id, name=name, tags=source.tags)
        for function, function_id in source.functions.items():
            code = await self._registry.load_code(function_id, own=True)
            if code is None:
                raise ExecutionError(f"the code of {function} in version {source.version} is gone")
            definition = code.function
            if (schedule := source.schedule(function)) is not None:
                definition.schedule.CopyFrom(schedule)
            wanted.functions.append(definition)
            if code.source.digest:
                wanted.source.CopyFrom(code.source)
        return wanted

    # ---- finding functions

    async def handle(self, request: pb.LookupRequest) -> Function:
        """The function of a deployed app by name, of its present or of a numbered version.

        Raises NotFoundError with the nearest names, ExecutionError for an app that is stopped.
        """
        deployment = self.find(request.app)
        number = request.version
        version = choosing.kept(deployment, number) if number else choosing.present(deployment)
        app = await self._open(version.app_id)
        return self._named(app, request.name, version.version)

    @asynccontextmanager
    async def routed(
        self, function_id: str, *, pinned: bool, call_id: str = ""
    ) -> AsyncIterator[Function]:
        """The function that a request for ``function_id`` is to go to, open while it is handled.

        ``call_id``: of a call that may have begun before. Raises NotFoundError, ExecutionError.
        """
        function = await self._route(function_id, pinned, call_id)
        # Not a moment between: a version that is retired is put away when nobody is here.
        function.app.visits += 1
        try:
            yield function
        finally:
            function.app.visits -= 1

    async def _route(self, function_id: str, pinned: bool, call_id: str) -> Function:
        state = self._core.state
        function = state.functions.get(function_id)
        if function is not None:
            app = function.app
            if not app.version or not (app.retired or app.closing):
                return self._apps.function(function_id)
            name, owner_app = function.name, app.name
            call = state.calls.get(call_id)
            began_here = call is not None and call.function is function
            if (pinned or began_here) and not app.closing:
                return function
            app_id = app.app_id
        else:
            owner = await self._registry.owner_of(function_id)
            if owner is None or not owner.version:
                return self._apps.function(function_id)  # raises
            name, owner_app, app_id = owner.function, owner.app, owner.app_id
        deployment = self._known.get(owner_app)
        if deployment is None:
            return self._apps.function(function_id)
        if pinned:
            if deployment.stopped:
                raise choosing.stopped(deployment)
            return await self._reopened(app_id, function_id)
        if call_id and not deployment.stopped:
            if await self._calls.call_meta(function_id, call_id) is not None:
                return await self._reopened(app_id, function_id)
            at = await self._calls.index_of(call_id)  # it may have begun in a version between
            began = await self._registry.owner_of(at.function_id) if at is not None else None
            if at is not None and began is not None:
                return await self._reopened(began.app_id, at.function_id)
        present = choosing.present(deployment)
        return self._named(await self._open(present.app_id), name, present.version)

    def _named(self, app: App, name: str, version: int) -> Function:
        known = {function.name: function for function in app.functions.values()}
        if name not in known:
            hint = names.nearest(name, known, "it has no functions")
            raise NotFoundError(
                f"version {version} of the app {app.name!r} has no function {name!r}; {hint}"
            )
        return known[name]

    async def _reopened(self, app_id: str, function_id: str) -> Function:
        app = await self._open(app_id)
        if function_id not in app.functions:
            raise NotFoundError(
                f"the version of {app.name!r} that {function_id!r} is of is not kept any more: "
                f"the newest {records.KEPT_VERSIONS} are"
            )
        return app.functions[function_id]

    async def _open(self, app_id: str) -> App:
        """A version, opened again where it was put away; it is put away when it is quiet."""
        while (app := self._core.state.apps.get(app_id)) is not None:
            if not app.closing:
                return app
            await _closed(app)
        task = self._reopening.get(app_id)
        if task is None:
            task = self._core.tasks.spawn(self._bring_back(app_id), "open a former version")
            self._reopening[app_id] = task
            task.add_done_callback(lambda _: self._reopening.pop(app_id, None))
        return await asyncio.shield(task)

    async def _bring_back(self, app_id: str) -> App:
        stored = await self._registry.load_app(app_id)
        if stored is None:
            raise NotFoundError(f"the version with the id {app_id!r} is not kept any more")
        await self._registry.bring_back(app_id, list(stored.functions))
        closed = self._core.state.closed_apps
        while app_id in closed:
            closed.remove(app_id)
        app = await self._apps.restore(stored, retired=True)
        self._retiring.begin(app, used=True)
        log.info("former version opened", extra=kv(app=app.name, version=app.version))
        return app


async def _closed(app: App) -> None:
    """Until an app is likely to be put away."""
    await app.closed.wait()
    await asyncio.sleep(0.01)  # what is left to do then takes a few ms
