"""The one place where the parts of a controller are put together, and what each event leads to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import assert_never

from rekindle.controller.apps import Apps
from rekindle.controller.core import Core
from rekindle.controller.deployments.contents import Contents
from rekindle.controller.deployments.deletion import Deletion
from rekindle.controller.deployments.deployment_book import DeploymentBook
from rekindle.controller.deployments.deployments import Deployments
from rekindle.controller.deployments.first_start import FirstStart
from rekindle.controller.deployments.function_finder import FunctionFinder
from rekindle.controller.deployments.pending_deploys import PendingDeploys
from rekindle.controller.deployments.retirement import Retirement
from rekindle.controller.environments import Environments
from rekindle.controller.events import (
    AgentJoined,
    AgentLost,
    AppDeployed,
    AppForgotten,
    BlobsReleased,
    CallerMissing,
    CallOver,
    Event,
    FunctionOpened,
    HeartbeatReceived,
    InputRetried,
    InputsAccepted,
    InputsCompleted,
    InputsRedelivered,
    RedisReturned,
    ResultsReceived,
    RoomFreed,
)
from rekindle.controller.logs.appnames import AppNames
from rekindle.controller.logs.logbook import Logbook
from rekindle.controller.metrics.metrics import Metrics
from rekindle.controller.metrics.scrape import Scrape
from rekindle.controller.nodes.agents import Agents
from rekindle.controller.nodes.inbox import AgentInbox
from rekindle.controller.nodes.leasing import Leasing
from rekindle.controller.nodes.orders import Orders
from rekindle.controller.objects.key_rotation import KeyRotation
from rekindle.controller.objects.named_secrets import NamedSecrets
from rekindle.controller.objects.service import ObjectService
from rekindle.controller.objects.vault import Vault
from rekindle.controller.pools.pool_service import PoolService
from rekindle.controller.queue.blob_keeper import BlobKeeper
from rekindle.controller.queue.call_times import CallTimes
from rekindle.controller.queue.canceller import Canceller
from rekindle.controller.queue.completion import Completer
from rekindle.controller.queue.dead_letters import DeadLetters
from rekindle.controller.queue.dispatcher import Dispatcher
from rekindle.controller.queue.finalizer import Finalizer
from rekindle.controller.queue.intake import Intake
from rekindle.controller.queue.nested import NestedCallBook
from rekindle.controller.queue.reaper import Reaper
from rekindle.controller.queue.redelivery import Redelivery
from rekindle.controller.queue.result_intake import ResultIntake
from rekindle.controller.queue.results import ResultStreams
from rekindle.controller.queue.retention import Retention
from rekindle.controller.queue.stream_loader import StreamLoader
from rekindle.controller.queue.table import InputTable
from rekindle.controller.schedules.report import ScheduleReport
from rekindle.controller.schedules.scheduler import Scheduler
from rekindle.controller.settings import Settings
from rekindle.controller.state import State
from rekindle.controller.status import StatusReport
from rekindle.controller.storage import tables
from rekindle.controller.storage.agent_store import AgentStore
from rekindle.controller.storage.call_store import CallStore
from rekindle.controller.storage.damage import Damage
from rekindle.controller.storage.deployment_store import DeploymentStore
from rekindle.controller.storage.letter_store import LetterStore
from rekindle.controller.storage.log_store import LogStore
from rekindle.controller.storage.queue_store import QueueStore
from rekindle.controller.storage.redis_link import RedisLink
from rekindle.controller.storage.registry import Registry
from rekindle.controller.storage.schedule_store import ScheduleStore
from rekindle.controller.storage.shrinking import Shrinking
from rekindle.controller.storage.version_store import VersionStore
from rekindle.controller.variants import Variants
from rekindle.exception import Error


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What a controller is started with."""

    directory: Path
    instance_id: str
    token: str = field(repr=False)
    redis_url: str
    embedded: bool  # whether Redis is the instance's own
    settings: Settings
    metrics_listen: str  # host:port where metrics are served over HTTP; "": nowhere
    blob_url: str
    blob_threshold_bytes: int
    #: Keys that stored secrets are sealed with; made when it is needed first.
    secrets_key_file: Path
    #: Whether the instance has an agent of its own, which is started again when it dies.
    own_agent: bool = False
    #: Whether programs may reach Dict and Queue in Redis without the controller between.
    direct_objects: bool = True


