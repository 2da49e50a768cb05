"""What becomes of direct calls whose runner was ended for another one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rekindle.runtime.agent.leases.beside import fate_beside
from rekindle.wire.phases import now_ns


def lease(*, ran_s: float, batch: int = 0, kill_reason: str = "timeout") -> Any:
    """The call of slot 1, which began so long ago; a timeout of 10 s."""
    spec = SimpleNamespace(max_batch_size=batch, timeout_s=10.0)
    begun = {1: now_ns() - int(ran_s * 1e9)} if ran_s else {}
    runner = SimpleNamespace(last_words=SimpleNamespace(begun=begun), kill_reason=kill_reason)
    revision = SimpleNamespace(spec=spec, label="app.f")
    return SimpleNamespace(pool=SimpleNamespace(revision=revision), runner=runner, slot=1)


@pytest.mark.parametrize("batch", [0, 8])
def test_one_that_is_over_its_own_time_does_not_run_again(batch: int) -> None:
    fate, words = fate_beside(lease(ran_s=11, batch=batch))
    assert fate == "timeout" and "app.f ran longer than timeout=10 s" in words


def test_one_within_its_time_runs_again() -> None:
    assert fate_beside(lease(ran_s=1))[0] == "again"
    assert fate_beside(lease(ran_s=0))[0] == "again"


def test_one_whose_runner_died_by_itself_may_be_to_blame() -> None:
    assert fate_beside(lease(ran_s=1, kill_reason=""))[0] == "lost"
