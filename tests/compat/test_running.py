"""Rows on apps that run, classes, delivery and errors (sections 1 to 3, 5 to 7, 9): one program."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.harness import Home

_PROGRAM = """
    import asyncio, contextlib, gc, json, os, pathlib, subprocess, sys, threading, time, warnings
    import rekindle as modal

    HERE = pathlib.Path({here!r})
    common = modal.Volume.from_name("running-common", create_if_missing=True)
    general = modal.Volume.from_name("running-general", create_if_missing=True)
    own = modal.Volume.from_name("running-own", create_if_missing=True)
    app = modal.App(
        "running",
        volumes={{str(HERE / "common"): common, str(HERE / "either"): general}},
        secrets=[modal.Secret.from_dict({{"OF": "app", "APP": "1"}})],
    )

    @app.function(volumes={{str(HERE / "either"): own}})
    def writes():
        for name in ("common", "either"):
            (HERE / name / "file").write_text(name)

    @app.function()
    def context():
        child = "import rekindle; print(rekindle.is_local())"
        shown = subprocess.check_output([sys.executable, "-c", child], text=True).strip()
        names = ["IS_REMOTE", "APP", "FUNCTION", "ENVIRONMENT"]
        told = [os.environ[f"REKINDLE_{{name}}"] for name in names]
        return [modal.is_local(), shown, told]

    @app.function(secrets=[modal.Secret.from_dict({{"OF": "function", "OWN": "1"}})])
    def variables():
        return [os.environ.get(name) for name in ("OF", "APP", "OWN", "NEW", "FIRST")]

    @app.function()
    def count(n):
        yield from range(n)

    @app.function()
    def shares(n):
        return n

    @app.function(min_containers=2)
    def stays():
        return 1

    @app.function(buffer_containers=1)
    def busy():
        while not (HERE / "busy no more").exists():
            time.sleep(0.01)

    def pools():
        def runners(function, count):
            return until(lambda: function.get_current_stats().num_total_runners == count)

        before = busy.get_current_stats().num_total_runners
        call = busy.spawn()
        found = [runners(stays, 2), before, runners(busy, 2)]
        (HERE / "busy no more").touch()
        return [*found, call.get()]

    def nested(factor):
        @app.function(serialized=True)
        def inner(n):
            return n * factor
        return inner

    inner = nested(5)

    class Base:
        @modal.enter()
        def a_of_base(self):
            self.seen = ["base"]

        @modal.exit()
        def last(self):
            (HERE / "common" / "exit").write_text("exit")

    @app.cls()
    class Model(Base):
        name: str = modal.parameter(default="x")

        @modal.enter()
        async def of_child(self):
            self.seen.append("child")

        @modal.method()
        def one(self):
            return [os.environ["REKINDLE_RUNNER_ID"], self.seen]

        @modal.method()
        async def two(self):
            return [os.environ["REKINDLE_RUNNER_ID"], self.seen]

    @app.cls(max_containers=1)
    @modal.concurrent(max_inputs=3)
    class Threads:
        @modal.enter()
        def start(self):
            self.together = threading.Barrier(3)

        @modal.method()
        def meet(self):
            self.together.wait(60)
            return threading.get_ident()

    @app.cls(max_containers=1)
    @modal.concurrent(max_inputs=3)
    class Tasks:
        @modal.enter()
        async def start(self):
            self.there, self.all = 0, asyncio.Event()

        @modal.method()
        async def meet(self):
            self.there += 1
            if self.there == 3:
                self.all.set()
            await self.all.wait()
            return [threading.get_ident(), id(asyncio.get_running_loop())]

    @app.function(max_containers=2)
    def fails_or_ends(name):
        if name == "fails":
            raise KeyError(name)
        while not (HERE / "go").exists():
            time.sleep(0.01)
        return name

    def until(condition):
        for _ in range(6000):
            if condition():
                return True
            time.sleep(0.01)
        return False

    @app.function(retries=3)
    def cancelled():
        try:
            with open(HERE / "attempts", "a") as file:
                file.write("x")
            while True:
                time.sleep(0.01)
        except BaseException as error:
            (HERE / "sync").write_text(" ".join(kind.__name__ for kind in type(error).__mro__))
            raise

    @app.function()
    async def cancelled_aio():
        (HERE / "begun").touch()
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            (HERE / "async").write_text("cancelled")
            raise

    @app.function(retries=1)
    def again(name):
        place = HERE / name
        with open(place, "a") as file:
            file.write(f"{{time.time()}}\\n")
        if len(place.read_text().split()) < 2:
            raise ValueError("the first attempt")
        return [float(word) for word in place.read_text().split()]

    @app.function(retries=modal.Retries(max_retries=1, initial_delay=0.0), timeout=1)
    def slow_once():
        if not (HERE / "slow").exists():
            (HERE / "slow").touch()
            time.sleep(600)
        return "in time"

    @app.function()
    def raises_what_is_only_there():
        (HERE / "only_there.py").write_text("class Only(Exception): ...")
        sys.path.insert(0, str(HERE))
        import only_there
        raise only_there.Only("from there")

    def raised(call):
        try:
            call()
        except BaseException as error:
            return [[kind.__name__ for kind in type(error).__mro__], str(error)]
        return None

    def warned(call):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
            gc.collect()
        return [one.category.__name__ for one in caught]

    def gathered():
        first, second = fails_or_ends.spawn("fails"), fails_or_ends.spawn("ends")
        error = raised(lambda: modal.FunctionCall.gather(first, second))
        (HERE / "go").touch()
        return [error, second.get(), modal.FunctionCall.gather(second, second)]

    def cancellations():
        sync, other = cancelled.spawn(), cancelled_aio.spawn()
        attempts = HERE / "attempts"
        began = until(lambda: attempts.exists() and attempts.read_text())
        began = began and until((HERE / "begun").exists)
        sync.cancel()
        other.cancel()
        errors = [raised(sync.get)[0][:2], raised(other.get)[0][:2]]
        ended = until((HERE / "sync").exists) and until((HERE / "async").exists)
        said = [(HERE / name).read_text() for name in ("sync", "async", "attempts")]
        return [began, ended, errors, said]

    def together(what):
        calls = [what().meet.spawn() for _ in range(3)]
        return [call.get() for call in calls]

    @app.local_entrypoint()
    async def main():
        def all_of_it():
            of_pools = pools()  # before others fill the node
            writes.remote()
            by_hand = modal.Function.from_name("running", "count")
            several = shares.with_options(timeout=5).with_options(max_containers=2)
            other = variables.with_options(secrets=[modal.Secret.from_dict({{"NEW": "2"}})])
            stacked = other.with_options(env={{"FIRST": "3"}}).with_options(timeout=9)
            a, same, b = Model(name="a"), Model("a"), Model(name="b")
            stats = shares.get_current_stats()
            return {{
                "volumes": [[one.path for one in v.listdir("/")] for v in (common, general, own)],
                "again": raised(lambda: app.run().__enter__()),
                "ids": [app.app_id, shares.object_id, shares.spawn(1).object_id],
                "context": context.remote(),
                "looked up": raised(by_hand.hydrate),
                "never read": warned(lambda: count.remote_gen(1)),
                "stacked": [several.remote(3), variables.remote(), stacked.remote()],
                "inner": inner.remote(2),
                "stats": [getattr(stats, name) >= 0 for name in (
                    "backlog", "num_total_runners", "num_running_inputs", "input_headroom")],
                "models": [a.one.remote(), a.two.remote(), same.one.remote(), b.one.remote()],
                "no method": raised(lambda: a.nothing),
                "threads": together(Threads), "tasks": together(Tasks),
                "gathered": gathered(),
                "pools": of_pools,
                "cancellations": cancellations(),
                "retried": again.remote("retried"),
                "retried, spawned": again.spawn("spawned").get(),
                "slow": [slow_once.remote()],
                "only there": raised(raises_what_is_only_there.remote),
            }}

        print(json.dumps(await asyncio.to_thread(all_of_it)))
