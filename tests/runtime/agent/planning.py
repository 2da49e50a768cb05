"""Has a node follow plans."""

from __future__ import annotations

import math
import os
import time
from typing import Any

from rekindle.runtime.agent.scheduling.idle_levels import live
from rekindle.runtime.agent.starts.snapshot_tracker import SnapshotState
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.messages import plan_message
from rekindle.wire.pools import Level, PoolPlan, Rest
from tests.runtime.agent.harness import Harness

FOREVER = (Rest(Level.WARM, math.inf),)


class Worker:
    """Does as it is told, and takes some memory."""

    def load(self) -> None:
        self.memory = os.urandom(20 << 20)

    def host(self) -> str:
        import socket

        return socket.gethostname()

    def sleep(self, seconds: float) -> str:
        time.sleep(seconds)
        return self.host()

    def grow(self, mib: int) -> int:
        self.more = os.urandom(mib << 20)
        return len(self.more)


def plan(h: Harness, function_id: str, every: bool = True, **given: Any) -> None:
    made = PoolPlan(**given)
    h.node.plan(
        pb.FollowPlan(function_id=function_id, every_instance=every, plan=plan_message(made))
    )


def idle(h: Harness, function_id: str) -> int:
    pool = h.node.inventory.pools.get((function_id, ""))
    return len(pool.runners.idle()) if pool is not None else 0


def open_(h: Harness, function_id: str) -> None:
    h.node.open(pb.OpenFunction(function_id=function_id, app_id="ap-test"))


async def with_snapshot(h: Harness, function_id: str) -> Any:
    """Call it once, and wait for its snapshot and the template that is kept."""
    assert (await h.call(function_id, "host")).strategy == "cold"
    revision = h.revision(function_id)
    await h.uplink.until(lambda: revision.tracker.state is SnapshotState.READY)
    await h.uplink.until(lambda: live(revision) and revision.template.mapped)
    return revision
