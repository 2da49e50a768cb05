"""Rows on functions, maps, calls by id, retries, errors: one program for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.harness import Home

_PROGRAM = """
    import asyncio, json, os, pathlib, threading, time, warnings
    import rekindle as modal

    app = modal.App("compat-calls")
    HERE = pathlib.Path(__file__).parent

    @app.function()
    def add(a, b=0, *, c=0):
        return a + b + c

    @app.function()
    def lists(items):
        return [[len(items), item] for item in items]

    @app.function()
    async def invert(n):
        await asyncio.sleep(0)
        return 1 / n

    class OwnError(Exception):
        def __init__(self, code):
            super().__init__(f"code {code}")
            self.code = code

    @app.function()
    def fails(code):
        raise OwnError(code)

    @app.function(retries=modal.Retries(max_retries=1, initial_delay=0.0))
    def second_time(name):
        place = HERE / name
        if not place.exists():
            place.touch()
            raise ValueError("the first time")
        return "the second time"

    @app.function(timeout=1, startup_timeout=60)
    def too_long():
        while True:
            time.sleep(0.01)

    @app.function(max_containers=1)
    def waits(n):
        while not (HERE / "open").exists():
            time.sleep(0.01)
        return n

    @app.function()
    def context():
        own = modal.current_function_call_id()
        return [modal.is_local(), modal.current_input_id().startswith(own), own.startswith("fc-")]

    @app.function()
    def outer(n):
        return sum(add.map(range(n), [1] * n)) + add.remote(1) + add.spawn(2).get()

    @app.function()
    def family(n):
        if n:
            return [family.remote(n - 1), list(add.map([n, n], [1, 2]))]
        left = add.spawn(1, 2)  # nobody waits for it
        return add.spawn(3, 4).get()

    @app.cls()
    class Model:
        size: int = modal.parameter(default=1)

        @modal.enter()
        def first(self):
            self.seen = ["first"]

        @modal.enter()
        async def second(self):
            self.seen.append("second")

        @modal.method()
        def run(self, n):
            return [self.size, n, self.seen]

        @modal.method()
        async def run_async(self, n):
            return self.size + n

    def raised(call):
        try:
            call()
        except BaseException as error:
            kinds = [kind.__name__ for kind in type(error).__mro__]
            return [kinds, str(error)]
        return None

    async def with_aio():
        call = await add.spawn.aio(3, 4)
        return [
            await add.remote.aio(1, 2),
            [value async for value in add.map.aio(range(3), range(3))],
            [value async for value in add.starmap.aio([(1, 1), (2, 2)])],
            await call.get.aio(),
            await modal.FunctionCall.gather.aio(call, call),
            await Model(size=5).run_async.remote.aio(1),
            await asyncio.gather(*(lists.with_batching(
                max_batch_size=3, wait_ms=60_000).remote.aio(n) for n in range(3))),
        ]

    def by_id():
        call = add.spawn_map(range(5), kwargs={"c": 1})
        again = modal.FunctionCall.from_id(call.object_id)
        found = [call.get(index=3), list(again.iter(start=1, end=3)), again.num_inputs()]
        graph = again.get_call_graph()
        found.append([[one.status.name, one.function_name] for one in graph])
        found.append(all(one.task_id.startswith("ru-") for one in graph))
        mixed = invert.experimental_spawn_map([1, 0])
        raised(lambda: mixed.get(index=1))
        mixed.get(index=0)
        found.append([one.status.name for one in mixed.get_call_graph()])
        return found

    def waited_for():
        call = waits.spawn(7)
        found = [raised(lambda: call.get(timeout=0)), raised(lambda: call.get(timeout=0.01))]
        found.append([one.status.name for one in call.get_call_graph()])
        (HERE / "open").touch()
        return [*found, call.get(), call.get()]

    def unknown():
        return modal.FunctionCall.from_id("fc-" + "1" * 22).get(timeout=0)

    def not_there():
        return modal.FunctionCall.from_id("fc-" + "1" * 22).hydrate()

    async def there(call: modal.FunctionCall[int]) -> int:
        again = modal.FunctionCall[int].from_id(call.object_id)
        assert again.hydrate() is again and await again.hydrate.aio() is again
        return await again.get.aio()

    def cancelled():
        (HERE / "open").unlink(missing_ok=True)
        call = waits.spawn(1)
        call.cancel()
        error = raised(call.get)
        return [error, [one.status.name for one in call.get_call_graph()]]

    def called_inside():
        def shown(one):
            return [one.function_name, one.status.name, sorted(map(shown, one.children))]

        def all_of(ones):
            return [one for top in ones for one in (top, *all_of(top.children))]

        call = family.spawn(1)
        call.get()
        for _ in range(600):  # what runners and the queue tell comes a moment later
            (graph,) = call.get_call_graph()
            every = all_of([graph])
            if len(every) == 6 and all(one.status.name == "SUCCESS" for one in every):
                break
            time.sleep(0.05)
        told = all(one.task_id.startswith("ru-") for one in every)
        ids = [one.input_id.startswith(f"{one.function_call_id}:") for one in every]
        modules = {one.module_name for one in every} == {graph.module_name}
        return [shown(graph), told, all(ids), modules]

    def sizes():
        add.autoscaler.update(max_containers=3, scaledown_window=30)
        changed = add.autoscaler.settings()
        add.autoscaler.update(max_containers=None, scaledown_window=None)
        add.update_autoscaler(buffer_containers=0)
        plain, own = add.autoscaler.settings(), Model(size=9).autoscaler.settings()
        return [
            [changed.max_containers, changed.scaledown_window],
            [plain.max_containers, plain.scaledown_window, plain.min_containers],
            own.max_containers,
            raised(lambda: Model().run.update_autoscaler(min_containers=1)),
        ]

    def backlog():
        for _ in range(600):  # what nodes say of their pools comes a moment later
            if not (left := add.get_current_stats().backlog):
                break
            time.sleep(0.05)
        return left

    @app.local_entrypoint()
    def main(number: int = 1, flag: bool = False):
        unordered = sorted(add.map(range(5), order_outputs=False))
        print(json.dumps({
            "options": [number, flag],
            "local": add.local(1, c=2),
            "remote": add.remote(1, 2, c=3),
            "map": list(add.map(range(5), range(3), kwargs={"c": 1})),
            "unordered": unordered,
            "exceptions": [repr(v) for v in invert.map([1, 0], return_exceptions=True)],
            "first error": raised(lambda: list(invert.map([0]))),
            "for_each": add.for_each([1, 2]),
            "ignored": invert.for_each([0], ignore_exceptions=True),
            "own error": raised(lambda: fails.remote(3)),
            "retried": second_time.remote("retried"),
            "retried in a map": list(second_time.map(["a", "b"])),
            "timeout": raised(too_long.remote),
            "aio": asyncio.run(with_aio()),
            "by id": by_id(),
            "waited for": waited_for(),
            "called inside": called_inside(),
            "cancelled": cancelled(),
            "context": context.remote(),
            "here": [modal.is_local(), modal.current_input_id(), modal.current_function_call_id()],
            "nested": outer.remote(3),
            "model": [Model(size=2).run.remote(1), Model(3).run.local(1), Model(3).size],
            "concurrent": list(add.with_concurrency(max_inputs=4).map(range(4))),
            "stats": backlog(),
            "sizes": sizes(),
            "no such call": [raised(unknown), raised(not_there)],
            "a call that is there": asyncio.run(there(add.spawn(5))),
            "no such app": raised(modal.Function.from_name("no-such-app", "f").hydrate),
            "hydrated": add.hydrate() is add and Model.hydrate().object_id.startswith("fu-"),
            "generator": raised(lambda: add.remote_gen(1)),
            "too large": raised(lambda: add.remote(threading.Lock())),
        }))
