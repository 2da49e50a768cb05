"""Any order of events in the life of calls: completed exactly once, the first result wins."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.controller.harness import running_instance
from tests.controller.queue.call_life import CallLife


def _live(examples: int, *, derandomize: bool) -> None:
    # Lost deliveries are to be placed again as often as the rules lose them.
    with running_instance(REKINDLE_MAX_DELIVERIES="100") as instance:
        run_state_machine_as_test(
            lambda: CallLife(instance),  # type: ignore[arg-type]
            settings=settings(
                max_examples=examples,
                stateful_step_count=50,
                deadline=None,
                derandomize=derandomize,
                phases=[Phase.generate],  # a shorter example is not worth hours of restarts
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )


@pytest.mark.slow
def test_whatever_happens_every_input_completes_once_with_its_first_result() -> None:
    _live(12, derandomize=True)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_whatever_else_happens_every_input_completes_once_with_its_first_result() -> None:
    _live(300, derandomize=False)
