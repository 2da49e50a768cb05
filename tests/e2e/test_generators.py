"""Generators run in runners: their items come as they are yielded, and an early end ends them."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from tests.e2e import direct_program
from tests.e2e.harness import Gate, Home, wait_until

APP = (
    Gate.SOURCE
    + """
import asyncio, json, os, sys, threading, time
import rekindle
from rekindle.exception import InvalidError
from rekindle.sdk.calls import lease, lease_caches, records

app = rekindle.App("generators")

@app.function(max_containers=2)
def count(n, path=""):
    try:
        for i in range(n):
            if path:
                with open(path, "w") as file:
                    file.write(str(i))
            yield i
    finally:
        if path:
            print("closed", flush=True)

@app.function(max_containers=1)
async def letters(text):
    for letter in text:
        await asyncio.sleep(0)
        yield letter

@app.function(is_generator=True)
def squares(n):
    return (i * i for i in range(n))

@app.function()
def fails():
    yield 1
    yield "two"
    raise KeyError("three")

@app.function()
def bad_item():
    yield 1
    yield threading.Lock()

@app.function(timeout=1, startup_timeout=60)
def endless():
    yield os.getpid()
    time.sleep(1000)

@app.function(max_containers=1)
def dies(path, items):
    with open(path, "a") as file:
        file.write("x")
    yield from range(items)
    if os.path.getsize(path) == 1:
        os.kill(os.getpid(), 9)
    yield "alive"

@app.function(max_containers=1)
def held(path):
    try:
        yield "begun"
        wait_at(path)
        yield "never"
    finally:
        print("let go", flush=True)

@app.function(max_containers=1)
async def held_aio(path):
    try:
        yield "begun"
        print("waiting", flush=True)
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        print("let go", flush=True)

@app.function(max_containers=1)
def nested(n):
    yield n
    if n:
        yield from nested.remote_gen(n - 1)

@app.function(max_containers=1)
def sum_of(n):
    return sum(count.remote_gen(n))

@app.function(max_containers=1)
def plain(x):
    return x

@app.cls(max_containers=1)
class Model:
    size: int = rekindle.parameter(default=3)

    @rekindle.enter()
    async def load(self):
        self.tokens = [str(i) for i in range(self.size)]

    @rekindle.method()
    def stream(self):
        yield from self.tokens

    @rekindle.method()
    async def stream_aio(self):
        for token in self.tokens:
            yield token

    @rekindle.method()
    def joined(self):
        return "".join(self.stream.remote_gen())
"""
)

ROOT = Path(__file__).parents[2]
program = partial(direct_program.program, APP)


def test_items_of_functions_and_methods_sync_and_async(shared: Home) -> None:
    body = """
async def listed(items):
    return [item async for item in items]

both = Model(size=2)
with records.collect() as made:
    first = list(count.remote_gen(4))
for _ in count.remote_gen(10 ** 9):
    break
print(json.dumps([
    first,
    list(letters.remote_gen("abc")), asyncio.run(listed(letters.remote_gen.aio("de"))),
    list(squares.remote_gen(3)),
    list(both.stream.remote_gen()), list(both.stream_aio.remote_gen()), both.joined.remote(),
    list(both.stream.local()), asyncio.run(listed(both.stream_aio.local())),
    list(count.local(2)),
    list(nested.remote_gen(3)), sum_of.remote(5),
    [len(item) for item in squares_of_bytes()],
    sorted(made[0].phases), made[0].function, made[0].ok]))
"""
    extra = """
@app.function()
def large():
    for size in (3, 300_000, 5_000_000, 1):
        yield bytes(size)

def squares_of_bytes():
    return large.remote_gen()
"""
    text = direct_program.program(APP + extra, body)
    found = shared.run(shared.script(text)).value
    phases = found[13]
    assert found[:13] == [
        [0, 1, 2, 3],
        ["a", "b", "c"],
        ["d", "e"],
        [0, 1, 4],
        ["0", "1"],
        ["0", "1"],
        "01",
        ["0", "1"],
        ["0", "1"],
        [0, 1],
        [3, 2, 1, 0],
        10,
        [3, 300_000, 5_000_000, 1],
    ]
    assert {"execute", "load_input", "queue", "store_result"} <= set(phases)
    assert found[14:] == ["count", True]


def test_errors_come_after_the_items_before_them_and_what_cannot_be_is_refused(
    shared: Home,
) -> None:
    body = f"""
