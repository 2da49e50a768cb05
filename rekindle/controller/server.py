"""A controller as a server: state read back, services bound to sockets, a clean end."""

from __future__ import annotations

import asyncio
import logging
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from rekindle import freed_memory
from rekindle.controller import instance
from rekindle.controller.auth import TokenInterceptor
from rekindle.controller.listening import private_socket
from rekindle.controller.metrics.http import MetricsHttp
from rekindle.controller.nodes.gateway import AgentGateway
from rekindle.controller.objects.server import ObjectServer
from rekindle.controller.request_server import RequestServer
from rekindle.controller.service import ControllerService
from rekindle.controller.settings import MAX_MESSAGE_BYTES
from rekindle.controller.state import App
from rekindle.controller.storage import emptied, keeping, keys, tables
from rekindle.controller.storage.redis_link import FOREVER, RefusedError
from rekindle.controller.wiring import Config, Parts
from rekindle.exception import InvalidError, ServiceError, SetupError
from rekindle.guarded_loops import Retries
from rekindle.paths import objects_socket, requests_socket
from rekindle.wire import rekindle_pb2_grpc as pb_grpc
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

SERVICES = ("", "rekindle.v1.Controller", "rekindle.v1.AgentGateway")

_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_time_ms", 10_000),  # a peer that vanished without a word is noticed
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
]
_END_GRACE_S = 0.5
#: A Redis of the user's is there when a controller starts, or comes in so long.
_REDIS_AT_START_S = 5.0
_REWRITE_PATIENCE_S = 2.0


class RedisAwayError(ServiceError):
    """The Redis that an instance was given does not answer when its controller starts."""


