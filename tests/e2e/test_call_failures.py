"""Calls that fail: the user's exceptions, what cannot travel, and runners that end."""

from __future__ import annotations

import pytest

from tests.e2e.harness import Home
from tests.e2e.programs import NUMBERS


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


@pytest.mark.parametrize(
    ("handle", "what"),
    [
        ("double", "double cannot be called remotely"),
        ("rekindle.Function.from_name('other', 'f')", "An instance cannot be used"),
        ("rekindle.Cls.from_name('other', 'C')().m", "An instance cannot be used"),
    ],
)
def test_a_call_while_a_template_is_set_up_says_where_to_make_it(
    shared: Home, handle: str, what: str
) -> None:
    script = shared.script(
        f"""
        import rekindle
        app = rekindle.App("too-early")

        @app.function()
        def double(n):
            return 2 * n

        @app.cls(enable_memory_snapshot=True)
        class Model:
            @rekindle.enter(snap=True)
            def load(self):
                self.got = {handle}.remote(2)

            @rekindle.method()
            def ask(self): ...

        @app.local_entrypoint()
        def main():
            try:
                Model().ask.remote()
            except rekindle.exception.ExecutionError as error:
                print(error)
        """
    )
    assert shared.run(script).out == (
        f"{what} while a function is imported, or in an @rekindle.enter(snap=True) hook: a "
        f"snapshot belongs to no instance. Do it in the function, or in an @rekindle.enter() hook\n"
    )


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
