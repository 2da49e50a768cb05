"""update_autoscaler: what it sends, for whom, and what it refuses."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import rekindle
from rekindle.exception import ExecutionError, InvalidError
from rekindle.sdk import autoscaler
from rekindle.wire.class_parameters import pack as pack_parameters
from rekindle.wire.messages import option_values
from tests.sdk.fake_controller import FakeController

app = rekindle.App("sized")


@app.function()
def work(x: int) -> int:
    return x


@app.cls()
class Model:
    size: int = rekindle.parameter(default=1)

    @rekindle.method()
    def run(self) -> int:
        return self.size


@app.cls()
class Plain:
    @rekindle.method()
    def run(self) -> int:
        return 1


model: Any = Model
plain: Any = Plain


def test_what_is_given_is_set_and_nothing_else(controller: FakeController) -> None:
    with app.run():
        work.update_autoscaler(min_containers=2, scaledown_window=30)
        work.update_autoscaler(max_containers=0)
    assert all(one.every_instance and not one.params for one in controller.pools)
    first, second = (request.changes for request in controller.pools)
    assert first.min_containers == 2 and first.scaledown_window_s == 30
    for name in ("max_containers", "buffer_containers", "policy"):
        assert not first.HasField(name)
    assert second.HasField("max_containers") and second.max_containers == 0
    assert not second.HasField("min_containers")


def test_an_instance_has_a_pool_of_its_own(controller: FakeController) -> None:
    with app.run():
        model(size=3).update_autoscaler(min_containers=1)
        plain().update_autoscaler(buffer_containers=1)
        assert app.running is not None
        ids = app.running.function_ids
    first, second = controller.pools
    assert first.function_id == ids["Model"]
    assert first.params == pack_parameters("Model", {"size": 3}) and not first.every_instance
    assert second.function_id == ids["Plain"] and second.every_instance


def test_it_can_be_awaited(controller: FakeController) -> None:
    async def scale() -> None:
        await work.update_autoscaler.aio(min_containers=1)
        await model(size=2).update_autoscaler.aio(max_containers=4)

    with app.run():
        asyncio.run(scale())
    assert [request.changes.min_containers for request in controller.pools] == [1, 0]


def test_a_method_has_no_pool(controller: FakeController) -> None:
    method = model().run
    with app.run():
        with pytest.raises(InvalidError, match=r"Model\.run is a method.*Model\(\)\.update"):
            method.update_autoscaler(min_containers=1)
        with pytest.raises(InvalidError, match="is a method"):
            asyncio.run(method.update_autoscaler.aio(min_containers=1))
    assert not controller.pools


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"min_containers": -1}, "min_containers=-1 must be a whole number of at least 0"),
        ({"max_containers": 1.5}, "max_containers=1.5"),
        ({"buffer_containers": True}, "buffer_containers=True"),
        ({"spare_containers": -2}, "spare_containers=-2 must be a whole number of at least -1"),
        ({"spare_containers": 1 << 31}, "spare_containers=2147483648 must be 2147483647 or less"),
        ({"scaledown_window": 1}, "scaledown_window=1 must be a number of seconds from 2 to 3600"),
        ({"min_containers": 3, "max_containers": 2}, "must not be more than max_containers=2"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_sent(
    controller: FakeController, given: dict[str, Any], said: str
) -> None:
    with app.run(), pytest.raises(InvalidError, match=said):
        work.update_autoscaler(**given)
    assert not controller.pools


def test_a_setting_that_there_is_not_is_named_with_the_nearest(
    controller: FakeController,
) -> None:
    with app.run(), pytest.raises(TypeError, match="did you mean 'min_containers'"):
        work.update_autoscaler(min_container=1)  # type: ignore[call-arg]
    assert not controller.pools


def test_an_app_that_does_not_run_has_no_pools(controller: FakeController) -> None:
    with pytest.raises(ExecutionError, match="not running"):
        work.update_autoscaler(min_containers=1)


def test_a_setting_by_name_names_the_function_and_the_policy(controller: FakeController) -> None:
    with app.run():
        assert app.running is not None
        autoscaler.set_by_name(
            app.running.client,
            "sized.work",
            policy="fixed",
            options={"keep_s": 3},
            max_containers=2,
        )
    [request] = controller.pools
    assert request.function == "sized.work" and request.changes.policy == "fixed"
    assert option_values(request.changes.policy_options) == {"keep_s": 3}
    assert request.changes.max_containers == 2
