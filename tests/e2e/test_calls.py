"""Calls from an entrypoint: maps, spawns, nested calls, and what comes home when they fail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.harness import Home

NUMBERS = """
    import json, rekindle
    app = rekindle.App("numbers")

    @app.function(max_containers=2)
    def invert(n: int) -> float:
        return 1 / n

    @app.function()
    def add(a, b=0, *, c=0):
        return a + b + c

"""


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


def test_a_users_exception_comes_home_as_itself_with_the_remote_traceback(shared: Home) -> None:
    script = shared.script(
        """
        import rekindle, traceback
        app = rekindle.App("failing")

        class OutOfInk(Exception):
            def __init__(self, colour, left):
                super().__init__(colour, left)
                self.colour = colour
                self.left = left

        def press(colour):
            raise OutOfInk(colour, 0.5)

        @app.function()
        def write(colour):
            try:
                {}["nothing"]
            except KeyError as error:
                press(colour)

        @app.local_entrypoint()
        def main(catch: bool = False):
            if not catch:
                write.remote("blue")
            try:
                write.remote("blue")
            except OutOfInk as error:
                print(type(error) is OutOfInk, error.colour, error.left)
                traceback.print_exception(error)
        """
    )
    ended = shared.run(script, "--catch")
    assert ended.out == "True blue 0.5\n"
    for text in (ended.err, shared.run(script, status=1).err):
        assert "raise OutOfInk(colour, 0.5)" in text
        assert "KeyError: 'nothing'" in text
        assert "During handling of the above exception" in text
        assert "serve.py" not in text


def test_an_argument_that_cannot_be_pickled_is_named_with_its_path(shared: Home) -> None:
    script = shared.script(
        NUMBERS
        + """
    @app.local_entrypoint()
    def main():
        import threading
        add.remote({"deep": [1, {"lock": threading.Lock()}]})
"""
    )
    ended = shared.run(script, status=1)
    assert "['deep'][1]['lock']" in ended.err
    assert "lock" in ended.err and "SerializationError" in ended.err


def test_a_result_that_cannot_be_pickled_is_named(shared: Home) -> None:
    script = shared.script(
        """
        import rekindle, threading
        app = rekindle.App("locked")

        @app.function()
        def make():
            return {"lock": threading.Lock()}

        @app.local_entrypoint()
        def main():
            try:
                make.remote()
            except rekindle.exception.SerializationError as error:
                print("refused:", error)
        """
    )
    out = shared.run(script).out
    assert "refused:" in out and "make" in out and "['lock']" in out


def test_a_result_that_cannot_be_unpickled_at_home_is_named(shared: Home) -> None:
    script = shared.script(
        """
        import os, rekindle
        app = rekindle.App("foreign")

        def explode():
            if os.environ.get("REKINDLE_IS_REMOTE") != "1":
                raise ImportError("no such module at home")

        class Odd:
            def __reduce__(self):
                return explode, ()

        @app.function()
        def make():
            return Odd()

        @app.local_entrypoint()
        def main():
            try:
                make.remote()
            except rekindle.exception.DeserializationError as error:
                print("refused:", error)
        """
    )
    out = shared.run(script).out
    assert "refused:" in out and "the result of make" in out and "no such module at home" in out


def test_sys_exit_in_a_function_is_an_error_and_its_runner_is_replaced(shared: Home) -> None:
    script = shared.script(
        """
        import os, sys, rekindle
        app = rekindle.App("leaver")

        @app.function()
        def leave(how):
            if how == "sys":
                sys.exit("enough")
            if how == "os":
                os._exit(7)
            return "stayed"

        @app.local_entrypoint()
        def main():
            for how in ("sys", "os", "not"):
                try:
                    print(leave.remote(how))
                except BaseException as error:
                    print(type(error).__name__, error)
        """
    )
    first, second, third = shared.run(script).out.splitlines()
    assert first.startswith("RemoteExitError SystemExit: sys.exit('enough')")
    assert second.startswith("RunnerLostError") and "exit status 7" in second
    assert third == "stayed"


def test_a_function_that_runs_too_long_is_stopped(shared: Home) -> None:
    script = shared.script(
        """
        import rekindle, threading
        app = rekindle.App("slow")

        @app.function(timeout=1)
        def work(forever):
            if forever:
                threading.Event().wait()
            return "done"

        @app.local_entrypoint()
        def main():
            try:
                work.remote(True)
            except rekindle.exception.FunctionTimeoutError as error:
                print("timed out:", error)
            print(work.remote(False))
        """
    )
    first, second = shared.run(script).out.splitlines()
    assert first.startswith("timed out:") and "work" in first and "timeout=1" in first
    assert second == "done"


def test_a_failed_input_is_retried_as_asked(shared: Home) -> None:
    script = shared.script(
        """
        import rekindle
        app = rekindle.App("tries")

        @app.function(retries=rekindle.Retries(max_retries=2, initial_delay=0.0))
        def flaky(path):
            with open(path, "a+") as file:
                file.write(".")
                file.flush()
                file.seek(0)
                if len(file.read()) < 3:
                    raise OSError("not yet")
            return "at last"

        @app.local_entrypoint()
        def main(path: str):
            print(flaky.remote(path))
        """
    )
    path = shared.scripts / "tries"
    assert shared.run(script, "--path", str(path)).out == "at last\n"
    assert path.read_text() == "..."


def test_an_import_that_fails_in_the_runner_comes_home(shared: Home) -> None:
    script = shared.script(
        """
        import rekindle
        app = rekindle.App("importer")

        @app.cls(enable_memory_snapshot=True)
        class Model:
            @rekindle.enter(snap=True)
            def load(self):
                import a_package_that_nobody_has

            @rekindle.method()
            def ask(self): ...

        @app.local_entrypoint()
        def main():
            try:
                Model().ask.remote()
            except ModuleNotFoundError as error:
                print(error.name)
        """
    )
    assert shared.run(script).out == "a_package_that_nobody_has\n"


def test_an_error_inside_a_runner_can_be_caught_by_the_function_that_called(shared: Home) -> None:
    script = shared.script(
        """
        import rekindle
        app = rekindle.App("chain")

        class Refused(Exception): ...

        @app.function()
        def inner():
            raise Refused("no")

        @app.function()
        def outer():
            try:
                inner.remote()
            except Refused as error:
                return f"caught {error}"

        @app.local_entrypoint()
        def main():
            print(outer.remote())
        """
    )
    assert shared.run(script).out == "caught no\n"


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
