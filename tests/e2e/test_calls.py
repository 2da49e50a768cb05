"""Calls from an entrypoint: maps, spawns, nested calls. Failures: test_call_failures.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.harness import Home
from tests.e2e.programs import NUMBERS


def entrypoint(shared: Home, body: str, *, above: str = NUMBERS) -> object:
    """Run an entrypoint; the value of its last line."""
    lines = "".join(f"        {line.strip()}\n" for line in body.strip().splitlines())
    return shared.run(
        shared.script(f"{above}\n    @app.local_entrypoint()\n    def main():\n{lines}")
    ).value


#: One program for many ways to call: what it prints of each.
WAYS = """
        def fetched():
            call = add.spawn(1, 2)
            again = rekindle.FunctionCall.from_id(call.object_id)
            return [again.get(timeout=60), call.get(), call.get(timeout=0)]

        def from_threads():
            with ThreadPoolExecutor(8) as pool:
                return list(pool.map(add.remote, range(40)))

        print(json.dumps({
            "map": list(add.map(range(50), range(50))),
            "as they come": list(add.map(range(50), order_outputs=False, kwargs={'c': 1})),
            "exceptions": [repr(v) for v in invert.map([1, 0, 2], return_exceptions=True)],
            "starmap": list(add.starmap([(1, 2), (3, 4)])),
            "spawn_map": list(add.spawn_map(range(20)).iter()),
            "fetched": fetched(),
            "threads": from_threads(),
        }))
"""


Values = dict[str, list[Any]]


@pytest.fixture(scope="module")
def values(instance: Home) -> Iterator[Values]:
    """What each of the ways gave."""
    with instance.another_place() as place:
        script = place.script(
            f"{NUMBERS}    from concurrent.futures import ThreadPoolExecutor\n\n"
            f"    @app.local_entrypoint()\n    def main():{WAYS}"
        )
        yield place.run(script).value


def test_a_map_keeps_the_order_of_its_inputs(values: Values) -> None:
    assert values["map"] == [2 * n for n in range(50)]


def test_a_map_can_give_values_as_they_come(values: Values) -> None:
    assert sorted(values["as they come"]) == [n + 1 for n in range(50)]


def test_a_map_can_give_exceptions_in_the_place_of_values(values: Values) -> None:
    assert values["exceptions"] == ["1.0", "ZeroDivisionError('division by zero')", "0.5"]


def test_a_starmap_unpacks_tuples(values: Values) -> None:
    assert values["starmap"] == [3, 7]


def test_many_inputs_are_spawned_as_one_call(values: Values) -> None:
    assert values["spawn_map"] == list(range(20))


def test_a_spawned_call_is_fetched_later_and_by_its_id(values: Values) -> None:
    assert values["fetched"] == [3, 3, 3]


def test_calls_from_many_threads_of_a_program(values: Values) -> None:
    assert values["threads"] == list(range(40))


def test_a_map_raises_the_first_exception(shared: Home) -> None:
    script = shared.script(
        NUMBERS
        + """
    @app.local_entrypoint()
    def main():
        for value in invert.map([1, 0, 2]):
            print("value", value)
"""
    )
    ended = shared.run(script, status=1)
    assert ended.out == "value 1.0\n"
    assert "ZeroDivisionError: division by zero" in ended.err


def test_a_spawned_call_without_a_result_in_time_can_be_asked_again(shared: Home) -> None:
    script = shared.script(
        """
        import json, os, sys, rekindle
        app = rekindle.App("late")

        @app.function()
        def wait(path):
            with open(path) as gate:
                return gate.read()

        @app.local_entrypoint()
        def main(path: str):
            os.mkfifo(path)
            call = wait.spawn(path)
            said = []
            for _ in range(2):
                try:
                    call.get(timeout=0.1)
                except TimeoutError as error:
                    said.append(str(error))
            with open(path, "w") as gate:
                gate.write("opened")
            print(json.dumps([said, call.get(timeout=60)]))
        """
    )
    said, value = shared.run(script, "--path", str(shared.scripts / "late")).value
    assert value == "opened"
    assert len(said) == 2 and all("it goes on, get() can be called again" in text for text in said)


def test_results_of_a_spawned_call_outlive_its_program(shared: Home) -> None:
    call_id = entrypoint(
        shared,
        """
        call = add.spawn(40, 2)
        call.get()
        print(json.dumps(call.object_id))
        """,
    )
    later = shared.script(
        f"""
        import os, rekindle
        print(rekindle.FunctionCall.from_id("{call_id}").get(timeout=60))
        """,
        "later.py",
    )
    assert shared.python(later, REKINDLE_DIR=str(shared.daemon)).out == "42\n"


def test_a_function_calls_another_one(shared: Home) -> None:
    script = shared.script(
        """
        import json, rekindle
        app = rekindle.App("nested")

        @app.function()
        def inner(n):
            print("inner", n)
            return n + 1

        @app.cls()
        class Middle:
            @rekindle.method()
            def twice(self, n):
                return list(inner.map([n, n + 10]))

        @app.function()
        def outer(n):
            call = inner.spawn(100)
            return [inner.remote(n), Middle().twice.remote(n), call.get(timeout=60)]

        @app.local_entrypoint()
        def main():
            print(json.dumps(outer.remote(1)))
        """
    )
    ended = shared.run(script)
    assert ended.value == [2, [2, 12], 101]
    assert ended.out.count("inner") == 4


def test_large_values_travel_both_ways(shared: Home) -> None:
    found = entrypoint(
        shared,
        """
        data = bytes(range(256)) * (24 << 12)
        print(json.dumps([len(data), add.remote(data, b"x") == data + b"x"]))
        """,
        above=NUMBERS.replace("+ c", "+ (c or b'')"),
    )
    assert found == [24 << 20, True]


def test_iterators_that_nobody_has_read_to_their_end_say_nothing_at_the_end_of_the_program(
    shared: Home,
) -> None:
    script = shared.script(
        """
        import rekindle

        app = rekindle.App("left")

        @app.function()
        def double(n):
            return 2 * n

        @app.function()
        def count(n):
            yield from range(n)

        if __name__ == "__main__":
            with app.run():
                of_map, items = double.map(range(10)), count.remote_gen(100_000)
                print(next(of_map), next(items))
                print(sum(double.remote(n) for n in range(100)))  # meanwhile all of the first come
        """
    )
    ended = shared.python(script)
    assert (ended.out, ended.err) == ("0 0\n9900\n", "")


def test_a_function_may_have_parameters_of_any_name(shared: Home) -> None:
    """Also of the names that our own methods give theirs."""
    names = ["args", "body", "caller", "function", "instance", "kwargs", "method", "owner", "self"]
    value = entrypoint(
        shared,
        f"""
        given = dict.fromkeys({names}, 1)
        ways = [names.remote(**given), names.local(**given), names.spawn(**given).get()]
        ways += [*names.map([()], kwargs=given), next(items.remote_gen(**given))]
        print(json.dumps(ways))
        """,
        above=NUMBERS
        + """
    @app.function()
    def names(*args, **kwargs):
        return sorted(kwargs)

    @app.function()
    def items(**kwargs):
        yield sorted(kwargs)
""",
    )
    assert value == [names] * 5
