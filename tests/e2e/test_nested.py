"""Calls from inside calls end, however few runners there may be, or say why they cannot."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.harness import Home, wait_until

NESTED = """
    import asyncio, json, os, rekindle
    from concurrent.futures import ThreadPoolExecutor
    app = rekindle.App("nested")

    @app.function(max_containers=1)
    def deep(n):
        return 0 if n == 0 else 1 + deep.remote(n - 1)

    @app.function(max_containers=1)
    def ping(n):
        return 0 if n == 0 else 1 + pong.remote(n - 1)

    @app.function(max_containers=1)
    def pong(n):
        return 0 if n == 0 else 1 + ping.spawn(n - 1).get()

    @app.function()
    def total(low, high):
        if high - low <= 4:
            return sum(range(low, high))
        middle = (low + high) // 2
        halves = total.spawn(low, middle), total.spawn(middle, high)
        return sum(rekindle.FunctionCall.gather(*halves))

    @app.function()
    def fan(n):
        return sum(leaf.map(range(n)))

    @app.function(max_containers=1)
    def leaf(n):
        return n

    @app.function(max_containers=1)
    async def tree(n):
        if n == 0:
            return 1
        return sum(await asyncio.gather(*(tree.remote.aio(n - 1) for _ in range(3))))

    @app.function()
    async def stream(n):
        return sum([value async for value in leaf.map.aio(range(n))])

    @app.function(max_containers=1)
    def grid(n):
        return sum(fan.map([n] * 3))

    @app.function(max_containers=1)
    def steps(n):
        yield n
        if n:
            yield from steps.remote_gen(n - 1)

    @app.function()
    def endless(n):
        return endless.remote(n + 1)

    @app.function(max_containers=1, retries=rekindle.Retries(max_retries=2, initial_delay=0.0))
    def again(path, n):
        if n:
            return 1 + again.remote(path, 0)
        with open(path, "a") as file:
            file.write("x")
        if os.path.getsize(path) < 3:
            raise ValueError("not yet")
        return 1

    @app.function(max_containers=1, timeout=30)
    @rekindle.concurrent(max_inputs=2)
    def threaded(n):
        with ThreadPoolExecutor(2) as threads:
            return 1 + max(threads.map(threaded.remote, [n - 1, 0])) if n else 0

    @app.function(max_containers=1)
    def got(value):
        return value.get() if isinstance(value, rekindle.FunctionCall) else value

    @app.function(max_containers=1)
    def at_most_one(path):
        own = os.path.join(path, "runs")
        os.mkdir(own)  # fails where another one runs
        value = leaf.remote(7)
        os.rmdir(own)
        return value

    @app.function(max_containers=1)
    def orphaned(n):
        if n:
            call = orphaned.spawn(0)
            print("spawned", call.object_id, flush=True)
            os.kill(os.getpid(), 9) if n == 2 else None
            return call.get()
        return 5

"""


def entry(home: Home, expression: str, **environ: str) -> object:
    """The value of an expression in an entrypoint."""
    script = home.script(
        f"{NESTED}\n    @app.local_entrypoint()\n    def main():\n"
        f"        print(json.dumps({expression}))\n"
    )
    return home.run(script, **environ).value


#: Expressions and their values.
ENDING = {
    "deep.remote(4)": 4,
    "ping.remote(4)": 4,
    "total.remote(0, 32)": sum(range(32)),
    "list(fan.map([10] * 6))": [45] * 6,
    "tree.remote(2)": 9,
    "[stream.remote(20), stream.remote(20)]": [190, 190],
    "list(grid.map([3] * 3))": [9] * 3,
    "threaded.remote(4)": 4,
    "list(steps.remote_gen(4))": [4, 3, 2, 1, 0],
}


def test_calls_from_inside_calls_end(shared: Home) -> None:
    each = ", ".join(f"{expression!r}: {expression}" for expression in ENDING)
    assert entry(shared, f"{{{each}}}") == ENDING


def test_they_end_on_a_node_of_one_runner(home: Home) -> None:
    expression = (
        "[deep.remote(4), total.remote(0, 16), list(grid.map([3] * 3)), tree.remote(2), "
        "list(steps.remote_gen(3))]"
    )
    values = [4, 120, [9, 9, 9], 9, [3, 2, 1, 0]]
    assert entry(home, expression, REKINDLE_MAX_RUNNERS="1") == values


def test_a_child_that_is_retried_is_waited_for(shared: Home, tmp_path: Path) -> None:
    path = tmp_path / "tried"
    assert entry(shared, f"again.remote({str(path)!r}, 1)") == 2
    assert path.read_text() == "xxx"


def test_a_call_waits_for_one_that_stands_behind_it(shared: Home) -> None:
    """A handle that was passed on is not deeper than who waits for it."""
    assert entry(shared, "[got.remote(h) for h in [got.spawn(got.spawn(3))]]") == [3]


def test_inputs_beside_one_another_keep_to_max_containers_while_one_waits(
    shared: Home, tmp_path: Path
) -> None:
    assert entry(shared, f"list(at_most_one.map([{str(tmp_path)!r}] * 6))") == [7] * 6


def test_the_places_of_callers_that_died_are_free(shared: Home) -> None:
    script = shared.script(
        NESTED
        + """
    @app.local_entrypoint()
    def main():
        try:
            orphaned.remote(2)
        except rekindle.exception.RunnerLostError as error:
            print("lost", flush=True)
        print(json.dumps([orphaned.remote(1), orphaned.remote(0)]))
"""
    )
    assert shared.run(script).value == [5, 5]


def test_a_recursion_without_end_is_an_error_of_its_own(home: Home) -> None:
    script = home.script(
        NESTED
        + """
    @app.local_entrypoint()
    def main():
        try:
            endless.remote(0)
        except rekindle.exception.CallDepthError as error:
            print(json.dumps(str(error)))
"""
    )
    said = home.run(script, REKINDLE_MAX_CALL_DEPTH="5").value
    assert isinstance(said, str)
    assert "inside of 6 calls" in said and "REKINDLE_MAX_CALL_DEPTH" in said


def test_more_waiting_runners_than_there_may_be_is_an_error_of_its_own(home: Home) -> None:
    script = home.script(
        NESTED
        + """
    @app.local_entrypoint()
    def main():
        said = []
        for call in (lambda: deep.remote(6), lambda: list(steps.remote_gen(6))):
            try:
                call()
            except rekindle.exception.CallDepthError as error:
                said.append(str(error))
        print(json.dumps(said))
"""
    )
    said = home.run(script, REKINDLE_MAX_RUNNERS="1", REKINDLE_MAX_WAITING_RUNNERS="2").value
    assert isinstance(said, list) and len(said) == 2
    assert all("REKINDLE_MAX_WAITING_RUNNERS" in text for text in said)


RECURSIVE_MAPS = """
    import rekindle
    app = rekindle.App("maps-in-maps")

    @app.function(max_containers=1)
    def fib(n):
        return n if n < 2 else sum(fib.map([n - 1, n - 2]))

    if __name__ == "__main__":
        fib = rekindle.Function.from_name("maps-in-maps", "fib")
        print([fib.remote(7) for _ in range(3)])
"""


def test_a_runner_that_ends_says_first_which_results_it_has_taken(home: Home) -> None:
    """Those beyond max_containers end as soon as their input has, before their next report."""
    home.up()
    script = home.script(RECURSIVE_MAPS)
    home.rekindle("deploy", script)
    assert home.python(script).out == "[13, 13, 13]\n"
    wait_until(lambda: home.status()["kept"]["calls"] == 0, "the end of all calls")
