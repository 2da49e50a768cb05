"""Processes that boot and do not get far: their starts end all the same. Real processes."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from rekindle.runtime.agent.starts.revision import Revision
from tests.runtime.agent.harness import Harness, run
from tests.runtime.agent.starts.counter import Counter


def test_an_agent_that_ends_while_one_boots_leaves_no_error_that_nobody_looks_at(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Revision, "command", lambda _revision: ["/bin/sleep", "600"])

    async def scenario(h: Harness) -> None:
        h.submit(h.add(Counter), "total")
        await h.uplink.until(lambda: h.node.context.listener._expected)

    run(home, scenario)
    gc.collect()
    assert not [one.getMessage() for one in caplog.records if one.name == "asyncio"]
