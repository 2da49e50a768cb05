"""Hooks and methods of a runner share one event loop, whatever kind of class it is."""

from __future__ import annotations

import json

from tests.e2e.harness import Home

PROGRAM = """
import asyncio, contextvars, functools, json
import rekindle

app = rekindle.App("loops-of-hooks")
SET = contextvars.ContextVar("set", default="not set")

def plain(function):
    @functools.wraps(function)
    def call(*args):
        return function(*args)
    return call

async def use(self):
    "Fails where the lock, the queue or the task belong to another loop."
    self.asked.put_nowait(asyncio.get_running_loop().create_future())
    async with self.lock:
        waits = asyncio.ensure_future(self.lock.acquire())
        await asyncio.sleep(0)
    await waits
    self.lock.release()
    await asyncio.wait_for(self.answered.get(), 30)
    return [self.loop is asyncio.get_running_loop(), SET.get()]

class Base:
    @rekindle.enter(snap=True)
    async def first(self):
        self.loop = asyncio.get_running_loop()
        self.lock, self.asked, self.answered = asyncio.Lock(), asyncio.Queue(), asyncio.Queue()
        SET.set("by a hook")

    @rekindle.enter()
    async def second(self):
        assert self.loop is asyncio.get_running_loop() and SET.get() == "by a hook"
        self.task = asyncio.ensure_future(self.answer())

    async def answer(self):
        while True:
            await self.asked.get()
            self.answered.put_nowait(None)

    @rekindle.exit()
    async def leave(self):
        same = self.loop is asyncio.get_running_loop()
        print("left", type(self).__name__, same, self.task.done(), SET.get())

class Asked(Base):
    @rekindle.method()
    async def ask(self):
        return await use(self)

    @rekindle.method()
    @plain
    def wrapped(self):
        return use(self)

    @rekindle.method()
    async def items(self):
        yield await use(self)
        yield await use(self)

@app.cls(enable_memory_snapshot=True, max_containers=1)
class Plain(Asked):
    @rekindle.method()
    def sync(self):
        return asyncio.get_event_loop().run_until_complete(use(self))

    @rekindle.method()
    async def wait(self, begun):
        try:
            await begun.put.aio(True)
            await asyncio.Event().wait()
        finally:
            await use(self)
            print("cleaned up")

@app.cls(enable_memory_snapshot=True, max_containers=1)
@rekindle.concurrent(max_inputs=4)
class Beside(Asked):
    @rekindle.method()
    def sync(self):
        return asyncio.run_coroutine_threadsafe(use(self), self.loop).result(30)

@app.cls(enable_memory_snapshot=True, max_containers=1)
class Batched(Base):
    @rekindle.batched(max_batch_size=2, wait_ms=20)
    async def ask(self, numbers):
        got = await use(self)
        return [got for _ in numbers]

@app.cls(max_containers=1)
@rekindle.concurrent(max_inputs=4)
class Threads:
    @rekindle.enter()
    def first(self):
        SET.set("by a hook")
        self.lock = None

    @rekindle.method()
    def ask(self):
        return SET.get()

    @rekindle.method()
    @plain
    async def wrapped(self):
        self.lock = self.lock or asyncio.Lock()
        async with self.lock:
            waits = asyncio.ensure_future(self.lock.acquire())
            await asyncio.sleep(0)
        await waits
        self.lock.release()
        return SET.get()

@app.local_entrypoint()
def main():
    out = {}
    for cls in (Plain, Beside):
        made = cls()
        for method in (made.ask, made.wrapped, made.sync):
            out.setdefault(cls.__name__, []).append(method.remote())
            out[cls.__name__].append(method.spawn().get())
        out[cls.__name__] += made.items.remote_gen()
    out["Batched"] = list(Batched().ask.map(range(3)))
    out["Threads"] = [Threads().ask.remote()] + [Threads().wrapped.remote() for _ in "abc"]
    with rekindle.Queue.ephemeral() as begun:
        waiting = Plain().wait.spawn(begun)
        begun.get()
        waiting.cancel()
        try:
            waiting.get()
        except rekindle.exception.RemoteError as error:
            out["cancelled"] = str(error)
    out["after"] = Plain().ask.remote()
    print(json.dumps(out))
"""


def test_what_hooks_made_works_in_methods_of_every_kind_of_class(shared: Home) -> None:
    ended = shared.run(shared.script(PROGRAM))
    lines = ended.out.splitlines()
    out = json.loads(next(line for line in lines if line.startswith("{")))
    right = [True, "by a hook"]
    assert out["Plain"] == out["Beside"] == [right] * 8
    assert out["Batched"] == [right] * 3
    assert out["Threads"] == ["by a hook"] * 4
    assert "cancel" in out["cancelled"] and "cleaned up" in lines and out["after"] == right
    for name in ("Plain", "Beside", "Batched"):
        assert f"left {name} True False by a hook" in lines