class Parts:
    """A controller without its sockets: all parts, each made from those that it needs."""

    def __init__(self, config: Config) -> None:
        settings = config.settings
        self.config = config
        state = State(config.instance_id)
        core = self.core = Core(state, settings)
        # Storage
        link = self.link = RedisLink(
            config.redis_url,
            settings.redis_patience_s,
            on_return=lambda: core.publish(RedisReturned()),
        )
        store = QueueStore(link)
        damage = self.damage = Damage(link, config.instance_id)
        calls = CallStore(link, config.instance_id, damage)
        letter_store = LetterStore(link, config.instance_id, damage)
        vault = Vault(config.secrets_key_file)
        self.registry = Registry(link, config.instance_id, vault, damage)
        versions = VersionStore(link, self.registry)
        self.deployed = DeploymentBook(DeploymentStore(link, config.instance_id), damage)
        self.agent_store = AgentStore(link, config.instance_id, damage)
        self.shrinking = Shrinking(link) if config.embedded else None
        # Inputs, from the table up
        table = InputTable(settings.lease_margin_s)
        dispatcher = self.dispatcher = Dispatcher(core, table)
        times = self.call_times = CallTimes(core, calls)
        completer = Completer(core, store, letter_store, table, times)
        finalizer = Finalizer(table, dispatcher, completer)
        loader = self.loader = StreamLoader(*(core, store, table, dispatcher, finalizer), damage)
        self.intake = Intake(core, store, calls, table, dispatcher, completer, loader, times)
        result_intake = ResultIntake(core, table, dispatcher, completer, finalizer, loader)
        self.redelivery = Redelivery(core, table, dispatcher, completer, finalizer)
        self.canceller = Canceller(core, store, calls, table, finalizer, loader)
        self.results = ResultStreams(core, store, calls, completer, loader)
        # What is kept of calls that are done
        self.blobs = BlobKeeper(core, calls, config.blob_url, config.directory)
        self.retention = Retention(core, calls, self.blobs)
        self.reaper = Reaper(core, table, self.redelivery, loader, self.retention)
        self.letters = DeadLetters(core, letter_store, calls, self.intake, self.blobs)
        # Agents and apps
        logbook = self.logbook = Logbook(LogStore(link), core.tasks, settings)
        orders = self.orders = Orders(state, settings, Leasing(state, settings), config.own_agent)
        self.app_names = AppNames(state, link, settings.result_ttl_s, damage)
        self.secrets = NamedSecrets(link, vault, damage)
        self.key_rotation = KeyRotation(
            *(vault, self.secrets, self.registry, state), self.deployed.kept_apps
        )
        self.apps = Apps(
            *(core, self.registry, logbook, self.app_names, orders),
            *(self.canceller, self.retention, self.secrets),
        )
        self.variants = Variants(self.apps, self.registry)
        retirement = Retirement(core, self.apps, orders, versions, store)
        finder = self.finder = FunctionFinder(
            *(core, self.apps, self.registry, self.deployed, calls),
            *(retirement, self.variants),
        )
        self.deployments = Deployments(
            *(core, self.apps, Contents(core, self.registry, versions), self.deployed),
            *(FirstStart(core, orders), retirement),
            PendingDeploys(core.tasks, settings.deploy_grace_s),
            orders,
        )
        schedule_store = ScheduleStore(link, config.instance_id)
        self.schedules = Scheduler(core, schedule_store, finder, self.intake)
        self.schedule_report = ScheduleReport(state, self.schedules, store, calls)
        self.agents = Agents(core, self.agent_store, self.redelivery, logbook)
        self.nested = NestedCallBook(core, link)
        self.inbox = AgentInbox(
            *(core, self.agents, result_intake, self.redelivery, self.reaper),
            *(orders, logbook, self.nested, damage),
        )
        # Dict and Queue
        self.objects = ObjectService(
            *(link, config.redis_url, config.instance_id),
            patience_s=settings.redis_patience_s,
            grace_s=settings.hold_grace_s,
            direct=config.direct_objects,
            tasks=core.tasks,
            damage=damage,
        )
        # Pools; the end of what is deployed
        self.pools = PoolService(state, link, core.tasks, damage)
        self.deletion = Deletion(
            *(self.deployments, self.schedules, self.letters, self.app_names, self.pools)
        )
        self.environments = Environments(
            *(state, link, self.apps, self.deployments, self.schedules, self.deletion),
            *(self.secrets, self.objects.catalog, damage),
        )
        # What is shown
        self.metrics = Metrics(state, settings)
        self.status = StatusReport(
            *(state, store, link, self.metrics, self.pools.scaler, self.letters),
            *(self.retention, self.objects.census, damage),
        )
        self.scrape = Scrape(self.metrics, state, self.status)
        core.act = self.act

    def start(self) -> None:
        """Begin what goes on in the background, once what was there before has been read back."""
        tasks = self.core.tasks
        self.pools.start()
        tasks.spawn(self.reaper.run(), "look for ended leases")
        tasks.spawn(self.call_times.look(), "look for calls without a time")
        tasks.spawn(self.blobs.run(), "sweep blobs")
        tasks.spawn(self.schedules.run(), "run what is due")
        if self.shrinking is not None:
            tasks.spawn(self.shrinking.run(), "make redis smaller")

    async def behind(self, error: Error) -> Error:
        """What to tell who asked something of an error that it ended with."""
        return await tables.behind(self.link, self.config.instance_id, error)

    def act(self, event: Event) -> None:
        """Everything that an event leads to, in order. The frequent ones come first."""
        scaler = self.pools.scaler
        match event:
            case RoomFreed(function):
                self.loader.load_more(function)
            case InputsAccepted(function, count, params):
                scaler.accepted(function, params, count)
                if not self.core.state.live_agents():
                    self.agents.missed()
            case InputsCompleted(call, statuses):
                for status, count in statuses.items():
                    self.metrics.completed(call.function.function_id, status, count)
                scaler.ended(call.function, call.params, sum(statuses.values()))
            case ResultsReceived(done):
                self.metrics.results(done)
                self.pools.results(done)
            case BlobsReleased(keys):
                self.blobs.drop(keys)
            case CallOver(call_id, letters):
                self.retention.over(call_id, letters)
            case HeartbeatReceived(agent, news):
                self.metrics.heartbeat(agent, news)
                scaler.heartbeat(agent, news)
            case InputRetried(call):
                self.metrics.again(call.function, retries=1)
            case InputsRedelivered(call, count):
                self.metrics.again(call.function, redeliveries=count)
            case CallerMissing(call):
                self.canceller.watch_for_caller(call)
            case AgentJoined(agent):
                scaler.joined(agent)
                self.dispatcher.pump()
                self.orders.joined(agent)
            case AgentLost(agent, reason):
                self.redelivery.agent_lost(agent, reason)
                self.orders.lost(agent, reason)
            case FunctionOpened(function):
                self.orders.open_function(function)
                scaler.opened(function)
            case AppDeployed(name, app_id):
                self.schedules.deployed(name)
                self.orders.live(app_id)
            case AppForgotten():
                if self.shrinking is not None:
                    self.shrinking.soon()
            case RedisReturned():
                self.loader.reload()
            case _:
                assert_never(event)
