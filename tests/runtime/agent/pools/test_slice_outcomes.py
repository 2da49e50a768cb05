"""Results of a slice as they travel: whole, and nothing of them stays behind."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import psutil
import pytest

from rekindle.runtime.agent.inputs.assignment import Assignment, Order, Slice
from rekindle.runtime.agent.pools.slice_outcomes import SliceOutcomes
from rekindle.runtime.agent.runners.runner import Runner
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.finished import Ending, Finished
from rekindle.wire.phases import Strategy

_MIB = 1 << 20


def _taken(runner_id: str, index: int, data: bytes) -> bytes:
    """The result of an input of a runner, as bytes."""
    order = Order("ca-1", "fn-1", "ap-1", b"", None, 1_000, 2_000, 1)
    one = Assignment(order, index, "", b"", "")
    runner = cast(Runner, SimpleNamespace(id=runner_id))
    outcomes = SliceOutcomes(runner, Slice(2, order, 3_000, {index: one}, to_idle=True))
    outcomes.take(one, Finished(index, Ending.RETURNED, 4_000, 5_000, 6_000, data))
    assert outcomes.statuses == [pb.SUCCESS] and outcomes.execute_ns == 2_000
    (result,) = outcomes.results
    return result


@pytest.mark.parametrize("size", [0, 1, 127, 128, 100_000])
def test_a_result_has_its_value_and_whose_it_is(size: int) -> None:
    for runner_id, index in (("ru-1", 7), ("ru-2", 0), ("ru-1", 8)):
        result = pb.Result.FromString(_taken(runner_id, index, b"v" * size))
        marks = [("queue", 3_000), ("load_input", 5_000), ("execute", 6_000)]
        assert result == pb.Result(
            call_id="ca-1",
            index=index,
            status=pb.SUCCESS,
            data=b"v" * size,
            strategy=Strategy.WARM.value,
            runner_id=runner_id,
            function_id="fn-1",
            submitted_ns=1_000,
            marks=[pb.PhaseMark(phase=phase, at_ns=at_ns) for phase, at_ns in marks],
        )


@pytest.mark.parametrize(("size", "count"), [(8 * _MIB, 40), (100, 300_000)])
def test_results_that_have_gone_take_no_memory(size: int, count: int) -> None:
    data = b"v" * size
    for index in range(count // 10):
        _taken(f"ru-{index % 3}", index, data)
    before = psutil.Process().memory_info().rss
    for index in range(count):
        _taken(f"ru-{index % 3}", index, data)
    grown = psutil.Process().memory_info().rss - before
    assert grown < max(2 * size, 8 * _MIB)