"""


@pytest.fixture(scope="module")
def found(instance: Home) -> Iterator[dict[str, Any]]:
    with instance.another_place() as place:
        yield place.run(f"{place.script(_PROGRAM)}::app.main", "--number", "4", "--flag").value


def test_an_app_s_entrypoint_is_named_and_its_parameters_are_options(found: dict[str, Any]) -> None:
    assert found["options"] == [4, True]


def test_remote_and_local(found: dict[str, Any]) -> None:
    assert found["local"] == 3 and found["remote"] == 6
    assert found["nested"] == 3 + 3 + 1 + 2
    assert found["hydrated"]
    assert found["context"] == [False, True, True]
    assert found["here"] == [True, None, None]


def test_maps(found: dict[str, Any]) -> None:
    assert found["map"] == [1, 3, 5]  # the shortest iterator wins
    assert found["unordered"] == [0, 1, 2, 3, 4]
    assert found["exceptions"] == ["1.0", "ZeroDivisionError('division by zero')"]
    assert found["first error"][0][0] == "ZeroDivisionError"
    assert found["for_each"] is None and found["ignored"] is None


def test_asyncio_forms(found: dict[str, Any]) -> None:
    batch = [[3, 0], [3, 1], [3, 2]]
    assert found["aio"] == [3, [0, 2, 4], [2, 4], 7, [7, 7], 6, batch]


def test_a_call_of_many_inputs_is_read_by_index_and_by_id(found: dict[str, Any]) -> None:
    value, some, count, graph, told, mixed = found["by id"]
    assert (value, some, count) == (4, [2, 3], 5)
    assert graph == [["SUCCESS", "add"]] * 5 and told
    assert mixed == ["SUCCESS", "FAILURE"]
    assert found["a call that is there"] == 5


def test_the_graph_of_a_call_has_the_calls_that_it_made(found: dict[str, Any]) -> None:
    """Direct ones, maps, and spawned ones, which nobody need have waited for."""
    graph, *told = found["called inside"]
    added = ["add", "SUCCESS", []]
    inner = ["family", "SUCCESS", [added, added]]
    assert graph == ["family", "SUCCESS", [added, added, inner]] and all(told)


def test_a_result_that_is_not_there_in_time_is_the_builtin_timeout(found: dict[str, Any]) -> None:
    looked, waited, graph, value, again = found["waited for"]
    assert looked[0][:2] == waited[0][:2] == ["TimeoutError", "OSError"]
    assert graph == ["PENDING"] and value == again == 7


def test_a_cancelled_call_is_a_remote_error(found: dict[str, Any]) -> None:
    error, graph = found["cancelled"]
    assert error[0][:2] == ["RemoteError", "Error"] and graph == ["TERMINATED"]


def test_errors_keep_their_types_and_failures_have_ours(found: dict[str, Any]) -> None:
    assert found["own error"] == [["OwnError", "Exception", "BaseException", "object"], "code 3"]
    assert found["timeout"][0][:3] == ["FunctionTimeoutError", "TimeoutError", "Error"]
    assert "OSError" not in found["timeout"][0]  # not the builtin one
    assert found["no such app"][0][0] == "NotFoundError"
    assert [kinds[0] for kinds, _ in found["no such call"]] == ["NotFoundError"] * 2
    assert found["generator"][0][0] == "InvalidError"
    assert found["too large"][0][0] == "SerializationError"


def test_retries(found: dict[str, Any]) -> None:
    assert found["retried"] == "the second time"
    assert found["retried in a map"] == ["the second time"] * 2


def test_classes(found: dict[str, Any]) -> None:
    assert found["model"] == [[2, 1, ["first", "second"]], [3, 1, ["first", "second"]], 3]


def test_pools_and_variants(found: dict[str, Any]) -> None:
    assert found["concurrent"] == [0, 1, 2, 3] and found["stats"] == 0
    changed, plain, own, method = found["sizes"]
    assert changed == [3, 30.0] and plain == [None, 60.0, 0] and own is None
    assert method[0][0] == "InvalidError" and "Model().update_autoscaler" in method[1]
