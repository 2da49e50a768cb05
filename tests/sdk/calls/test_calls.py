"""remote, spawn, FunctionCall: values, timeouts, handles. Errors: test_call_errors.py."""

from __future__ import annotations

import asyncio
import pickle
import threading
from typing import Any

import pytest

import rekindle
from rekindle.exception import (
    ExecutionError,
    InvalidError,
    NotFoundError,
    RemoteError,
    StrategyUnavailableError,
)
from rekindle.sdk.calls import records, result_buffer
from rekindle.sdk.running import ask_strategy
from rekindle.wire.phases import Phase
from tests.sdk.fake_controller import FakeController

app = rekindle.App("calls")
gate = threading.Event()


@app.function()
def double(x: int, *, plus: int = 0) -> int:
    return 2 * x + plus


@app.function()
async def later(x: int) -> int:
    await asyncio.sleep(0)
    return x + 1


@app.function()
def fail() -> None:
    raise ValueError("no")


@app.function()
def wait_for_gate() -> str:
    gate.wait(60)
    return "through"


@app.function()
def ids() -> tuple[str | None, str | None]:
    return rekindle.current_input_id(), rekindle.current_function_call_id()


@app.function()
def call_back(function: Any, x: int) -> Any:
    return function.remote(x)


def test_a_call_returns_the_value(controller: FakeController) -> None:
    with app.run():
        assert double.remote(4) == 8
        assert double.remote(4, plus=1) == 9
        assert later.remote(1) == 2


def test_the_asyncio_forms(controller: FakeController) -> None:
    async def main() -> None:
        async with app.run():
            assert await double.remote.aio(4) == 8
            values = await asyncio.gather(*(double.remote.aio(i) for i in range(20)))
            assert values == [2 * i for i in range(20)]
            call = await double.spawn.aio(5)
            assert await call.get.aio(timeout=60) == 10
            assert await rekindle.FunctionCall.gather.aio(call, call) == [10, 10]

    asyncio.run(main())


def test_what_a_running_block_gives_is_the_app(controller: FakeController) -> None:
    app = rekindle.App("given", tags={"team": "search"})

    @app.function()
    def f() -> int:
        return 1

    with app.run() as given:
        assert given is app and given.name == "given"
        given.set_tags({**given.get_tags(), "tier": "1"})
        assert f.remote() == 1
    assert app.get_tags() == {"team": "search", "tier": "1"}


def test_the_app_is_registered_held_and_closed(controller: FakeController) -> None:
    with app.run() as running:
        assert running is app
        app_id = app.app_id
        assert app_id is not None and app_id.startswith("ap-")
        assert double.object_id.startswith("fu-")
        assert controller.registered[0].ephemeral
        double.remote(1)
        assert controller.held == {app_id}
    assert controller.closed == [app_id]
    assert app.app_id is None


def test_an_app_runs_once_at_a_time(controller: FakeController) -> None:
    with app.run(), pytest.raises(InvalidError, match="running already"):
        app.run()
    with app.run():  # and again after it
        assert double.remote(1) == 2


def test_spawn_returns_a_handle(controller: FakeController) -> None:
    with app.run():
        call = double.spawn(21)
        assert call.object_id.startswith("fc-")
        assert call.num_inputs() == 1
        assert call.get() == 42
        assert call.get() == 42  # kept
        assert rekindle.FunctionCall.from_id(call.object_id).get(timeout=60) == 42
        assert pickle.loads(pickle.dumps(call)).get(timeout=60) == 42


def test_get_raises_the_builtin_timeout_error_and_can_be_called_again(
    controller: FakeController,
) -> None:
    gate.clear()
    with app.run():
        call = wait_for_gate.spawn()
        wrong: Any = "5"
        with pytest.raises(InvalidError, match="a number of seconds"):
            call.get(timeout=wrong)
        for timeout in (0, 0.05):
            with pytest.raises(TimeoutError, match="it goes on"):
                call.get(timeout=timeout)
        gate.set()
        assert call.get(timeout=60) == "through"


