"""What a node has in memory of apps that were closed: nothing, however many there were."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from rekindle.wire import functionid
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.callid import new_app_id
from rekindle.wire.messages import plan_message
from rekindle.wire.pools import PoolPlan
from tests.runtime.agent.harness import Harness, run


class Mortal:
    """Is killed."""

    def value(self) -> int:
        return 1

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)


def test_nothing_is_kept_of_functions_whose_app_is_closed(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        for _ in range(3):
            app_id = new_app_id()
            called, other = h.add(Mortal, app_id=app_id), functionid.of("others", app_id)
            for one in (called, other):  # plans go to every node, whichever runs them
                order = pb.FollowPlan(function_id=one, every_instance=True)
                order.plan.CopyFrom(plan_message(PoolPlan()))
                h.node.plan(order)
            h.node.live(pb.AppIsLive(app_id=app_id))
            assert (await h.call(called, "value")).value == 1
            h.submit(called, "die")
            await h.uplink.until(lambda: h.uplink.returned)
            h.uplink.returned.clear()
            h.node.retire(pb.RetireApp(app_id=app_id))
            h.node.close_app(pb.CloseAppOnAgent(app_id=app_id, drain=True))
            await h.uplink.until(lambda: h.uplink.closed_apps)
            h.node.close_app(pb.CloseAppOnAgent(app_id=app_id))
            await h.uplink.until(lambda: len(h.uplink.closed_apps) == 2)
            h.uplink.closed_apps.clear()
        node = h.node
        assert not node.plans._of
        functions = node.functions
        assert not (functions._opened or functions.retired or functions.on_trial or functions._live)
        assert node.history.runners_lost()[""].by_reason == {"died": 3}
        assert not [key for key in node.history.lost if key[0]]
        assert not node.inventory.pools

    run(home, scenario)