def read(items):
    got = []
    try:
        for item in items:
            got.append(item)
    except Exception as error:
        got += [type(error).__name__, str(error), str(error.__cause__ or "")]
    return got

def refused(call):
    try:
        call()
    except InvalidError as error:
        return str(error)

import pickle
from rekindle.sdk.declaration import Declaration
from rekindle.sdk.function import Function

def handle(function):
    # One that cannot tell what it is a handle of, as where only a name is known.
    own = pickle.loads(pickle.dumps(function))._declaration
    own.generators = None
    return Function(own)

here = {str(shared.scripts / "file")!r}
failed = read(fails.remote_gen())
print(json.dumps([
    failed[:4], "raise KeyError" in failed[4], read(bad_item.remote_gen())[:2],
    read(endless.remote_gen())[1:2], read(dies.remote_gen(here + ".dies", 0)),
    read(dies.remote_gen(here + ".dies-2", 2))[:3],
    refused(lambda: handle(count).remote(1)), refused(lambda: handle(count).spawn(1)),
    refused(lambda: list(handle(count).map([1]))), read(handle(plain).remote_gen(1))[:1],
    read(count.remote_gen(lambda: 1, threading.Lock()))[:1]]))
"""
    found = shared.run(shared.script(program(body))).value
    assert found[0] == [1, "two", "KeyError", "'three'"] and found[1]
    assert found[2] == [1, "SerializationError"]
    assert found[3] == ["FunctionTimeoutError"]
    assert found[4] == ["alive"]  # before the first item another runner takes it up
    assert found[5] == [0, 1, "RunnerLostError"]
    assert all("iterate over count.remote_gen" in text for text in found[6:9])
    assert found[9:] == [["InvalidError"], ["SerializationError"]]


def test_a_slow_reader_stops_the_generator_and_a_program_that_ends_closes_it(
    shared: Home, shared_gate: Gate
) -> None:
    at = shared.scripts / "at"
    body = f"""
items = count.remote_gen(10 ** 9, {str(at)!r})
for i in range(10):
    next(items)
print("reading", flush=True)
wait_at({str(shared_gate.directory)!r})
os.kill(os.getpid(), 9)
"""
    script = shared.script(program(body).replace('App("generators")', 'App("slow-reader")'))
    running = shared.start_rekindle("run", script)
    running.until("waiting")

    def reached() -> int:
        return int(at.read_text() or 0)  # it is being written just now

    # 65 that are on their way, and the one that it waits to send. The reader has 10, and says so
    # from 16 on.
    wait_until(lambda: reached() >= 65, "the generator to be ahead")
    assert reached() <= 10 + 65
    shared_gate.open()
    running.end()
    wait_until(lambda: "closed" in shared.rekindle("logs", "slow-reader").out, "its finally")


def test_a_reader_that_leaves_early_ends_a_generator_that_computes_and_the_runner_goes_on(
    shared: Home, shared_gate: Gate
) -> None:
    body = f"""
path = {str(shared_gate.directory)!r}
for function in (held, held_aio):
    for _ in range(2):  # the same runner: it may have one
        items = function.remote_gen(path)
        assert next(items) == "begun"
        items.close()

async def leave():
    async for _ in held_aio.remote_gen.aio(path):
        break
    task = asyncio.ensure_future(anext(held_aio.remote_gen.aio(path)))
    await task

asyncio.run(leave())
# More readers than runners: they wait for their turn.
threads = [threading.Thread(target=lambda: done.append(sum(letters_of()))) for _ in range(5)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps(done))
"""
    extra = """
done = []

def letters_of():
    return (len(letter) for letter in letters.remote_gen("x" * 200))
"""
    text = direct_program.program(APP + extra, body)
    ended = shared.run(shared.script(text.replace('App("generators")', 'App("early-end")')))
    assert ended.value == [200] * 5
    assert shared.rekindle("logs", "early-end").out.count("let go") == 6


def test_the_guide_and_the_example_print_what_they_say(shared: Home) -> None:
    guide = (ROOT / "docs" / "generators.md").read_text()
    blocks = re.findall(r"^```(python|text)\n(.*?)^```", guide, re.M | re.S)
    script = shared.script("\n\n".join(text for kind, text in blocks if kind == "python"))
    said = [text for kind, text in blocks if kind == "text"]
    assert [shared.run(f"{script}::{name}").out for name in ("main", "words")] == said
    text = shared.run(ROOT / "examples" / "stream.py", "--sentences", "1", "--start", "Ahab").out
    assert text.startswith("Ahab ") and text.rstrip().endswith((".", "!", "?"))