def test_gather_raises_the_first_failure(controller: FakeController) -> None:
    gate.clear()
    with app.run():
        slow = wait_for_gate.spawn()
        with pytest.raises(ValueError, match="no"):
            rekindle.FunctionCall.gather(slow, fail.spawn())
        gate.set()
        calls = [double.spawn(i) for i in range(3)]
        assert rekindle.FunctionCall.gather(*calls) == [0, 2, 4]
        assert slow.get(timeout=60) == "through"


def test_an_unknown_call_is_not_found(controller: FakeController) -> None:
    with app.run(), pytest.raises(NotFoundError):
        rekindle.FunctionCall.from_id("fc-nothing").get()
    with pytest.raises(InvalidError, match="fc-"):
        rekindle.FunctionCall.from_id("ap-x")


def test_how_many_inputs_a_call_has_is_found_by_its_id(controller: FakeController) -> None:
    async def count(call_id: str) -> int:
        return await rekindle.FunctionCall.from_id(call_id).num_inputs.aio()

    with app.run():
        call = double.spawn_map(range(7))
        found = rekindle.FunctionCall.from_id(call.object_id)
        assert found.num_inputs() == 7
        assert asyncio.run(count(call.object_id)) == 7
        assert list(found.iter()) == [2 * i for i in range(7)]
        assert list(found.iter(start=5)) == [10, 12]
        with pytest.raises(NotFoundError):
            rekindle.FunctionCall.from_id("fc-nothing").num_inputs()


def test_a_poll_looks_once_and_waits_for_nothing(controller: FakeController) -> None:
    gate.clear()
    with app.run():
        call = wait_for_gate.spawn()
        with pytest.raises(TimeoutError, match="after 0 s"):
            call.get(timeout=0)
        assert [request.stored for request in controller.asked] == [True]
        gate.set()
        assert call.get() == "through"
        found = rekindle.FunctionCall.from_id(call.object_id)
        assert found.get(timeout=0) == "through"  # however short the time, what is there is given
        assert [request.stored for request in controller.asked] == [True, False, True]


def test_a_cancelled_call_says_so(controller: FakeController) -> None:
    async def cancel(call: rekindle.FunctionCall) -> None:
        await call.cancel.aio()

    gate.clear()
    with app.run():
        for begin in (wait_for_gate.spawn, wait_for_gate.spawn):
            call = begin()
            rekindle.FunctionCall.from_id(call.object_id).cancel()
            with pytest.raises(RemoteError, match="cancelled"):
                call.get()
            asyncio.run(cancel(call))  # once more changes nothing
        call = wait_for_gate.spawn()
        call.cancel(terminate_containers=True)
        known = controller.cancelled(call.object_id)
        assert known is not None
        assert known.killed
        with pytest.raises(NotFoundError):
            rekindle.FunctionCall.from_id("fc-nothing").cancel()
        gate.set()


def test_iter_reads_ahead_within_bounds(
    controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_buffer, "MAX_BYTES", 4096)
    with app.run():
        call = double.spawn_map(range(300))
        assert list(call.iter()) == [2 * i for i in range(300)]
        assert list(call.iter(start=10, end=12)) == [20, 22]
        assert list(call.iter(start=3, end=3)) == []
        for wrong in ({"start": -1}, {"start": 5, "end": 4}, {"end": 301}):
            with pytest.raises(InvalidError, match="start="):
                call.iter(**wrong)
        single = double.spawn_map([1])
        with pytest.raises(InvalidError, match=r"has 1 input$"):
            single.iter(end=2)
        with pytest.raises(InvalidError, match=r"index=1: .* has 1 input; the first is 0"):
            single.get(index=1)


def test_ids_are_there_during_an_input_only(controller: FakeController) -> None:
    with app.run():
        input_id, call_id = ids.remote()
    assert input_id is not None
    assert call_id is not None
    assert call_id.startswith("fc-")
    assert rekindle.current_input_id() is None
    assert rekindle.is_local()


