"""Apps: registered, held, closed. Closing cancels what is queued and stops what runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

from rekindle.controller import names
from rekindle.controller.core import Core
from rekindle.controller.events import AppForgotten, FunctionOpened
from rekindle.controller.logs.appnames import AppNames
from rekindle.controller.logs.logbook import Logbook
from rekindle.controller.nodes.orders import Orders
from rekindle.controller.objects.named_secrets import NamedSecrets
from rekindle.controller.queue.canceller import Canceller
from rekindle.controller.queue.retention import Retention
from rekindle.controller.state import App, Function
from rekindle.controller.storage.records import StoredApp, StoredVariant
from rekindle.controller.storage.registry import Registry
from rekindle.exception import ExecutionError, InvalidError, NotFoundError
from rekindle.wire import functionid
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.logs import kv
from rekindle.wire.messages import spec_of
from rekindle.wire.spec import FunctionSpec

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Apps:
    """The apps that are open at this controller."""

    _core: Core
    _registry: Registry
    _logbook: Logbook
    _app_names: AppNames
    _orders: Orders
    _canceller: Canceller
    _retention: Retention
    _secrets: NamedSecrets

    async def register(
        self, request: pb.RegisterAppRequest, version: int = 0
    ) -> list[pb.FunctionHandle]:
        """Keep an app and its functions. The same request again changes nothing.

        ``version``: of a deployed app (deployments/), which alone may have no functions.
        """
        names.check_app_id(request.app_id)
        known = self._core.state.apps.get(request.app_id)
        ends = known is not None and (known.closing or known.retired)
        if ends or request.app_id in self._core.state.closed_apps:
            raise ExecutionError(f"the app {request.name!r} was closed; make a new id to run it")
        functions: dict[str, tuple[FunctionSpec, pb.FunctionDef]] = {}
        for definition in request.functions:
            spec = spec_of(definition.spec)
            if not (spec.name and spec.app_name):
                raise InvalidError("a function of the app has no name")
            functions[functionid.of(spec.revision(), request.app_id)] = (spec, definition)
            await self._secrets.check(definition.named_secrets)
        await self._registry.save_app(request, functions, version)
        app = await self._open(request.app_id, request.name, request.ephemeral)
        app.version, app.detached = version, request.detached
        app.on_trial = version > 0  # until it is switched to (deployments/)
        for function_id, (spec, _) in functions.items():
            self._add(app, function_id, spec)
        self.start_grace(app)  # a client that dies before it holds its app
        log.info(
            "app registered",
            extra=kv(
                app=app.app_id, name=app.name, functions=len(functions), ephemeral=app.ephemeral
            ),
        )
        return [
            pb.FunctionHandle(name=spec.name, function_id=function_id)
            for function_id, (spec, _) in functions.items()
        ]

    async def restore(self, stored: StoredApp, *, retired: bool = False) -> App:
        """An app that the controller before this one had, or one that was put away.

        ``retired``: it takes calls only of who asks for it.
        """
        app = await self._open(stored.app_id, stored.name, stored.ephemeral, again=True)
        app.version, app.detached, app.retired = stored.version, stored.detached, retired
        for function_id, spec in stored.functions.items():
            self._add(app, function_id, spec)
        return app

    async def _open(self, app_id: str, name: str, ephemeral: bool, *, again: bool = False) -> App:
        await self._logbook.open(app_id, again=again)
        app = self._core.state.apps.get(app_id)
        if app is None:
            app = self._core.state.apps[app_id] = App(app_id, name, ephemeral)
        return app

    def _add(self, app: App, function_id: str, spec: FunctionSpec) -> None:
        if (known := app.functions.pop(function_id, None)) is not None:
            app.functions[function_id] = known  # of several of a name, the last is meant (lookup)
            return
        function = Function(function_id, spec.name, app, spec)
        app.functions[function_id] = function
        self._core.state.functions[function_id] = function
        self._core.publish(FunctionOpened(function))

    async def add_variant(
        self,
        app: App,
        function_id: str,
        variant: StoredVariant,
        definition: pb.FunctionDef,
        source: pb.SourceBundle,
    ) -> Function:
        """Keep one function more of an app that is open (variants.py). Raises as ``register``."""
        spec = spec_of(definition.spec)
        await self._secrets.check(definition.named_secrets)
        request = pb.RegisterAppRequest(
            app_id=app.app_id,
            name=app.name,
            ephemeral=app.ephemeral,
            detached=app.detached,
            source=source,
        )
        functions = {function_id: (spec, definition)}
        await self._registry.save_app(request, functions, app.version, {function_id: variant})
        self._add(app, function_id, spec)
        return app.functions[function_id]

    def function(self, function_id: str) -> Function:
        """An open function by its id.

        Raises NotFoundError with the nearest names; ExecutionError when its app is closed.
        """
        function = self._core.state.functions.get(function_id)
        if function is not None and not function.app.closing:
            return function
        if function is not None:
            raise ExecutionError(f"the app {function.app.name!r} is closed; run it again")
        self.check_damage(function_id)
        tail = function_id.rsplit("-", 1)[-1]
        if any(app_id.endswith(tail) for app_id in self._core.state.closed_apps if len(tail) == 8):
            raise ExecutionError(
                f"the app of {function_id!r} is closed or was deleted; run it, or deploy it, again"
            )
        known = [f.label for f in self._core.state.functions.values()]
        hint = names.nearest(
            function_id, [*known, *self._core.state.functions], "no function is registered"
        )
        raise NotFoundError(f"no function {function_id!r} here; {hint}")

    def lookup(self, app_id: str, name: str) -> Function:
        """A function of an app by its name. Raises NotFoundError with the nearest names."""
        app = self.app(app_id)
        known = {function.name: function for function in app.functions.values()}
        if name not in known:
            self.check_damaged_name(app, name)
            declared = [one for one in known if not one.endswith("]")]  # the others are variants
            hint = names.nearest(name, declared, "it has no functions")
            raise NotFoundError(f"the app {app.name!r} has no function {name!r}; {hint}")
        return known[name]

    def app(self, app_id: str) -> App:
        """An open app by its id. Raises NotFoundError with the nearest names."""
        app = self._core.state.apps.get(app_id)
        if app is not None:
            return app
        self._registry.damage.check("app", app_id)
        known = [*self._core.state.apps, *(app.name for app in self._core.state.apps.values())]
        hint = names.nearest(app_id, known, "no app is open")
        closed = "is closed" if app_id in self._core.state.closed_apps else "does not exist here"
        raise NotFoundError(f"the app {app_id!r} {closed}; {hint}")

    def check_damage(self, function_id: str) -> None:
        """Raise InternalFailure for a function that cannot be read, or whose app cannot."""
        damage = self._registry.damage
        damage.check("function", function_id)
        for one in damage.of("app"):
            if functionid.is_of_app(function_id, one.record.name):
                raise one.error()

    def check_damaged_name(self, app: App, name: str) -> None:
        """The same for one that has this name, or may have it."""
        for one in self._registry.damage.of("function", app=app.app_id):
            if one.record.label in ("", f"{app.name}.{name}"):
                raise one.error()

    # ---- holding

    async def hold(self, app_id: str) -> AsyncIterator[pb.HoldAppEvent]:
        """Keep an ephemeral app open while this iterator lives; ends when the app is closed."""
        app = self.app(app_id)
        app.holders += 1
        _stop_grace(app)
        try:
            yield pb.HoldAppEvent(message="held")
            await app.closed.wait()
            yield pb.HoldAppEvent(message="closed")
        finally:
            app.holders -= 1
            self.start_grace(app)

    def start_grace(self, app: App) -> None:
        """Close an ephemeral app unless a client holds it soon."""
        if app.ephemeral and not app.holders and not app.closing:
            _stop_grace(app)
            loop = asyncio.get_running_loop()
            app.grace = loop.call_later(self._core.settings.hold_grace_s, self._grace_over, app)

    def _grace_over(self, app: App) -> None:
        app.grace = None
        if app.detached and (app.accepting or any(one.undone for one in app.functions.values())):
            self.start_grace(app)
        elif not app.holders and not app.closing:
            log.info("no client holds the app", extra=kv(app=app.app_id, name=app.name))
            work = self.close(app.app_id, f"the program that ran {app.name!r} is gone")
            self._core.tasks.spawn(work, "close app")

    # ---- closing

    async def close(self, app_id: str, reason: str = "", *, put_away: bool = False) -> None:
        """Close an app: queued inputs are cancelled, runners stopped. Once more does nothing,
        or goes on where Redis refused a command of it.

        ``put_away``: its definition stays, so that it can be opened again.
        """
        app = self._core.state.apps.get(app_id)
        if app is None:
            return
        async with app.being_closed:
            if self._core.state.apps.get(app_id) is not app:
                return
            app.closing = True
            _stop_grace(app)
            await self._close(app, reason or f"the app {app.name!r} was closed", put_away)

    async def _close(self, app: App, reason: str, put_away: bool) -> None:
        app_id = app.app_id
        await self._registry.mark_closing(app_id)
        while app.accepting:
            app.quiet.clear()
            await app.quiet.wait()
        for function in app.functions.values():
            await self._canceller.function(function, reason)
        if app_id not in self._core.state.closed_apps:
            self._core.state.closed_apps.append(app_id)
        await self._orders.close_app(app_id)
        await asyncio.gather(self._logbook.flush(), self._app_names.closed(app))
        app.closed.set()
        for call in list(self._core.state.calls.values()):  # streams end, also without a last input
            if call.function.app is app:
                call.wake_watchers()
        await self._retention.forget(app)
        let_go = self._registry.put_away if put_away else self._registry.forget_app
        await let_go(app_id, list(app.functions), self._core.settings.result_ttl_s)
        for function_id in app.functions:
            self._core.state.functions.pop(function_id, None)
        for agent in self._core.state.agents.values():
            agent.known_functions.difference_update(app.functions)
        self._core.state.apps.pop(app_id, None)
        self._logbook.close(app_id)
        self._core.publish(AppForgotten())
        log.info("app closed", extra=kv(app=app_id, name=app.name, reason=reason))


def _stop_grace(app: App) -> None:
    if app.grace is not None:
        app.grace.cancel()
        app.grace = None
