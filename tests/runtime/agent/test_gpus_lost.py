"""A GPU that does not answer any more: nothing is started on it, and who waits for it is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rekindle.gpu_restore.recorded import Recording
from rekindle.gpu_restore.request import parse
from rekindle.runtime.agent.session.report import stats
from tests.runtime.agent.gpu_nodes import Model, change, occupy, uuids
from tests.runtime.agent.harness import Gate, Harness, run


async def _look(harness: Harness, times: int = 3) -> None:
    """As often as it takes to be sure of what is lost."""
    for _ in range(times):
        await harness.node.context.gpu_use.measure({})


def test_nothing_is_started_on_a_gpu_that_is_lost_until_it_is_there_again(
    home: Path, machine: Callable[[str], Path]
) -> None:
    path = machine("two_rtx_4090")
    first, second = uuids("two_rtx_4090")

    def lose(recording: Recording) -> None:
        recording["gpus"][0]["lost"] = True

    async def scenario(harness: Harness) -> None:
        model = harness.add(Model, gpu=parse("any"))
        pair = harness.add(Model, gpu=parse("any:2"))
        text = path.read_text()
        change(path, lose)
        await _look(harness)
        assert (await harness.call(model, "sees")).value["CUDA_VISIBLE_DEVICES"] == second
        (refused,) = await harness.results([harness.submit(pair, "sees")])
        words = "there is 1 x RTX-4090 (24 GiB); 1 x RTX-4090 (24 GiB) cannot be asked any more"
        assert words in refused.result.message
        reported = stats(harness.node).gpus
        assert [one.uuid for one in reported.devices] == [second]
        assert reported.reason == "GPU 0 cannot be asked any more"
        path.write_text(text)
        await _look(harness, 1)
        seen = (await harness.call(pair, "sees")).value["CUDA_VISIBLE_DEVICES"]
        assert seen == f"{first},{second}"
        assert not stats(harness.node).gpus.reason

    run(home, scenario)


def test_who_waits_for_a_gpu_that_is_lost_is_told(
    home: Path, machine: Callable[[str], Path], tmp_path: Path
) -> None:
    path = machine("one_t4")

    def lose(recording: Recording) -> None:
        recording["gpus"][0]["lost"] = True

    async def scenario(harness: Harness) -> None:
        one, other = (harness.add(Model, gpu=parse("T4")) for _ in range(2))
        with Gate(tmp_path) as gate:
            await occupy(harness, one, gate)
            waits = harness.submit(other, "sees")
            await harness.uplink.until(lambda: stats(harness.node).gpus.waiting)
            change(path, lose)
            await _look(harness)
            (told,) = await harness.results([waits])
            assert "there is no GPU; 1 x T4 (15 GiB) cannot be asked" in told.result.message

    run(home, scenario)
