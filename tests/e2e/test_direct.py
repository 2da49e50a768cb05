"""Calls that go straight from a program to a runner: right in every way that others are."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import psutil
import pytest

from tests.e2e import direct_program
from tests.e2e.harness import Gate, Home, Program, a_shared_home, service, wait_until
from tests.e2e.processes import holder_of

APP = (
    Gate.SOURCE
    + """
import asyncio, json, os, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
import rekindle
from rekindle.sdk.calls import lease, lease_caches, records

app = rekindle.App("direct")

@app.function(max_containers=4)
def add(a, b=0):
    return a + b

@app.function()
def say(text, err=False):
    print(text, file=sys.stderr if err else sys.stdout)
    return text

@app.function()
def outer(n):
    total = sum(add.remote(i, 1) for i in range(n))
    return total, is_direct()

@app.function(timeout=1, startup_timeout=60)
def nap(seconds):
    time.sleep(seconds)
    return seconds

@app.function(max_containers=1)
def count(path):
    with open(path, "ab") as file:
        file.write(b".")

@app.function(max_containers=1)
def hold(path):
    if path:
        try:
            wait_at(path)
        except rekindle.exception.InputCancellation:
            print("cancelled", flush=True)
            raise
    return "held"

@app.cls()
class Scale:
    factor: int = rekindle.parameter(default=1)

    @rekindle.method()
    def times(self, n):
        return self.factor * n

    @rekindle.method()
    def plus(self, n):
        return self.factor + n

def is_direct():
    # Whether this process holds a lease.
    return len(lease.held) > 0
"""
)


program = partial(direct_program.program, APP)


@pytest.fixture(scope="module")
def fragile_instance() -> Iterator[Home]:
    """An instance whose processes are killed; it gives an input up after two deliveries."""
    settings = {"REKINDLE_MAX_DELIVERIES": "2", "REKINDLE_QUICK_DEATH_S": "0"}
    with a_shared_home(**settings) as made:
        yield made


@pytest.fixture
def fragile(fragile_instance: Home) -> Iterator[Home]:
    """A place in it."""
    with fragile_instance.another_place() as made:
        yield made


@pytest.fixture
def fragile_gate(fragile: Home) -> Iterator[Gate]:
    """A gate in that place."""
    with Gate(fragile.scripts / "gate") as made:
        yield made


def test_warm_calls_are_direct_and_recorded_like_others(shared: Home) -> None:
    body = """
warm_up(add, 1)
assert is_direct()
with records.collect() as made:
    values = [add.remote(i, b=i) for i in range(100)]
assert values == [2 * i for i in range(100)]
last = made[-1]
print(json.dumps([len(made), {one.strategy for one in made} == {"warm"}, last.function,
    sorted(last.phases), abs(sum(last.phases.values()) - last.total_ms) < 1e-6,
    last.runner_id.startswith("ru-")]))
"""
    found = shared.run(shared.script(program(body))).value
    phases = ["execute", "load_input", "queue", "store_result"]
    assert found == [100, True, "add", phases, True, True]


def test_what_is_printed_comes_whole_and_before_the_value(shared: Home) -> None:
    body = """
for i in range(100):
    print("got", say.remote(f"line {i}"), flush=True)
    if i % 10 == 0:
        say.remote("x" * 100_000 + "\\n" + "y")
assert is_direct()
"""
    ended = shared.run(shared.script(program(body)))
    expected = ""
    for i in range(100):
        expected += f"line {i}\ngot line {i}\n"
        if i % 10 == 0:
            expected += "x" * 100_000 + "\ny\n"
    assert ended.out == expected


def test_threads_and_tasks_each_have_a_runner_of_their_own(shared: Home) -> None:
    body = """
warm_up(add, 1)
seen = []
def many(k):
    values = []
    for i in range(50):
        values.append(add.remote(k, i))
        seen.append(is_direct())
    return values

with ThreadPoolExecutor(8) as threads:
    got = list(threads.map(many, range(8)))
assert got == [[k + i for i in range(50)] for k in range(8)]

async def more():
    async def one(k):
        return [await add.remote.aio(k, i) for i in range(50)]
    return await asyncio.gather(*(one(k) for k in range(8)))

