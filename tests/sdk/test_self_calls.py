"""Inside a runner, the methods of a class call each other remotely."""

from __future__ import annotations

import asyncio
import copy
import inspect
from typing import Any

import pytest

import rekindle
from rekindle.execution import context
from rekindle.runtime.runner import service
from rekindle.sdk import lookups
from tests.sdk.fake_controller import FakeController

app = rekindle.App("inside")


@app.cls()
class Steps:
    size: int = rekindle.parameter(default=1)

    @rekindle.method()
    def one(self, x: int) -> int:
        return x + self.size

    @rekindle.method()
    def plain(self, x: int) -> list[int]:
        return [self.one(x), self.one.local(x)]  # type: ignore[attr-defined]

    @rekindle.method()
    def remotely(self, x: int) -> list[Any]:
        one: Any = self.one
        return [one.remote(x), one.spawn(x).get(), list(one.map([x, x + 1]))]

    @rekindle.method()
    async def awaited(self, x: int) -> int:
        value: int = await self.one.remote.aio(x)  # type: ignore[attr-defined]
        return value


@pytest.fixture
def in_runner(controller: FakeController, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The class as a runner has it, with size=5."""
    with app.run() as running:
        place = Steps._declaration.place
        assert place is not None
        monkeypatch.setattr(context, "_runs", None)
        made = service.load("Steps", place, b"", Steps(size=5)._binding.params())
        monkeypatch.setattr(context, "_remote", True)
        lookups._of_app.clear()
        monkeypatch.setenv("REKINDLE_APP", "inside")
        monkeypatch.setenv("REKINDLE_APP_ID", str(running.app_id))
        yield made
        monkeypatch.undo()


def test_a_method_calls_another_of_its_own_instance(
    in_runner: Any, controller: FakeController
) -> None:
    assert in_runner.call("remotely", (1,), {}) == [6, 6, [6, 7]]
    assert {request.params for request in controller.submitted} == {Steps(size=5)._binding.params()}
    assert in_runner.call("awaited", (1,), {}) == 6
    asyncio.set_event_loop(None)


def test_a_plain_call_stays_one(in_runner: Any, controller: FakeController) -> None:
    assert in_runner.call("plain", (1,), {}) == [6, 6]
    assert not controller.submitted


def test_so_does_one_that_is_called_in_this_process(controller: FakeController) -> None:
    with app.run():
        assert Steps(size=5).remotely.local(1) == [6, 6, [6, 7]]
        assert asyncio.run(Steps(size=5).awaited.local(1)) == 6
        calls = len(controller.submitted)
        assert Steps(size=2).remotely.local(1)[0] == 3  # each object has its own
        assert Steps(size=5).plain.local(1) == [6, 6]
    sizes = [request.params for request in controller.submitted]
    assert set(sizes[:calls]) == {Steps(size=5)._binding.params()}
    assert set(sizes[calls:]) == {Steps(size=2)._binding.params()}


def test_an_object_of_this_process_keeps_what_its_methods_are() -> None:
    made = Steps(size=7)
    assert made.one.local(1) == 8
    here = made._binding._local_object
    copied = copy.deepcopy(here)
    assert (copied.one(1), copied.size) == (8, 7)
    assert inspect.iscoroutinefunction(here.awaited) and not inspect.iscoroutinefunction(here.one)
    assert str(inspect.signature(here.one)) == "(x: 'int') -> 'int'"
