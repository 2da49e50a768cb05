"""A child that user code forks ends where that code ends, and is no second runner."""

from __future__ import annotations

import pytest

from tests.e2e.harness import Home

PROGRAM = """
import asyncio, os, sys
import rekindle

app = rekindle.App("forks")
options = {"max_containers": 1, "timeout": 60}

class NotTold(Exception):
    pass

def end(way):
    "How the child goes on; its parent gives its status."
    if way == "exit":
        sys.exit(3)
    if way == "words":
        sys.exit("the child says so")
    if way == "raise":
        raise NotTold("of the child")
    return "of the child"

def forked(way):
    if (pid := os.fork()) == 0:
        return True, end(way)
    return False, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def work(way):
    if way == "next":
        return "next"
    return forked(way)[1]

@app.function(**options)
def plain(way):
    return work(way)

@app.function(**options)
async def on_loop(way):
    await asyncio.sleep(0)
    return work(way)

@app.function(**options)
@rekindle.concurrent(max_inputs=2)
def in_threads(way):
    return work(way)

@app.function(**options)
@rekindle.concurrent(max_inputs=2)
async def as_tasks(way):
    await asyncio.sleep(0)
    return work(way)

@app.function(**options)
@rekindle.batched(max_batch_size=2, wait_ms=1)
def in_batches(ways):
    return [work(way) for way in ways]

def yielded(way):
    yield "first"
    yield work(way)

@app.function(**options)
def items(way):
    yield from yielded(way)

@app.function(**options)
@rekindle.concurrent(max_inputs=2)
def items_in_threads(way):
    yield from yielded(way)

@app.function(**options)
async def items_on_loop(way):
    for item in yielded(way):
        yield item

@app.function(**options)
@rekindle.concurrent(max_inputs=2)
async def items_as_tasks(way):
    for item in yielded(way):
        yield item

@app.cls(enable_memory_snapshot=True, **options)
class Hooked:
    @rekindle.enter(snap=True)
    def load(self):
        self.loaded = work("raise"), work("exit")
    @rekindle.enter()
    def enter(self):
        self.entered = work("return"), work("exit")
    @rekindle.method()
    def look(self):
        return [*self.loaded, *self.entered]

IMPORTED = forked("return") if not rekindle.is_local() else None

@app.function(**options)
def look():
    return IMPORTED

WAYS = ("return", "exit", "words", "raise", "next")

@app.local_entrypoint()
def main(queued: bool = False):
    for one in (plain, on_loop, in_threads, as_tasks, in_batches):
        ask = (lambda way: one.spawn(way).get()) if queued else one.remote
        print(*map(ask, WAYS))
    if not queued:
        for one in (items, items_in_threads, items_on_loop, items_as_tasks):
            print(*(value for way in WAYS for value in one.remote_gen(way)))
    print(*Hooked().look.remote())
    print(look.remote())
"""


@pytest.mark.parametrize("way", [(), ("--queued",)], ids=["leased", "queued"])
def test_a_forked_child_ends_with_the_user_code_that_it_runs(
    shared: Home, way: tuple[str, ...]
) -> None:
    ended = shared.rekindle("run", shared.script(PROGRAM), *way)
    lines = ["0 3 1 1 next"] * 5
    if not way:
        lines += ["first 0 first 3 first 1 first 1 first next"] * 4
    lines += ["1 3 0 3", "(False, 0)"]
    assert ended.out.splitlines() == lines, str(ended)
    assert "the child says so" in ended.err
    assert "NotTold: of the child" in ended.err
