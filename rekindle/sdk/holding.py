"""An app that runs here, at its controller: made known, kept open, closed.

Over a link (connection/link.py), where the controller takes one: most programs need nothing else of
it. Where it takes none, or the link is lost, by gRPC, which outlives restarts of the controller.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from rekindle import lazily
from rekindle.exception import Error
from rekindle.sdk.connection.background import background
from rekindle.sdk.connection.link import Answer, Link, LostError, Stream
from rekindle.sdk.connection.slow_answers import in_words
from rekindle.sdk.local import announcing
from rekindle.wire.request_frames import MAX_FRAME_BYTES
from rekindle.wire.version import PROTOCOL, __version__

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future

    from rekindle.sdk.connection.client import Client
    from rekindle.sdk.running import RunningApp
else:
    asyncio = lazily.module("asyncio")

#: Closing an app waits for what is interrupted (5 s), and for exit hooks (30 s).
_CLOSE_S = 40.0
#: Meanwhile the controller is asked so often whether it waits for Redis, which may take for ever.
_ASK_S = 4.0
#: The field of its answer that says so.
_WAITS = "redis_waits"
#: What goes on in the background for as long as an app runs.
_HOLD = "keep the app open at its controller"
_HELLO = {"protocol": PROTOCOL, "version": __version__}


class Holding:
    """Of one app."""

    _app: RunningApp

    def __init__(self, client: Client) -> None:
        self._client = client
        self._link: Link | None = None
        self._hello: Answer | None = None
        self._hold: Future[Any] | None = None
        self._over = False
        self._told = False

    def greet(self) -> None:
        """Ask the controller who it is, where it takes a link; ``begin`` reads its answer."""
        self._link = link = Link.open(self._client.instance, self._client.token())
        if link is None:
            return
        try:
            self._hello = link.ask("Hello", _HELLO)
        except LostError:
            self._leave_link()

    def begin(self, app: RunningApp, form: dict[str, Any]) -> None:
        """Make it known and keep it open. Raises what the controller answers, ConnectionError.

        ``form``: the fields of its registration.
        """
        self._app = app
        try:
            if not self._begin_by_link(form):
                self._begin_by_grpc(form)
        except BaseException:
            self.let_go()
            raise

    def close(self, *, detach: bool) -> None:
        """Have the controller close it, and show what its runners still print.

        ``detach``: it goes on without this program.
        """
        self._over = True
        if not (self._close_by_link(detach) or detach):
            background().run(self._close_by_grpc())
        elif detach and self._hold is not None and self._app.logs is not None:
            background().run(self._app.logs.stop())

    def let_go(self) -> None:
        """Hold it no more: it ends by itself where it was not closed."""
        self._over = True
        self._leave_link()
        if self._hold is not None:
            self._hold.cancel()
            self._hold = None

    # ---- over a link

    def _begin_by_link(self, form: dict[str, Any]) -> bool:
        app = self._app
        if _size(form) > MAX_FRAME_BYTES // 2:
            self._leave_link()
            return False
        if self._link is None:
            self.greet()
        link, hello = self._link, self._hello
        if link is None or hello is None:
            return False
        try:
            reply = hello.wait()
            app.client.greeted(
                *(int(reply.get("protocol", 0)), reply.get("version", "")),
                *(reply.get("blob_url", ""), int(reply.get("blob_threshold_bytes", 0))),
            )
            link.on_silent = self._ask_why
            answer = link.ask("RegisterApp", form)
            _import_for_calls()
            handles = answer.wait().get("functions", ())
            app.function_ids = app.client.registered(
                (one["name"], one["function_id"], one.get("node_token", "")) for one in handles
            )
            if app.logs is not None:
                app.logs.follow_by(link)
            link.on_lost = self._go_on_by_grpc
            link.follow("HoldApp", {"app_id": app.app_id}, Stream(_ignore, _ignore))
        except LostError:
            self._leave_link()
            return False  # a registration that is made again changes nothing
        return True

    def _ask_why(self) -> None:
        """The app is not registered yet: tell for what the controller waits, once it says so."""
        if self._link is not None and not self._told:
            with contextlib.suppress(LostError):  # who waits for the answer finds that out
                self._link.ask_aside("Hello", _HELLO, self._tell_why)

    def _tell_why(self, reply: dict[str, Any]) -> None:
        if (waits := reply.get(_WAITS)) and not self._told:
            self._told = True
            announcing.say(in_words(waits), stays=True)

    def _leave_link(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def _go_on_by_grpc(self) -> None:
        """The controller has gone: it comes back, or the client says why not."""
        app = self._app
        if app.logs is not None:
            app.logs.link_lost()
        if self._over:
            return
        self._hold = background().spawn(app.client.hold(app.app_id), _HOLD)
        if app.logs is not None:
            background().spawn(app.logs.start(), "show output")

    def _close_by_link(self, detach: bool) -> bool:
        """Whether it is done."""
        link, logs = self._link, self._app.logs
        if link is None or self._hold is not None:
            return False
        if detach:
            return True
        try:
            self._app.client.report_taken()
            answer = link.ask("CloseApp", {"app_id": self._app.app_id})
            for _ in range(round(_CLOSE_S / _ASK_S)):
                answer.wait(_ASK_S)
                if answer.done.is_set() or link.ask("Hello", _HELLO).wait(_ASK_S).get(_WAITS):
                    break
            if logs is not None and answer.done.is_set():
                logs.wait_drained()
        except LostError:
            return False
        except Error:
            pass  # the controller closes an app that no one holds, and says so in its log
        return True

    # ---- by gRPC

    def _begin_by_grpc(self, form: dict[str, Any]) -> None:
        registering = background().start(self._register(form))
        try:
            _import_for_calls()
            registering.result()
        except BaseException:
            registering.cancel()
            raise
        self._hold = background().spawn(self._app.client.hold(self._app.app_id), _HOLD)

    async def _register(self, form: dict[str, Any]) -> None:
        from rekindle.wire import rekindle_pb2 as pb

        app = self._app
        await app.client.hello()
        app.function_ids = await app.client.register(pb.RegisterAppRequest(**form))
        if app.logs is not None:
            await app.logs.start()

    async def _close_by_grpc(self) -> None:
        app = self._app
        try:
            async with asyncio.timeout(_CLOSE_S):
                closing = asyncio.ensure_future(app.client.close_app(app.app_id))
                try:
                    if not await self._is_closed(closing):
                        return
                finally:
                    closing.cancel()
                if app.logs is not None:
                    await app.logs.drain()
        except (Error, TimeoutError):
            return  # as above

    async def _is_closed(self, closing: asyncio.Future[None]) -> bool:
        """Wait for it; False where the controller waits for something itself."""
        while not (await asyncio.wait((closing,), timeout=_ASK_S))[0]:
            if await self._app.client.what_it_waits_for():
                return False
        closing.result()
        return True


def _import_for_calls() -> None:
    """Load what the first call will need, on a thread that has nothing else to do."""
    with lazily.loading():
        from rekindle.sdk.calls import invoke  # noqa: F401


def _size(form: dict[str, Any]) -> int:
    """What is large of it: code and the bundle."""
    code = sum(len(one["code"]) for one in form["functions"])
    return code + len(form["source"]["data"] if form["source"] else b"")


def _ignore(_what: object) -> None:
    """That it is held, and that it was closed."""