class ControllerServer:
    """One controller: start it, wait, stop it."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._rewrites = Retries(
            log, "append-only file is not written anew", "append-only file is written anew"
        )
        self._parts = Parts(config)
        self._objects = ObjectServer(self._parts.objects, config.token)
        self._metrics_http = MetricsHttp(self._parts.scrape.text)
        # The type stubs of grpc_health lack its asyncio half.
        self._health: Any = health.aio.HealthServicer()  # type: ignore[attr-defined]
        interceptors = [TokenInterceptor(config.token)]
        self._grpc = grpc.aio.server(interceptors=interceptors, options=_OPTIONS)
        parts = self._parts
        service = ControllerService(parts)
        self._requests = RequestServer(service, config.token)
        gateway = AgentGateway(
            *(parts.agents, parts.inbox, parts.apps, parts.registry, parts.secrets, parts.behind)
        )
        for add, servicer in (
            (pb_grpc.add_ControllerServicer_to_server, service),
            (pb_grpc.add_AgentGatewayServicer_to_server, gateway),
            (health_pb2_grpc.add_HealthServicer_to_server, self._health),
        ):
            # The generated functions are not typed.
            cast(Callable[[object, grpc.aio.Server], None], add)(servicer, self._grpc)

    async def start(self, socket_path: Path | None, listen: str | None) -> int:
        """Read the state back, then serve. Returns the TCP port (0 without ``listen``).

        Raises SetupError when a socket cannot be bound, ServiceError when Redis does not answer;
        RedisAwayError soon, where that is not the instance's own; DamagedTableError.
        """
        parts = self._parts
        parts.core.tasks.spawn(parts.metrics.lag.run(), "measure the loop's lag")
        parts.core.tasks.spawn(freed_memory.give_back_forever(), "give freed memory back")
        if self._config.metrics_listen:
            await self._metrics_http.start(self._config.metrics_listen)
        await self._recover()
        parts.start()
        if socket_path is not None:
            await self._objects.start(objects_socket(socket_path.parent))
            await self._requests.start(requests_socket(socket_path.parent))
        if socket_path is not None:
            with private_socket(socket_path):
                self._grpc.add_insecure_port(f"unix:{socket_path}")
        port = 0
        if listen is not None:
            try:
                port = self._grpc.add_insecure_port(listen)
            except RuntimeError as error:
                raise SetupError(f"cannot listen on {listen}: {error}") from error
        await self._grpc.start()
        if socket_path is not None:
            socket_path.chmod(stat.S_IRUSR | stat.S_IWUSR)
        parts.agents.start_waiting()
        for name in SERVICES:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        log.info("serving", extra=kv(socket=socket_path or "", listen=listen or "", port=port))
        return port

    async def _recover(self) -> None:
        """Everything that the controller before this one had."""
        parts = self._parts
        state = parts.core.state
        await self._find_redis()
        await tables.check(parts.link, state.instance_id, FOREVER)
        await parts.registry.note_protocol()
        parts.agents.expect(await parts.agent_store.load())
        orphaned = bool(state.expected_agents)
        half_closed: list[tuple[App, str]] = []
        taken_down = instance.was_taken_down(self._config.directory)
        await parts.deployed.load()
        for stored in await parts.registry.load_apps():
            for function_id in stored.functions:
                await parts.pools.book.load(function_id)
            app = await parts.apps.restore(stored)
            for function in app.functions.values():
                await parts.loader.recover(function, orphaned=orphaned)
            if stored.closed:
                half_closed.append((app, ""))
            elif taken_down and app.ephemeral and not app.detached:
                # Its program has ended. Durable before the note of it goes (below).
                await parts.registry.mark_closing(app.app_id)
                half_closed.append((app, f"the instance was taken down while {app.name!r} ran"))
            else:
                parts.deployments.restored(app)
                parts.apps.start_grace(app)
                for function in app.functions.values():
                    parts.loader.load_more(function)
        parts.deployments.go_on()
        await parts.schedules.load()
        await parts.environments.listed()  # what is damaged of them, and of secrets, is told of
        instance.note_back(self._config.directory)
        for app, reason in half_closed:
            put_away = parts.deployments.keeps(app)
            closing = parts.apps.close(app.app_id, reason, put_away=put_away)
            parts.core.tasks.spawn(closing, "close app")
        log.info(
            "state read back",
            extra=kv(
                apps=len(state.apps),
                inputs=sum(function.held for function in state.functions.values()),
                agents=len(state.expected_agents),
            ),
        )

    async def _find_redis(self) -> None:
        link = self._parts.link
        if self._config.embedded:  # it is just coming up, or reads what it had
            await link.command("PING", durable=True)
            return
        await self._answers("PING")
        try:
            info = await link.command("INFO", patience_s=_REDIS_AT_START_S)
        except RefusedError:  # its user may not ask
            info = {}
        if info.get("cluster_enabled"):
            raise InvalidError(
                f"the Redis at {link.shown_url} (REKINDLE_REDIS_URL) is a node of a cluster, over "
                f"which what belongs together cannot lie: name a server that is in none"
            )
        if by := keeping.evicts(info):
            raise InvalidError(
                f"the Redis at {link.shown_url} (REKINDLE_REDIS_URL) gives up keys when its memory "
                f"is full ({by}), and what is queued with them: set `maxmemory-policy noeviction` "
                f"there, or name another server"
            )
        if reason := keeping.may_lose(info):
            log.warning("what is queued may be lost", extra=kv(url=link.shown_url, reason=reason))
        # A write that changes nothing: a replica takes none.
        await self._answers("PERSIST", keys.protocol(self._config.instance_id))

    async def _answers(self, *command: str) -> None:
        link = self._parts.link
        try:
            await link.command(*command, patience_s=_REDIS_AT_START_S, durable=True)
        except RefusedError:
            raise
        except ServiceError as error:
            raise RedisAwayError(
                f"the Redis at {link.shown_url} (REKINDLE_REDIS_URL) cannot be used: "
                f"{error.__cause__ or error}; see that it runs and can be reached from here"
            ) from error

    def relies_on(self, unsafe: Callable[[], str]) -> None:
        """``unsafe`` says why what Redis writes may not be on disk, empty while it is.

        Nothing is acknowledged as durable meanwhile.
        """
        self._parts.link.distrust(unsafe)

    def write_file_anew(self) -> None:
        """Have Redis write its append-only file from what it has in memory, in the background."""

        async def ask() -> None:
            try:
                await self._parts.link.command("BGREWRITEAOF", patience_s=_REWRITE_PATIENCE_S)
            except ServiceError as error:  # asked again while it is wanted
                self._rewrites.failed(error)
            else:
                self._rewrites.worked()

        self._parts.core.tasks.spawn(ask(), "have the append-only file written anew")

    async def until_emptied(self) -> None:
        """Until what it has written is gone from Redis: it is to end. Raises EmptiedError."""
        parts = self._parts
        every_s = parts.core.settings.reap_s
        await emptied.watch(parts.link, self._config.instance_id, every_s)

    async def wait(self) -> None:
        """Until the server is stopped."""
        await self._grpc.wait_for_termination()

    async def stop(self) -> None:
        """End cleanly: requests get UNAVAILABLE, log lines are stored."""
        self._parts.deployments.end()  # before agents are gone that would try what is deployed
        await self._health.enter_graceful_shutdown()
        await self._metrics_http.stop()
        await self._objects.stop()
        await self._requests.stop()
        await self._grpc.stop(_END_GRACE_S)
        try:
            async with asyncio.timeout(2.0):
                await self._parts.logbook.flush()
                await self._parts.pools.flush()
                await self._parts.call_times.count()
        except TimeoutError:
            log.warning("log lines were not stored: redis is away")
        except ServiceError as error:  # the rest has to end all the same
            log.warning("not all was stored", extra=kv(reason=error))
        await self._parts.core.tasks.cancel()
        await self._parts.link.close()
        log.info("ended")
