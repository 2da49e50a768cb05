"""A script is a module in a runner as it is at home."""

from __future__ import annotations

import zipfile

import pytest

from tests.e2e.harness import Home

PROGRAM = """
    import decimal, functools, os, pickle, sys, threading
    from pathlib import Path
    import rekindle

    sys.path.insert(0, str(Path(__file__).parent / "more"))
    import from_more

    os.environ["SET_AT_THE_TOP"] = "yes"
    decimal.getcontext().prec = 7
    LOCK = threading.Lock()
    DATA = Path(__file__).with_name("data.txt").read_text()
    app = rekindle.App("script")

    class Failure(Exception):
        def __init__(self, text, what):
            super().__init__(text, what)
            self.what = what

    class Thing:
        made = 0

    @functools.singledispatch
    def kind(value):
        return "other"

    @kind.register
    def _(value: Thing):
        return "thing"

    @app.function()
    def probe(thing, closure):
        with LOCK:
            return {
                "identity": isinstance(thing, Thing) and kind(thing) == "thing",
                "main": sys.modules["__main__"] is sys.modules[__name__],
                "not run as main": __name__ != "__main__" and not rekindle.is_local(),
                "pickle": type(pickle.loads(pickle.dumps(thing))) is Thing,
                "file": __file__ == os.path.join(os.getcwd(), os.path.basename(__file__)),
                "data": DATA == "data",
                "set up": (os.environ["SET_AT_THE_TOP"], decimal.getcontext().prec) == ("yes", 7),
                "path": from_more.MARK == "more",
                "closure": closure(2) == 10,
                "call": other.remote(1) == 2,
            }

    @app.function()
    def other(x):
        return x + 1

    @app.function()
    def fails():
        raise Failure("no", Thing())

    @app.local_entrypoint()
    def main():
        five = 5
        wrong = [k for k, v in probe.remote(Thing(), lambda x: x * five).items() if not v]
        try:
            fails.remote()
        except Failure as failure:
            if not isinstance(failure.what, Thing):
                wrong.append("failure")
        print("wrong:", wrong)

    if __name__ == "__main__":
        with app.run():
            main()
"""


@pytest.mark.parametrize("name", ["plain.py", "my-script.py", "json.py", "test.py"])
def test_a_script_is_the_module_that_it_is_at_home(shared: Home, name: str) -> None:
    script = shared.script(PROGRAM, name)
    shared.script("MARK = 'more'", "more/from_more.py")
    script.with_name("data.txt").write_text("data")
    assert "wrong: []\n" in shared.run(script).out


@pytest.mark.parametrize("given", ["whole", "whole/__main__.py"])
def test_a_directory_with_a_main_is_a_program(shared: Home, given: str) -> None:
    script = shared.script(PROGRAM, "whole/__main__.py")
    shared.script("MARK = 'more'", "whole/more/from_more.py")
    script.with_name("data.txt").write_text("data")
    out = shared.python(shared.scripts / given).out
    assert out == "wrong: ['file']\n"  # whose directory is not the working directory here


def test_the_top_level_is_no_place_to_run_the_app(shared: Home) -> None:
    script = shared.script(
        """
        import rekindle
        app = rekindle.App("top")

        @app.function()
        def f():
            return 1

        with app.run():
            print(f.remote())
        """
    )
    ended = shared.python(script, status=1)
    assert "if __name__ == '__main__':" in ended.err and "top level" in ended.err


def test_secrets_are_there_while_a_module_without_snapshots_is_imported(shared: Home) -> None:
    script = shared.script(
        """
        import os, rekindle
        app = rekindle.App("secrets")
        secret = rekindle.Secret.from_dict({"SOME_TOKEN": "abc"})
        allowed = rekindle.Secret.from_dict({"SOME_TOKEN": "abc"}, in_snapshot=True)
        TOKEN = "home" if rekindle.is_local() else os.environ["SOME_TOKEN"]

        @app.function(secrets=[secret])
        def plain():
            return TOKEN

        @app.function(secrets=[allowed], enable_memory_snapshot=True)
        def may():
            return TOKEN

        @app.function(secrets=[secret], enable_memory_snapshot=True)
        def frozen():
            return TOKEN

        @app.local_entrypoint()
        def main():
            print(plain.remote(), may.remote())
            try:
                frozen.remote()
            except KeyError as error:
                print(repr(error), *error.__notes__ if hasattr(error, "__notes__") else "",
                      error.__cause__)
        """
    )
    out = shared.run(script).out
    assert out.startswith("abc abc\nKeyError('SOME_TOKEN')") and "in_snapshot=True" in out


@pytest.mark.criu
def test_a_file_that_a_hook_read_counts(home: Home) -> None:
    script = home.script(
        """
        import rekindle
        from pathlib import Path
        app = rekindle.App("reads")

        @app.cls(enable_memory_snapshot=True)
        class Reader:
            @rekindle.enter(snap=True)
            def load(self):
                self.text = Path(__file__).with_name("words.txt").read_text()

            @rekindle.method()
            def get(self):
                return self.text

        @app.local_entrypoint()
        def main():
            print(Reader().get.remote())
        """
    )
    words = script.with_name("words.txt")
    words.write_text("one")
    assert home.run(script).out == "one\n"
    assert " restore " in home.run(script, "--phases").out
    words.write_text("other")
    assert home.run(script).out == "other\n"


def test_a_linked_script_has_its_own_name_and_the_neighbours_of_its_file(shared: Home) -> None:
    shared.script("MARK = 'beside'", "real/beside.py")
    target = shared.script(
        """
        import rekindle
        import beside
        app = rekindle.App("linked")

        class Thing:
            pass

        @app.function()
        def f(thing):
            return [beside.MARK, type(thing) is Thing, __name__]

        @app.local_entrypoint()
        def main():
            print(f.remote(Thing()))
        """,
        "real/target.py",
    )
    link = target.parent.with_name("linked.py")
    link.symlink_to(target)
    assert "['beside', True, 'linked']\n" in shared.run(link).out


def test_modules_in_a_zip_file_are_read_from_it(shared: Home) -> None:
    script = shared.script(
        """
        import sys
        from pathlib import Path
        sys.path.insert(0, str(Path(__file__).with_name("lib.zip")))
        import rekindle
        from zipped import Thing
        app = rekindle.App("zips")

        @app.function()
        def f(thing):
            return type(thing) is Thing

        @app.local_entrypoint()
        def main():
            print("same:", f.remote(Thing()))
        """
    )
    with zipfile.ZipFile(script.with_name("lib.zip"), "w") as archive:
        archive.writestr("zipped/__init__.py", "from .inner import Thing\n")
        archive.writestr("zipped/inner.py", "class Thing: pass\n")
    assert "same: True\n" in shared.run(script).out


def test_cached_functions_of_a_program_that_has_no_file_travel(shared: Home) -> None:
    program = """
import functools, rekindle
app = rekindle.App("cached")
LIMIT = 2

@functools.lru_cache(maxsize=None)
def fib(n):
    return n if n < LIMIT else fib(n - 1) + fib(n - 2)

class Thing:
    @functools.lru_cache
    def twice(self, n):
        return 2 * n

@app.function()
def f():
    return fib(60), fib.cache_info().misses, fib.__name__, Thing().twice(4)

with app.run():
    print(f.remote())
"""
    assert "(1548008755920, 61, 'fib', 8)\n" in shared.python("-c", program).out
