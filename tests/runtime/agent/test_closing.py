"""How pools end when their app is closed, with real runners and CRIU."""

from __future__ import annotations

from pathlib import Path

import pytest

from rekindle.runtime.agent.leases import leases
from rekindle.runtime.agent.scheduling import upkeep
from rekindle.wire import rekindle_pb2 as pb
from tests.runtime.agent.harness import Harness, run
from tests.runtime.agent.leases.clients import Client, Worker


@pytest.mark.criu
def test_a_snapshot_is_begun_where_the_app_closes_before_its_first_answer_was_seen(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "LOOK_S", 3600)
    monkeypatch.setattr(upkeep, "_LEFT_LOOKS", 3600)  # an instance that ends looks no more

    async def scenario(h: Harness) -> None:
        function_id = h.add(Worker, enable_memory_snapshot=True)
        client = Client(h, function_id)
        held = await client.lease()
        assert await client.value(held, "who")
        revision = h.revision(function_id)
        assert not revision.background
        h.node.close_app(pb.CloseAppOnAgent(app_id="ap-test"))
        await h.uplink.until(lambda: revision.tracker.snapshot)
        held.close()

    run(home, scenario)