def test_a_function_passed_as_an_argument_is_a_handle(controller: FakeController) -> None:
    with app.run():
        assert call_back.remote(double, 4) == 8
        handle = pickle.loads(pickle.dumps(double))
        assert handle.remote(5) == 10
        with pytest.raises(ExecutionError, match="only a handle"):
            handle.local(5)


def test_a_handle_inside_a_runner_finds_its_id_by_name(
    controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rekindle.execution import context
    from rekindle.sdk import declaration, lookups

    with app.run() as running:
        fresh = declaration.Declaration("calls", "double", "function")
        monkeypatch.setattr(context, "_remote", True)
        lookups._of_app.clear()
        monkeypatch.setenv("REKINDLE_APP_ID", str(running.app_id))
        assert rekindle.Function(fresh).remote(6) == 12
        with pytest.raises(NotFoundError):
            rekindle.Function(declaration.Declaration("calls", "gone", "function")).remote()


def test_the_first_look_up_of_a_task_does_not_hold_its_loop_up(
    controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rekindle.execution import context
    from rekindle.sdk import declaration, lookups

    looked_up_in: list[int] = []
    asked = lookups.function_id_of

    def noted(*args: Any) -> str:
        looked_up_in.append(threading.get_ident())
        return asked(*args)

    with app.run() as running:
        monkeypatch.setattr(context, "_remote", True)
        lookups._of_app.clear()
        monkeypatch.setenv("REKINDLE_APP_ID", str(running.app_id))
        monkeypatch.setattr(lookups, "function_id_of", noted)
        fresh = rekindle.Function(declaration.Declaration("calls", "double", "function"))

        async def twice() -> list[int]:
            return [await fresh.remote.aio(6), await fresh.remote.aio(7)]

        assert asyncio.run(twice()) == [12, 14]
    assert looked_up_in[0] != threading.get_ident()  # it asked
    assert looked_up_in[1:] == [threading.get_ident()] * (len(looked_up_in) - 1)  # it knew


def test_a_function_that_was_declared_too_late_is_named(controller: FakeController) -> None:
    late_app = rekindle.App("late")
    with late_app.run():

        @late_app.function()
        def late() -> None: ...

        with pytest.raises(NotFoundError, match=r"late was added.*after it started"):
            late.remote()


def test_each_call_leaves_a_record_whose_phases_explain_the_total(
    controller: FakeController,
) -> None:
    with app.run(), records.collect() as finished:
        double.remote(1)
        with pytest.raises(ValueError, match="no"):
            fail.remote()
    assert [(r.function, r.ok, r.strategy) for r in finished] == [
        ("double", True, "warm"),
        ("fail", False, "warm"),
    ]
    for record in finished:
        assert record.total_ms == pytest.approx(sum(record.phases.values()))
        assert list(record.phases) == [
            Phase.QUEUE.value,
            *([Phase.LOAD_INPUT.value]),
            Phase.EXECUTE.value,
            Phase.STORE_RESULT.value,
        ]


def test_a_strategy_that_is_asked_for_is_sent(controller: FakeController) -> None:
    with app.run():
        with ask_strategy("fork"):
            double.remote(1)
        double.remote(1)
        assert [r.strategy for r in controller.submitted] == ["fork", ""]
        double.prepare("fork")
        with pytest.raises(StrategyUnavailableError, match="no snapshot"):
            double.prepare("restore")
        with pytest.raises(InvalidError, match="choose from warm, spare, fork"):
            double.prepare("quick")


def test_run_is_refused_while_a_module_is_imported(
    controller: FakeController, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs_at_import.py").write_text(
        "import rekindle\napp = rekindle.App('x')\nwith app.run():\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InvalidError, match=r"runs_at_import.*being imported"):
        __import__("runs_at_import")


def test_the_instance_is_given_back_when_the_block_raises(controller: FakeController) -> None:
    with pytest.raises(RuntimeError, match="mine"), app.run():
        raise RuntimeError("mine")
    assert app.running is None
    assert len(controller.closed) == 1
