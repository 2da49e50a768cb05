"""Finds functions of deployed apps: of the present version, of a numbered one, of one that ended.

A client may know a function by the id that it had in a former version. Its new calls are those of
the present version (``routed``), unless they are pinned or began there; where it is a variant's, of
the same variant of the present version, which is made for them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from rekindle.controller import names
from rekindle.controller.apps import Apps
from rekindle.controller.core import Core
from rekindle.controller.deployments import choosing, records
from rekindle.controller.deployments.deployment_book import DeploymentBook
from rekindle.controller.deployments.retirement import Retirement
from rekindle.controller.state import App, Function
from rekindle.controller.storage.call_store import CallStore
from rekindle.controller.storage.registry import Registry
from rekindle.controller.variants import Variants
from rekindle.exception import NotFoundError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)


@dataclass(eq=False)
class FunctionFinder:
    """Finds functions, and opens the versions that they are of."""

    _core: Core
    _apps: Apps
    _registry: Registry
    book: DeploymentBook
    _calls: CallStore
    _retirement: Retirement
    _variants: Variants
    _reopening: dict[str, asyncio.Task[App]] = field(default_factory=dict)

    async def handle(self, request: pb.LookupRequest) -> Function:
        """The function of a deployed app by name, of its present or of a numbered version.

        Raises NotFoundError with the nearest names, ExecutionError for an app that is stopped.
        """
        deployment = self.book.find(request.app)
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
            name, owner_app, is_variant = function.name, app.name, bool(function.spec.variant)
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
            is_variant = owner.variant is not None
        # By its id first: a rename that was broken off has given it another name.
        deployment = self.book.of_version(app_id, owner_app) or self.book.known.get(owner_app)
        if deployment is None:
            self.book.check_damage(owner_app)
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
        app = await self._open(present.app_id)
        if not is_variant:
            return self._named(app, name, present.version)
        app.visits += 1  # it is not put away meanwhile
        try:
            return await self._same_variant(app, function_id, present.version)
        finally:
            app.visits -= 1

    async def _same_variant(self, app: App, function_id: str, version: int) -> Function:
        """What of an open version is what a function of a former one is, which may be a variant."""
        owner = await self._registry.owner_of(function_id)
        if owner is None:
            raise NotFoundError(
                f"what {function_id!r} is a variant of is not kept any more; make the variant again"
            )
        if owner.variant is None:
            return self._named(app, owner.function, version)
        base = await self._same_variant(app, owner.variant.of, version)
        return await self._variants.again(function_id, owner.variant, base)

    def _named(self, app: App, name: str, version: int) -> Function:
        known = {function.name: function for function in app.functions.values()}
        if name not in known:
            self._apps.check_damaged_name(app, name)
            declared = [one for one in known if not one.endswith("]")]  # the others are variants
            hint = names.nearest(name, declared, "it has no functions")
            if name.endswith("]"):
                hint = "what that variant was made from is not kept any more; make it again"
            raise NotFoundError(
                f"version {version} of the app {app.name!r} has no function {name!r}; {hint}"
            )
        return known[name]

    async def _reopened(self, app_id: str, function_id: str) -> Function:
        app = await self._open(app_id)
        if function_id not in app.functions:
            self._apps.check_damage(function_id)
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
            await until_put_away(app)
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
        self._retirement.begin(app, used=True)
        log.info("former version opened", extra=kv(app=app.name, version=app.version))
        return app


async def until_put_away(app: App) -> None:
    """Until an app is likely to be put away."""
    await app.closed.wait()
    await asyncio.sleep(0.01)  # what is left to do then takes a few ms