assert asyncio.run(more()) == got and any(seen)
print(json.dumps("right"))
"""
    assert shared.run(shared.script(program(body))).value == "right"


def test_exceptions_timeouts_and_what_cannot_travel_are_the_same_errors(shared: Home) -> None:
    body = """
said = []
def what(call):
    try:
        return call()
    except Exception as error:
        said.append(f"{type(error).__name__}: {error}")

warm_up(nap, 0), warm_up(add, 1)
what(lambda: add.remote(1, "x"))
what(lambda: add.remote(threading.Lock()))
what(lambda: nap.remote(30))
assert nap.remote(0) == 0
print(json.dumps(said))
"""
    said = shared.run(shared.script(program(body))).value
    assert said[0] == "TypeError: unsupported operand type(s) for +: 'int' and 'str'"
    assert said[1].startswith("SerializationError: an argument of add() cannot be pickled: args[0]")
    assert said[2].startswith("FunctionTimeoutError: ") and "timeout=1 s" in said[2]


def test_instances_of_a_class_have_their_own_runners_and_methods_share_them(shared: Home) -> None:
    body = """
two, three = Scale(factor=2), Scale(factor=3)
warm_up(two.times, 1), warm_up(three.times, 1)
got = [[one.times.remote(10), one.plus.remote(10)] for _ in range(20) for one in (two, three)]
assert got == [[20, 12], [30, 13]] * 20
print(json.dumps("right"))
"""
    assert shared.run(shared.script(program(body))).value == "right"


def test_a_function_calls_others_directly_too(shared: Home) -> None:
    body = "print(json.dumps([outer.remote(30), outer.remote(3)]))"
    first, second = shared.run(shared.script(program(body))).value
    assert first == [sum(range(30)) + 30, True]
    assert second == [6, True]


def test_a_forked_child_has_no_part_in_the_leases_of_its_parent(shared: Home) -> None:
    body = """
warm_up(add, 1)
before = set(lease.held)
sys.stdout.flush()
if os.fork() == 0:
    lease._close_at_exit()
    os._exit(0)
os.wait()
add.remote(1)
assert set(lease.held) == before
pid = os.fork()
if pid == 0:
    assert not lease.held
    ok = [add.remote(i, 5) for i in range(20)] == [i + 5 for i in range(20)]
    os._exit(0 if ok else 1)
mine = [add.remote(i, 7) for i in range(50)]
_, status = os.waitpid(pid, 0)
mine += [add.remote(i, 7) for i in range(50)]
print(json.dumps([status, mine == 2 * [i + 7 for i in range(50)]]))
"""
    assert shared.run(shared.script(program(body))).value == [0, True]


def test_two_programs_share_one_runner_and_nothing_runs_twice(shared: Home) -> None:
    ledger = shared.scripts / "ledger"
    body = """
for _ in range(300):
    count.remote(path)
"""
    # One app each: they share nothing but the node. And two threads within each share a runner.
    threads = """
with ThreadPoolExecutor(2) as threads:
    list(threads.map(lambda _: [count.remote(path) for _ in range(300)], range(2)))
"""
    first = shared.start_rekindle(
        "run", shared.script(program(body, "path: str")), "--path", ledger
    )
    second = shared.start_rekindle(
        "run", shared.script(program(threads, "path: str"), "second.py"), "--path", ledger
    )
    for one in (first, second):
        ended = one.end()
        assert ended.status == 0, str(ended)
    assert ledger.stat().st_size == 900


def test_large_arrays_travel_directly_and_are_writable(shared: Home) -> None:
    body = """
import numpy as np
warm_up(add, 1)
for size in (1_000, 100_000, 10_000_000):
    array = np.arange(size, dtype=np.float64)
    for _ in range(3):
        got = add.remote(array, 1)
        assert (got[:10] == array[:10] + 1).all() and got[-1] == size
        got += 1
    data = os.urandom(size)
    assert add.remote(data, b"x") == data + b"x"
