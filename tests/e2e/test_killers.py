"""Inputs that kill their runner: given up in the promised time, and in nobody's way."""

from __future__ import annotations

import pytest

from tests.e2e.harness import Home

KILLERS = """
    import ctypes, json, os, resource, signal, sys, threading, time, rekindle
    app = rekindle.App("killers")

    WAYS = {
        "exit": lambda: os._exit(1),
        "exit 0": lambda: os._exit(0),
        "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "segfault": lambda: ctypes.string_at(0),
        "abort": os.abort,
    }

    def die(n):
        list(WAYS.values())[n % len(WAYS)]()

    @app.function(max_containers=1)
    def alone(n):
        if n >= 1000:
            die(n)
        return n

    @app.function(retries=1)
    def tried(n):
        if n >= 1000:
            die(n)
        return n

    @app.function()
    def many(n):
        if n >= 1000:
            die(n)
        return n

    @app.function()
    def slow(n):
        time.sleep(0.01)
        return many.local(n)

    @app.function(max_containers=1)
    def slow_alone(n):
        time.sleep(0.01)
        return many.local(n)

    @app.function()
    def parent(n):
        try:
            return many.remote(n)
        except rekindle.exception.RunnerLostError:
            return "lost"

    def kinds(values):
        return [v if isinstance(v, (int, str)) else type(v).__name__ for v in values]

"""


def entry(home: Home, body: str, **environ: str) -> object:
    """The last line of an entrypoint, as JSON."""
    lines = "".join(f"        {line}\n" for line in body.strip().splitlines())
    script = home.script(f"{KILLERS}\n    @app.local_entrypoint()\n    def main():\n{lines}")
    return home.run(script, **environ).value


@pytest.mark.parametrize("function", ["alone", "tried", "many"])
def test_among_many_good_ones_only_the_bad_inputs_are_lost(shared: Home, function: str) -> None:
    """In slices, with one runner and with several, however they end their process."""
    found = entry(
        shared,
        f"""
inputs = [1000 + n // 20 if n % 20 == 7 else n for n in range(120)]
print(json.dumps(kinds({function}.map(inputs, return_exceptions=True))))
""",
    )
    assert found == [n if n % 20 != 7 else "RunnerLostError" for n in range(120)]


def test_good_calls_are_answered_before_the_bad_ones_are_given_up(home: Home) -> None:
    """The wait is the input's: with long ones, all else would wait for minutes."""
    found = entry(
        home,
        """
order = []
bad = [alone.spawn(1000 + n) for n in range(4)]
print(json.dumps([alone.spawn(n).get(timeout=60) for n in range(10)]
                 + list(alone.map(range(50)))
                 + [alone.remote(n) for n in range(5)]))
for call in bad:
    call.cancel()
""",
        REKINDLE_CRASH_BACKOFF_S="600",
    )
    assert found == [*range(10), *range(50), *range(5)]


@pytest.mark.parametrize("function", ["slow", "slow_alone"])
def test_the_good_inputs_of_a_map_do_not_wait_for_the_deliveries_of_the_bad_ones(
    shared: Home, function: str
) -> None:
    """Each costs the others a start or two, and not all five, whatever its place among them."""
    found = entry(
        shared,
        f"""
{function}.remote(0)
inputs = [*range(20), 1000, 1001, *range(20, 40), 1002, 1003, *range(40, 60)]
print(json.dumps(kinds({function}.map(inputs, order_outputs=False, return_exceptions=True))))
""",
    )
    assert isinstance(found, list)
    assert set(found[:60]) == set(range(60)) and found[60:] == ["RunnerLostError"] * 4


def test_direct_calls_that_kill_their_runner_are_given_up_and_others_go_on(shared: Home) -> None:
    found = entry(
        shared,
        """
def lost(n):
    try:
        return many.remote(n)
    except rekindle.exception.RunnerLostError:
        return "lost"
many.remote(0), many.remote(1)
ended = []
threads = [threading.Thread(target=lambda n=n: ended.append(lost(n))) for n in range(1000, 1003)]
[thread.start() for thread in threads]
good = [many.remote(n) for n in range(200)]
[thread.join() for thread in threads]
print(json.dumps([good == list(range(200)), ended, parent.remote(1001), parent.remote(5)]))
""",
    )
    assert found == [True, ["lost"] * 3, "lost", 5]


def test_an_import_that_fails_is_still_no_reason_to_start_again_and_again(shared: Home) -> None:
    script = shared.script(
        """
    import json, os, rekindle
    app = rekindle.App("broken")

    @app.cls()
    class Broken:
        @rekindle.enter()
        def load(self):
            os._exit(3)

        @rekindle.method()
        def same(self, n):
            return n

    @app.local_entrypoint()
    def main():
        found = Broken().same.map(range(20), return_exceptions=True)
        print(json.dumps([type(one).__name__ for one in found]))
"""
    )
    assert set(shared.run(script).value) == {"RunnerLostError"}
