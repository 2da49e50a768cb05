"""What a function raises comes home on every way, and ends neither the caller nor the runner."""

from __future__ import annotations

import pytest

from tests.e2e.harness import Home

RAISING = """
    import asyncio, json, os, sys, rekindle
    app = rekindle.App("raising")

    ENDINGS = {
        "exit": lambda: sys.exit(3),
        "interrupt": lambda: _raise(KeyboardInterrupt("k")),
        "generator": lambda: _raise(GeneratorExit("g")),
        "cancelled": lambda: _raise(asyncio.CancelledError("c")),
        "own": lambda: _raise(Own("o", code=9)),
        "stop": lambda: _raise(StopIteration("s")),
        "group": lambda: _raise(BaseExceptionGroup("some", [SystemExit(3), ValueError("v")])),
        "plain": lambda: _raise(ExceptionGroup("some", [Coded("v", code=4), KeyError("k")])),
    }

    def _raise(error):
        raise error

    class Own(BaseException):
        def __init__(self, text, *, code):
            super().__init__(text)
            self.code = code

    class Coded(Exception):
        def __init__(self, text, *, code):
            super().__init__(text)
            self.code = code

    class EndsAtHome:
        def __init__(self, how, side="local"):
            self.how, self.side = how, side

        def __setstate__(self, state):
            self.__dict__.update(state)
            if (self.side == "local") == rekindle.is_local():
                ENDINGS[self.how]()

    class EndsInPickling:
        def __init__(self, how):
            self.how = how

        def __reduce__(self):
            ENDINGS[self.how]()

    @app.function(max_containers=2)
    def end(how):
        if how in ENDINGS:
            ENDINGS[how]()
        return how

    @app.function(max_containers=2)
    async def end_async(how):
        await asyncio.sleep(0)
        if how in ENDINGS:
            ENDINGS[how]()
        return how

    @app.function(max_containers=2)
    def outer(how, way):
        if way == "caught":
            try:
                end.remote(how)
            except rekindle.exception.RemoteExitError as error:
                return type(error.original).__name__
            except Exception as error:
                return type(error).__name__
        if way == "async":
            return asyncio.run(end_async.remote.aio(how))
        if way == "map":
            return list(end.map([how]))
        return end.spawn(how).get() if way == "spawn" else end.remote(how)

    @app.function(max_containers=2)
    def make(how):
        return EndsAtHome(how) if how in ENDINGS else how

    @app.function(max_containers=2)
    def make_unpicklable(how):
        return EndsInPickling(how) if how in ENDINGS else how

    @app.function(max_containers=2)
    def take(value):
        return value if isinstance(value, str) else "taken"

    @app.function(max_containers=1)
    def pid():
        return os.getpid()

    def named(error):
        if isinstance(error, BaseExceptionGroup):
            return [type(error).__name__, [named(one) for one in error.exceptions]]
        original = getattr(error, "original", None)
        if original is not None:
            return ["carried", named(original)]
        if hasattr(error, "code"):
            return [type(error).__name__, error.code]
        return type(error).__name__

    def said(call, *args):
        try:
            got = call(*args)
        except Exception as error:
            return named(error)
        return got
"""
#: What comes home of each ending.
HOME = {
    "exit": ["carried", ["SystemExit", 3]],
    "interrupt": ["carried", "KeyboardInterrupt"],
    "generator": ["carried", "GeneratorExit"],
    "cancelled": ["carried", "CancelledError"],
    "own": ["carried", ["Own", 9]],
    "group": ["carried", ["BaseExceptionGroup", [["SystemExit", 3], "ValueError"]]],
    "plain": ["ExceptionGroup", [["Coded", 4], "KeyError"]],
}


def entry(shared: Home, body: str, *, asynchronous: bool = False) -> object:
    lines = "".join(f"        {line}\n" for line in body.strip("\n").splitlines())
    keyword = "async def" if asynchronous else "def"
    script = shared.script(
        f"{RAISING}\n    @app.local_entrypoint()\n    {keyword} main():\n{lines}"
    )
    return shared.run(script).value


def test_what_ends_programs_comes_home_from_nested_calls_by_every_way(shared: Home) -> None:
    found = entry(
        shared,
        """
hows = [how for how in ENDINGS if how != "stop"]
print(json.dumps({
    way: [said(outer.remote, how, way) for how in hows]
    for way in ("remote", "spawn", "map", "async")
} | {"caught": [outer.remote(how, "caught") for how in hows]}))
""",
    )
    assert isinstance(found, dict)
    for way in ("remote", "spawn", "map", "async"):
        assert found[way] == list(HOME.values()), way
    assert found["caught"] == [
        "SystemExit",
        "KeyboardInterrupt",
        "GeneratorExit",
        "CancelledError",
        "Own",
        "BaseExceptionGroup",
        "ExceptionGroup",
    ]


def test_a_slice_of_inputs_of_which_some_end_gives_all_the_others(shared: Home) -> None:
    found = entry(
        shared,
        """
inputs = [how for i in range(12) for how in (f"i{i}", *ENDINGS)]
by = {}
for how, one in zip(inputs, end.map(inputs, return_exceptions=True), strict=True):
    by.setdefault(how, []).append(one if isinstance(one, str) else named(one))
before = []
try:
    for one in end.map(["a", "b", "exit", "c"]):
        before.append(one)
except rekindle.exception.RemoteExitError as error:
    before.append(named(error))
call = end.spawn_map(["a", "exit", "b"])
one_by_one = [said(lambda i=i: call.get(index=i)) for i in range(3)]
print(json.dumps([by, before, one_by_one, said(end.spawn("exit").get), said(end.spawn("x").get)]))
""",
    )
    assert isinstance(found, list)
    by, before, one_by_one, spawned, fine = found
    for i in range(12):
        assert by[f"i{i}"] == [f"i{i}"]
    for how, right in HOME.items():
        assert by[how] == [right] * 12, how
    assert before == ["a", "b", HOME["exit"]]
    assert one_by_one == ["a", HOME["exit"], "b"]
    assert (spawned, fine) == (HOME["exit"], "x")


