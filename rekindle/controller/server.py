"""The controller put together: state read back, services bound to sockets, a clean end."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from rekindle.controller import kept
from rekindle.controller.apps import Apps
from rekindle.controller.auth import TokenInterceptor
from rekindle.controller.logs.appnames import AppNames
from rekindle.controller.logs.logbook import Logbook
from rekindle.controller.metrics.http import MetricsHttp
from rekindle.controller.metrics.metrics import Metrics
from rekindle.controller.metrics.scrape import Scrape
from rekindle.controller.metrics.settings import MetricsSettings
from rekindle.controller.nodes.agents import Agents
from rekindle.controller.nodes.gateway import AgentGateway
from rekindle.controller.nodes.orders import Orders
from rekindle.controller.pools.pool_service import PoolService
from rekindle.controller.queue.calls import Calls
from rekindle.controller.service import ControllerService
from rekindle.controller.settings import MAX_MESSAGE_BYTES, Settings
from rekindle.controller.state import Agent, Call, Function, State
from rekindle.controller.status import StatusReport
from rekindle.controller.storage.redis_link import RedisLink
from rekindle.controller.storage.registry import Registry
from rekindle.controller.storage.shrinking import Shrinking
from rekindle.controller.storage.store import QueueStore
from rekindle.controller.tasks import Tasks
from rekindle.exception import SetupError
from rekindle.paths import MAX_SOCKET_PATH
from rekindle.wire import rekindle_pb2 as pb
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


def _health_servicer() -> Any:
    # The type stubs of grpc_health lack its asyncio half.
    return health.aio.HealthServicer()  # type: ignore[attr-defined]


class ControllerServer:
    """One controller: start it, wait, stop it."""

    def __init__(
        self,
        *,
        instance_id: str,
        token: str,
        redis_url: str,
        settings: Settings,
        metrics: MetricsSettings | None = None,
        embedded: bool = False,
        blob_url: str = "",
        blob_threshold_bytes: int = 0,
    ) -> None:
        self.state = State(instance_id)
        self._settings = settings
        self._tasks = Tasks()
        self._link = RedisLink(redis_url, settings.redis_patience_s)
        self._store = QueueStore(self._link, instance_id)
        self._shrinking = Shrinking(self._link) if embedded else None
        self._metrics_settings = metrics or MetricsSettings()
        self.metrics = Metrics(self.state, self._metrics_settings)
        self._status = StatusReport(
            self.state, self._store, self._link, self.metrics, time.monotonic()
        )
        self._pooling = PoolService(self.state, self._link, self._tasks)
        self._status.pool_of = self._pooling.scaler.report
        self._scrape = Scrape(self.metrics, self.state, lambda: self._status.make(pools=False))
        self._metrics_http = MetricsHttp(self._scrape.text)
        self._registry = Registry(self._link, instance_id)
        self._logbook = Logbook(self._registry, self._tasks, settings)
        calls = self._calls = Calls(
            self.state,
            self._link,
            self._store,
            self._tasks,
            settings,
            blob_url=blob_url,
            blob_threshold_bytes=blob_threshold_bytes,
        )
        self._apps = Apps(
            self.state, self._registry, calls.cancelling, self._logbook, self._tasks, settings
        )
        self._orders = Orders(self.state, settings)
        self._agents = Agents(
            self.state,
            self._registry,
            calls.delivery,
            calls.redelivery,
            calls.reaper,
            calls.dispatcher,
            self._orders,
            self._logbook,
            self._tasks,
            settings,
        )
        self._apps.on_open = self._opened
        self._apps.close_on_agents = self._orders.close_app
        self._app_names = AppNames(self.state, self._link, settings.result_ttl_s)
        self._apps.on_closing = self._app_names.closed
        self._apps.forget_calls = calls.retention.forget
        if self._shrinking is not None:
            self._apps.on_forgotten = self._shrinking.soon
        calls.intake.on_no_agent = self._agents.missed
        calls.events.completed.append(self._completed)
        calls.events.placed_again.append(self._placed_again)
        calls.events.retried.append(lambda call: self.metrics.retried(call.function))
        self._agents.on_results = self._results
        self._agents.on_heartbeat = self._heartbeat
        self._agents.on_joined = self._pooling.scaler.joined
        calls.events.accepted.append(
            lambda function, count, params: self._pooling.scaler.accepted(function, params, count)
        )
        self._status.dead_letters = calls.letters.counts
        self._status.kept = lambda functions: kept.report(self._store, settings, functions)
        self._link.on_return = calls.redis_is_back
        self._health = _health_servicer()
        self._grpc = grpc.aio.server(interceptors=[TokenInterceptor(token)], options=_OPTIONS)
        self._add_services()

    def _add_services(self) -> None:
        service = ControllerService(
            self.state,
            self._status,
            self._scrape,
            self._apps,
            self._orders,
            self._calls.intake,
            self._calls,
            self._calls.results,
            self._logbook,
            self._app_names,
            self._pooling,
            self._settings,
        )
        gateway = AgentGateway(self._agents, self._apps, self._registry)
        for add, servicer in (
            (pb_grpc.add_ControllerServicer_to_server, service),
            (pb_grpc.add_AgentGatewayServicer_to_server, gateway),
            (health_pb2_grpc.add_HealthServicer_to_server, self._health),
        ):
            # The generated functions are not typed.
            cast(Callable[[object, grpc.aio.Server], None], add)(servicer, self._grpc)

    def _opened(self, function: Function) -> None:
        self._orders.open_function(function)
        self._pooling.scaler.opened(function)

    def _results(self, done: pb.Done) -> None:
        self.metrics.results(done)
        self._pooling.results(done)

    def _heartbeat(self, agent: Agent) -> None:
        self.metrics.heartbeat(agent)
        self._pooling.scaler.heartbeat(agent)

    def _completed(self, call: Call, statuses: Mapping[int, int], execute_ns: int) -> None:
        for status, count in statuses.items():
            self.metrics.completed(call.function.function_id, status, count)
        self._pooling.scaler.ended(call.function, call.params, sum(statuses.values()))

    def _placed_again(self, call: Call, count: int) -> None:
        for _ in range(count):
            self.metrics.placed_again(call.function)

    async def start(self, socket_path: Path | None, listen: str | None) -> int:
        """Read the state back, then serve. Returns the TCP port (0 without ``listen``).

        Raises SetupError when a socket cannot be bound, ServiceError when Redis does not answer.
        """
        self._tasks.start(self.metrics.lag.run(), "measure the loop's lag")
        if self._metrics_settings.listen:
            await self._metrics_http.start(self._metrics_settings.listen)
        await self._recover()
        self._pooling.start()
        self._calls.start()
        if self._shrinking is not None:
            self._tasks.start(self._shrinking.run(), "make redis smaller")
        if socket_path is not None:
            self._bind_socket(socket_path)
        port = 0
        if listen is not None:
            try:
                port = self._grpc.add_insecure_port(listen)
            except RuntimeError as error:
                raise SetupError(f"cannot listen on {listen}: {error}") from error
        await self._grpc.start()
        if socket_path is not None:
            socket_path.chmod(stat.S_IRUSR | stat.S_IWUSR)
        self._agents.start_waiting()
        for name in SERVICES:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        log.info("serving", extra=kv(socket=socket_path or "", listen=listen or "", port=port))
        return port

    def _bind_socket(self, path: Path) -> None:
        if len(os.fsencode(path)) > MAX_SOCKET_PATH:
            raise SetupError(
                f"the socket path {path} has {len(os.fsencode(path))} bytes, more than the "
                f"{MAX_SOCKET_PATH} that fit; choose a shorter directory (REKINDLE_HOME)"
            )
        path.unlink(missing_ok=True)  # of a controller that was killed; the lock is ours
        former = os.umask(0o177)
        try:
            self._grpc.add_insecure_port(f"unix:{path}")
        except RuntimeError as error:
            raise SetupError(f"cannot listen on {path}: {error}") from error
        finally:
            os.umask(former)

    async def _recover(self) -> None:
        """Everything that the controller before this one had."""
        await self._link.command("PING")
        self._agents.expect(await self._registry.load_agents())
        orphaned = bool(self.state.expected_agents)
        half_closed: list[str] = []
        for stored in await self._registry.load_apps():
            for known in stored.functions:
                await self._pooling.book.load(known.function_id)
            app = await self._apps.restore(stored)
            for function in app.functions.values():
                await self._calls.loader.recover(function, orphaned=orphaned)
            if stored.closed:
                half_closed.append(app.app_id)
            else:
                self._apps.start_grace(app)
                for function in app.functions.values():
                    self._calls.loader.take_more(function)
        for app_id in half_closed:
            self._tasks.start(self._apps.close(app_id), "close app")
        log.info(
            "state read back",
            extra=kv(
                apps=len(self.state.apps),
                inputs=sum(function.held for function in self.state.functions.values()),
                agents=len(self.state.expected_agents),
            ),
        )

    async def wait(self) -> None:
        """Until the server is stopped."""
        await self._grpc.wait_for_termination()

    async def stop(self) -> None:
        """End cleanly: requests get UNAVAILABLE, log lines are stored."""
        await self._health.enter_graceful_shutdown()
        await self._metrics_http.stop()
        await self._grpc.stop(_END_GRACE_S)
        try:
            async with asyncio.timeout(2.0):
                await self._logbook.flush()
                await self._pooling.flush()
        except TimeoutError:
            log.warning("log lines were not stored: redis is away")
        await self._tasks.close()
        await self._link.close()
        log.info("ended")
