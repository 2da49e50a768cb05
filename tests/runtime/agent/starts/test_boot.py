"""Processes that boot and do not get far: their starts end all the same. Real processes."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from rekindle.runtime.agent.starts.revision import Revision
from rekindle.runtime.isolation.sandbox import JobExit, Sandbox
from rekindle.wire import rekindle_pb2 as pb
from tests.runtime.agent.harness import Harness, run
from tests.runtime.agent.starts.counter import Counter


class Deaf:
    """Closes all that it has open while it loads, and never ends."""

    def load(self) -> None:
        os.closerange(3, 1024)
        threading.Event().wait()

    def who(self) -> str:
        return "nobody"


def test_one_that_closes_its_connection_and_goes_on_loading_has_no_longer_than_others(
    home: Path,
) -> None:
    async def scenario(h: Harness) -> None:
        deaf = h.add(Deaf, startup_timeout_s=1.0)
        result = (await h.call(deaf, "who")).result
        assert result.status == pb.START_FAILURE
        assert "did not load within startup_timeout=1 s" in result.message

    run(home, scenario)


@pytest.mark.parametrize("kills", [1, 2])
def test_one_that_is_killed_before_it_runs_user_code_is_booted_once_more(
    home: Path, monkeypatch: pytest.MonkeyPatch, kills: int
) -> None:
    jobs: list[Sandbox] = []
    run_job = Sandbox.run

    def run_and_kill(sandbox: Sandbox, *args: Any, **kwargs: Any) -> asyncio.Future[JobExit]:
        jobs.append(sandbox)
        job = run_job(sandbox, *args, **kwargs)
        if len(jobs) <= kills:
            sandbox.kill()
        return job

    monkeypatch.setattr(Sandbox, "run", run_and_kill)

    async def scenario(h: Harness) -> None:
        result = (await h.call(h.add(Counter), "total")).result
        if kills == 1:
            assert result.status == pb.SUCCESS
        else:
            assert result.status == pb.START_FAILURE
            assert "ended before it reported: killed by SIGKILL" in result.message

    run(home, scenario)


def test_an_agent_that_ends_while_one_boots_leaves_no_error_that_nobody_looks_at(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Revision, "command", lambda _revision: ["/bin/sleep", "600"])

    async def scenario(h: Harness) -> None:
        h.submit(h.add(Counter), "total")
        await h.uplink.until(lambda: h.node.context.listener._expected)

    gc.collect()  # what tests before it left tells of itself here, and not as this one's
    caplog.clear()
    run(home, scenario)
    gc.collect()
    assert not [one.getMessage() for one in caplog.records if one.name == "asyncio"]