def test_on_the_caller_s_loop_the_others_go_on(shared: Home) -> None:
    found = entry(
        shared,
        """
hows = list(ENDINGS)
got = await asyncio.gather(
    *(f.remote.aio(how) for f in (end, end_async) for how in hows), return_exceptions=True
)
gathered = [named(one) for one in got]
loud = None
try:
    await asyncio.gather(*(end.remote.aio(how) for how in ("a", "exit")))
except Exception as error:
    loud = named(error)
tasks = []
try:
    async with asyncio.TaskGroup() as group:
        tasks += [group.create_task(end.remote.aio(how)) for how in ("interrupt",)]
except* rekindle.exception.RemoteExitError as errors:
    grouped = [named(one) for one in errors.exceptions]
async with asyncio.TaskGroup() as group:
    fine = [group.create_task(end_async.remote.aio(how)) for how in ("a", "b")]
mapped = []
async for one in end.map.aio(["a", "cancelled", "b"], return_exceptions=True):
    mapped.append(one if isinstance(one, str) else named(one))
print(json.dumps([gathered, loud, grouped, [task.result() for task in fine], mapped,
                  [task.cancelled() for task in tasks]]))
""",
        asynchronous=True,
    )
    assert isinstance(found, list)
    gathered, loud, grouped, fine, mapped, cancelled = found
    right = list(HOME.values())
    right.insert(5, ["carried", "StopIteration"])
    assert gathered[: len(right)] == right
    # A coroutine cannot raise StopIteration: Python makes a RuntimeError of it.
    right[5] = "RuntimeError"
    assert gathered[len(right) :] == right
    assert loud == HOME["exit"]
    assert grouped == [HOME["interrupt"]]
    assert fine == ["a", "b"]
    assert mapped == ["a", HOME["cancelled"], "b"]
    assert cancelled == [False]


@pytest.mark.parametrize("how", ["exit", "interrupt", "cancelled", "own"])
def test_objects_that_end_who_pickles_or_unpickles_them_end_nobody(shared: Home, how: str) -> None:
    found = entry(
        shared,
        f"""
how = {how!r}
WAYS = {{
    "remote": lambda f, v: f.remote(v),
    "direct": lambda f, v: f.remote(v),
    "aio": lambda f, v: asyncio.run(f.remote.aio(v)),
    "spawn": lambda f, v: f.spawn(v).get(),
    "map": lambda f, v: list(f.map([v])),
    "map exceptions": lambda f, v: [
        named(one) if isinstance(one, Exception) else one
        for one in f.map(["a", v, "b"], return_exceptions=True)
    ],
}}
print(json.dumps({{
    way: [
        said(call, make, how),
        said(call, make_unpicklable, how),
        said(call, take, EndsAtHome(how, "remote")),
        said(call, take, EndsInPickling(how)),
        said(call, take, "fine"),
    ]
    for way, call in WAYS.items()
}}))
""",
    )
    assert isinstance(found, dict)
    errors = ["DeserializationError", "SerializationError", "DeserializationError"]
    # Arguments are pickled at home, before any input of that call is run.
    right = [*errors, "SerializationError"]
    for way in ("remote", "direct", "aio", "spawn"):
        assert found[way] == [*right, "fine"], way
    assert found["map"] == [*right, ["fine"]]
    assert found["map exceptions"] == [
        *(["a", one, "b"] for one in errors),
        "SerializationError",
        ["a", "fine", "b"],
    ]


def test_exit_hooks_that_end_are_shown_and_the_others_run(shared: Home) -> None:
    script = shared.script(
        """
        import sys, rekindle
        app = rekindle.App("hooks")

        @app.cls()
        class Leaver:
            @rekindle.method()
            def work(self):
                return "worked"

            @rekindle.exit()
            def first(self):
                print("first hook")
                sys.exit("first left")

            @rekindle.exit()
            def second(self):
                print("second hook")
                raise KeyboardInterrupt("second left")

            @rekindle.exit()
            def third(self):
                print("third hook")

        @app.local_entrypoint()
        def main():
            print(Leaver().work.remote())
        """
    )
    ended = shared.run(script)
    for said in ("worked", "first hook", "second hook", "third hook"):
        assert said in ended.out.splitlines()
    assert "first left" in ended.err and "second left" in ended.err


def test_a_real_interrupt_while_a_result_is_unpickled_ends_the_program(shared: Home) -> None:
    script = shared.script(
        """
        import time, rekindle
        app = rekindle.App("slow-to-read")

        class Slow:
            def __setstate__(self, state):
                if rekindle.is_local():
                    print("unpickling", flush=True)
                    while True:
                        time.sleep(0.01)

            def __getstate__(self):
                return {"a": 1}

        @app.function()
        def make():
            return Slow()

        @app.local_entrypoint()
        def main():
            try:
                make.remote()
            except Exception as error:
                print("caught", type(error).__name__)
        """
    )
    program = shared.start_rekindle("run", script)
    program.until("unpickling")
    program.interrupt()
    ended = program.end()
    assert ended.status == 130, str(ended)
    assert "caught" not in ended.out