"""


@pytest.fixture(scope="module")
def found(instance: Home) -> Iterator[dict[str, Any]]:
    with instance.another_place() as place:
        (place.scripts / "here").mkdir()
        text = _PROGRAM.format(here=str(place.scripts / "here"))
        values = place.run(place.script(text)).value
        listed = place.rekindle("volume", "ls", "running-common", "--json").out
        yield values | {"exit": listed}


class TestApp:
    def test_volumes_of_the_app_are_those_of_its_functions_which_may_have_others(
        self, found: dict[str, Any]
    ) -> None:
        of_app, replaced, own = found["volumes"]
        assert "file" in of_app and replaced == [] and own == ["file"]

    def test_it_runs_once_at_a_time(self, found: dict[str, Any]) -> None:
        kinds, words = found["again"]
        assert kinds[0] == "InvalidError" and "is running already" in words

    def test_ids_tell_what_they_are_of(self, found: dict[str, Any]) -> None:
        assert [one[:3] for one in found["ids"]] == ["ap-", "fu-", "fc-"]

    def test_what_runs_is_not_looked_up_by_name_unless_it_is_deployed(
        self, found: dict[str, Any]
    ) -> None:
        assert found["looked up"][0][:2] == ["NotFoundError", "Error"]


class TestFunction:
    def test_a_runner_is_remote_and_what_it_starts_is_not(self, found: dict[str, Any]) -> None:
        remote, child, told = found["context"]
        assert remote is False and child == "True"
        assert told == ["1", "running", "context", "main"]

    def test_one_that_no_module_has_travels_by_value(self, found: dict[str, Any]) -> None:
        assert found["inner"] == 10

    def test_variants_stack_and_secrets_replace_those_of_the_function(
        self, found: dict[str, Any]
    ) -> None:
        value, plain, stacked = found["stacked"]
        assert value == 3
        assert plain == ["function", "1", "1", None, None]
        assert stacked == ["app", "1", None, "2", "3"]

    def test_some_runners_stay_and_one_more_is_there_while_it_is_busy(
        self, found: dict[str, Any]
    ) -> None:
        assert found["pools"] == [True, 0, True, None]

    def test_items_that_nobody_reads_warn(self, found: dict[str, Any]) -> None:
        assert found["never read"] == ["NeverIteratedWarning"]

    def test_its_numbers_have_names(self, found: dict[str, Any]) -> None:
        assert found["stats"] == [True] * 4


class TestClass:
    def test_methods_share_the_runners_of_equal_parameters(self, found: dict[str, Any]) -> None:
        one, two, same, other = (runner for runner, _ in found["models"])
        assert one == two == same != other

    def test_hooks_run_parents_first_sync_and_async(self, found: dict[str, Any]) -> None:
        assert [seen for _, seen in found["models"]] == [["base", "child"]] * 4

    def test_exit_hooks_run_before_volumes_are_committed(self, found: dict[str, Any]) -> None:
        assert "exit" in found["exit"]

    def test_a_method_that_is_not_there_is_an_attribute_error(self, found: dict[str, Any]) -> None:
        assert found["no method"][0][0] == "AttributeError"

    def test_concurrent_inputs_are_threads_or_tasks_of_one_loop(
        self, found: dict[str, Any]
    ) -> None:
        assert len(set(found["threads"])) == 3
        assert len({tuple(one) for one in found["tasks"]}) == 1


class TestCalls:
    def test_gather_raises_the_first_failure_and_cancels_no_one(
        self, found: dict[str, Any]
    ) -> None:
        error, value, again = found["gathered"]
        assert error[0][0] == "KeyError" and value == "ends" and again == ["ends", "ends"]

    def test_a_cancelled_input_hears_of_it_and_is_not_retried(self, found: dict[str, Any]) -> None:
        began, ended, errors, (sync, of_loop, attempts) = found["cancellations"]
        assert began and ended and errors == [["RemoteError", "Error"]] * 2
        assert sync.split() == ["InputCancellation", "BaseException", "object"]
        assert of_loop == "cancelled" and attempts == "x"

    def test_a_number_of_retries_is_attempts_a_second_apart(self, found: dict[str, Any]) -> None:
        for times in (found["retried"], found["retried, spawned"]):
            first, second = times
            assert second - first >= 1

    def test_a_timeout_is_of_an_attempt_and_retried(self, found: dict[str, Any]) -> None:
        assert found["slow"] == ["in time"]

    def test_an_error_of_a_type_that_is_not_here_tells_what_it_was(
        self, found: dict[str, Any]
    ) -> None:
        kinds, words = found["only there"]
        assert kinds[:2] == ["RemoteError", "Error"] and "only_there.Only: from there" in words