assert is_direct()
print(json.dumps("right"))
"""
    assert shared.run(shared.script(program(body))).value == "right"


# ---- what can happen to a call -----------------------------------------------------------------

HOLD = """
warm_up(hold, "")
print("direct", flush=True)
try:
    print("got", hold.remote(path), flush=True)
except KeyboardInterrupt:
    sys.stdout.write("interrupted\\n")
except rekindle.exception.Error as error:
    print("error", type(error).__name__, error, flush=True)
print("next", hold.remote(""), flush=True)
"""


#: The same, and whether the first and the last call ran in one runner.
HOLD_AND_COMPARE = f"""
warm_up(hold, "")
with records.collect() as made:
    hold.remote("")
{HOLD}
with records.collect() as later:
    hold.remote("")
print("same runner", made[0].runner_id == later[0].runner_id, flush=True)
"""


def held(home: Home, gate: Gate, body: str = HOLD) -> Program:
    """Start the program and wait until its direct call is at the gate."""
    script = home.script(program(body, "path: str"))
    started = home.start_rekindle("run", script, "--path", gate.directory)
    started.until("waiting")
    return started


def kill(process: psutil.Process) -> None:
    """Kill a process, and wait until it is dead; its parent may be suspended and not bury it."""
    process.kill()

    def dead() -> bool:
        try:
            return process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    wait_until(dead, "a killed process to end")


def test_the_call_of_a_killed_runner_runs_again(shared: Home, shared_gate: Gate) -> None:
    started = held(shared, shared_gate)
    kill(holder_of(shared.supervisor(), shared_gate.held))
    started.until("waiting", times=2)
    shared_gate.open()
    ended = started.end()
    assert ended.out == "direct\nwaiting\nwaiting\ngot held\nnext held\n", str(ended)


def test_a_runner_killed_again_and_again_is_an_error_that_says_how_it_died(
    fragile: Home, fragile_gate: Gate
) -> None:
    started = held(fragile, fragile_gate)
    kill(holder_of(fragile.supervisor(), fragile_gate.held))
    started.until("waiting", times=2)  # the direct one counts as a delivery, too
    kill(holder_of(fragile.supervisor(), fragile_gate.held))
    ended = started.end()
    assert "error RunnerLostError" in ended.out and "SIGKILL" in ended.out, str(ended)
    assert ended.out.endswith("next held\n")


def test_the_call_of_a_killed_agent_runs_again(fragile: Home, fragile_gate: Gate) -> None:
    started = held(fragile, fragile_gate)
    kill(service(fragile.supervisor(), "rekindle.runtime.agent"))
    started.until("waiting", times=2)
    fragile_gate.open()
    ended = started.end()
    assert ended.out == "direct\nwaiting\nwaiting\ngot held\nnext held\n", str(ended)


def test_a_call_does_not_notice_that_the_controller_is_killed(
    fragile: Home, fragile_gate: Gate
) -> None:
    started = held(fragile, fragile_gate)
    fragile.supervisor().suspend()  # no other controller is started
    try:
        kill(service(fragile.supervisor(), "rekindle.controller"))
        fragile_gate.open()
        started.until("next held")
    finally:
        fragile.supervisor().resume()
    ended = started.end()
    assert ended.out == "direct\nwaiting\ngot held\nnext held\n", str(ended)


def test_an_interrupted_call_is_cancelled_and_its_runner_goes_on(
    shared: Home, shared_gate: Gate
) -> None:
    started = held(shared, shared_gate, HOLD_AND_COMPARE)
    started.interrupt()
    ended = started.end()
    assert "same runner True\n" in ended.out, str(ended)
    assert "interrupted\n" in ended.out and "got" not in ended.out, str(ended)
    assert "cancelled\n" in ended.out


def test_the_call_of_a_killed_program_is_cancelled(shared: Home, shared_gate: Gate) -> None:
    started = held(shared, shared_gate)
    runner = holder_of(shared.supervisor(), shared_gate.held)
    started.kill()

    def let_go() -> bool:
        try:
            return str(shared_gate.held) not in [file.path for file in runner.open_files()]
        except psutil.NoSuchProcess:  # the program's app was closed meanwhile, and its runner ended
            return True

    wait_until(let_go, "the call to end")
