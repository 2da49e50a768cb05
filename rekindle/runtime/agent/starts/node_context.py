"""What all starts of a node share: the spawner, the listener, CRIU, the snapshot store."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rekindle import paths
from rekindle.blobs.lazy import client
from rekindle.exception import CriuNotFoundError, Error
from rekindle.runtime.agent.gpu_use import GpuUse
from rekindle.runtime.agent.gpu_use import find as find_gpus
from rekindle.runtime.agent.gpus import Gpus
from rekindle.runtime.agent.recent import Recent
from rekindle.runtime.agent.runners.listener import RunnerListener
from rekindle.runtime.agent.settings import AgentSettings
from rekindle.runtime.agent.starts.activity import StartActivity
from rekindle.runtime.agent.starts.gpu_checkpoints import GpuCheckpoints
from rekindle.runtime.agent.starts.gpu_holders import GpuHolders
from rekindle.runtime.agent.starts.node_images import NodeImages
from rekindle.runtime.agent.starts.stored_layers import StoredLayers
from rekindle.runtime.agent.starts.stored_snapshots import (
    MOUNT,
    LazySettings,
    StoredSnapshots,
)
from rekindle.runtime.agent.starts.turns import Turns
from rekindle.runtime.agent.starts.volume_pushes import VolumePushes
from rekindle.runtime.agent.starts.waiting import WaitingRestores
from rekindle.runtime.agent.starts.waiting_boots import WaitingBoots
from rekindle.runtime.isolation.spawner_client import Spawner
from rekindle.snapshot import criu as criu_room
from rekindle.snapshot import lean, machine
from rekindle.snapshot.criu import FEATURES_OF_A_USER, Criu
from rekindle.snapshot.store import SnapshotStore
from rekindle.wire.ending import AGENT_END_S
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

_MAX_RESTORES_NOTED = 64
#: Of the time that an agent has to end: for what is removed last.
_REMOVALS_S = 5.0


@dataclass
class NodeContext:
    """Made once by the agent."""

    settings: AgentSettings
    spawner: Spawner
    listener: RunnerListener
    store: SnapshotStore
    scratch: Path
    criu: Criu | None
    #: None where there is no CRIU.
    waiting: WaitingRestores | None
    waiting_boots: WaitingBoots
    #: Why there is no CRIU, and whether it could only not be asked just then.
    no_criu: str
    criu_not_asked: bool
    #: One dump at a time on a node: two would only slow each other and the runners down.
    freezing: asyncio.Lock
    #: Which runner has which GPU, and what they use of it.
    gpus: Gpus
    gpu_use: GpuUse
    gpu_holders: GpuHolders
    images: NodeImages
    layers: StoredLayers
    #: Snapshots that nodes share; None where there is no store for them.
    stored: StoredSnapshots | None = None
    gpu_checkpoints: GpuCheckpoints = field(default_factory=GpuCheckpoints)
    #: Starts that are under way.
    activity: StartActivity = field(default_factory=StartActivity)

    #: Whether lines wait that the controller is to have before others are read.
    lines_wait: Callable[[], bool] = bool
    #: By when it is to be closed (monotonic seconds), once its agent ends; 0 before.
    ends_by: float = 0.0
    #: Volumes whose files lie in a store, too.
    volume_pushes: VolumePushes = field(default_factory=VolumePushes)
    #: Of restores that a runner is waited for: they take processors, not time, from each other.
    restoring: Turns = field(default_factory=Turns)
    #: Runner id -> the steps of its restore in ms, of the newest restores.
    restores: Recent[str, dict[str, float]] = field(
        default_factory=lambda: Recent(_MAX_RESTORES_NOTED)
    )

    @property
    def unprivileged(self) -> bool:
        """Whether CRIU is run by a user who is not root."""
        return self.criu is not None and self.criu.unprivileged

    @property
    def criu_files(self) -> Path:
        """What CRIU writes, as this process sees it."""
        return self.spawner.feature_cache_here

    @classmethod
    async def open(cls, settings: AgentSettings) -> NodeContext:
        """Start the spawner, listen, find CRIU, remove what a killed agent left half made."""
        scratch = _new_scratch(settings.instance_dir)
        store = SnapshotStore(paths.snapshots_dir())
        stored = await asyncio.to_thread(_open_stored, settings, store, scratch)
        try:
            return await cls._open(settings, scratch, store, stored)
        except BaseException:
            if stored is not None:
                await stored.close()
            raise

    @classmethod
    async def _open(
        cls,
        settings: AgentSettings,
        scratch: Path,
        store: SnapshotStore,
        stored: StoredSnapshots | None,
    ) -> NodeContext:
        spawner = await Spawner.start(scratch / "criu-run")
        listener = RunnerListener(paths.agent_socket(settings.instance_dir))
        listener.open()
        found, problem, not_asked = await asyncio.to_thread(_find_criu)
        if found is None:
            log.warning("no CRIU", extra=kv(reason=problem))
        gpus = await find_gpus()
        holders = GpuHolders(settings.gpu_held_mib)
        gpus.on_short = holders.drop_unused
        # Before the first call: whoever sees an answer finds no half snapshot of the agent before.
        await asyncio.to_thread(store.sweep)
        activity = StartActivity()
        images = NodeImages(spawner, settings.instance_dir, scratch)
        layers = StoredLayers(
            stored.blobs if stored is not None else None,
            stored.lazy if stored is not None else None,
            *(scratch, images.packed, spawner.pid, images.let_go),
        )
        return cls(
            settings=settings,
            spawner=spawner,
            listener=listener,
            store=store,
            scratch=scratch,
            criu=found,
            waiting=(WaitingRestores(spawner, found, criu_environment()) if found else None),
            waiting_boots=WaitingBoots(spawner, listener, activity),
            activity=activity,
            no_criu=problem,
            criu_not_asked=not_asked,
            freezing=asyncio.Lock(),
            gpus=gpus,
            gpu_use=GpuUse(gpus),
            gpu_holders=holders,
            images=images,
            layers=layers,
            stored=stored,
        )

    async def outlives_failure(self) -> None:
        """To be awaited before a start's failure is told to anybody.

        Where the spawner has ended, all starts fail, and the agent is about to end, too. Then this
        does not return: who waits for the start sees the agent's end, and asks the next one.
        """
        if self.spawner.has_ended:
            await asyncio.get_running_loop().create_future()

    async def ask_for_criu(self) -> None:
        """Look for CRIU again, where it could not be asked the last time."""
        if self.criu is not None or not self.criu_not_asked:
            return
        found, self.no_criu, self.criu_not_asked = await asyncio.to_thread(_find_criu)
        if found is not None and self.criu is None:
            log.info("CRIU found after all", extra=kv(path=found.binary))
            self.waiting = WaitingRestores(self.spawner, found, criu_environment())
            self.criu = found
            await self.warm_feature_cache()

    async def warm_feature_cache(self) -> None:
        """Give CRIU its feature cache, so that the first restore need not look for features.

        The one that an earlier agent kept, if it is of this boot and this CRIU; else a new one.
        """
        if self.criu is None:
            return
        inside = self.criu_files / "criu.kdat"
        kept = _kept_feature_cache(self.criu)
        try:
            if kept.exists():
                await asyncio.to_thread(shutil.copyfile, kept, inside)
            else:
                await self._find_features()
                await asyncio.to_thread(_keep, inside, kept)
        except (Error, OSError) as error:
            log.warning("feature cache not kept", extra=kv(reason=error))
            return
        assert self.waiting is not None
        self.waiting.criu = await asyncio.to_thread(lean.lean, self.criu, self.scratch / "lean")

    async def _find_features(self) -> None:
        assert self.criu is not None
        sandbox = await self.spawner.spawn("rekindle")
        ended = await sandbox.run(
            [*self.criu.argv, "check", *(FEATURES_OF_A_USER if self.unprivileged else ())],
            env=criu_environment(),
            run_dir=self.spawner.feature_cache_dir,
            nice=5,
        )
        if ended.status != 0:
            log.warning("criu check failed", extra=kv(how=ended.in_words()))

    async def close(self) -> None:
        """End everything that was started here."""
        await self.waiting_boots.close()
        if self.waiting is not None:
            await self.waiting.close()
        await self.listener.close()
        self.images.close()
        await self.spawner.stop()
        self.gpu_use.close()
        await asyncio.gather(self.gpu_checkpoints.close(), self.gpu_holders.close())
        ends_by = self.ends_by or time.monotonic() + AGENT_END_S
        await self.volume_pushes.close(max(0.0, ends_by - _REMOVALS_S - time.monotonic()))
        if self.stored is not None:
            await self.stored.close()
        await self.layers.close()
        await asyncio.to_thread(shutil.rmtree, self.scratch, ignore_errors=True)


def _new_scratch(instance_dir: Path) -> Path:
    """A directory for this agent's files, in place of those of agents that were killed.

    An instance has one agent at a time: there is one socket for it.
    """
    for left in instance_dir.glob("agent-*"):
        client.clean_up(left / MOUNT)
        shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix="agent-", dir=instance_dir))


def _open_stored(
    settings: AgentSettings, snapshots: SnapshotStore, scratch: Path
) -> StoredSnapshots | None:
    if not settings.store_url:
        return None
    lazy = LazySettings(
        settings.store_url, paths.lazy_dir(), settings.lazy_bytes, settings.lazy_wait_s
    )
    return StoredSnapshots.open(lazy, snapshots, scratch)


def criu_environment() -> dict[str, str]:
    """CRIU's own: it needs no more than a path to its helpers."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C",
        "XDG_RUNTIME_DIR": "/run",  # where it keeps its feature cache, run by who is not root
    }


def _kept_feature_cache(criu: Criu) -> Path:
    """Where the feature cache is kept between agents: named by all that it depends on."""
    name = hashlib.sha256(f"{machine.boot_id()} {criu.version} {criu.binary}".encode())
    return paths.home() / f"criu-features-{name.hexdigest()[:16]}"


def _keep(inside: Path, kept: Path) -> None:
    for old in kept.parent.glob("criu-features-*"):
        old.unlink(missing_ok=True)  # of another boot, or another CRIU
    draft = kept.with_name(f".{kept.name}-{os.getpid()}")
    shutil.copyfile(inside, draft)
    os.replace(draft, kept)


def _find_criu() -> tuple[Criu | None, str, bool]:
    """CRIU; or why there is none, and whether that may be another answer later."""
    try:
        return criu_room.find(), "", False
    except CriuNotFoundError as error:
        return None, str(error), isinstance(error, criu_room.CriuNotAskedError)
