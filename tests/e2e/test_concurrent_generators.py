"""Generators side by side in one runner: each has a reader of its own, and its own end."""

from __future__ import annotations

from tests.e2e.harness import Home

APP = """
import asyncio, json, os, threading, time
import rekindle

app = rekindle.App("side-by-side")
three = threading.Barrier(3, timeout=60)
state = {"sent": {}, "ended": {}}

@app.cls(max_containers=1, timeout=120)
@rekindle.concurrent(max_inputs=6)
class Streams:
    @rekindle.method()
    def meet(self, name, n):
        for i in range(n):
            three.wait()  # goes on only when three of them are here
            yield f"{name}{i}", os.getpid()

    @rekindle.method()
    def count(self, name, n):
        try:
            for i in range(n):
                state["sent"][name] = i + 1
                yield i
        except BaseException as error:
            state["ended"][name] = type(error).__name__
            raise

    @rekindle.method()
    async def tokens(self, name, n):
        try:
            for i in range(n):
                await asyncio.sleep(0)
                state["sent"][name] = i + 1
                yield i
            if name == "waits":
                await asyncio.Event().wait()
            if name == "fails":
                raise KeyError(name)
        except BaseException as error:
            state["ended"][name] = type(error).__name__
            raise

    @rekindle.enter()
    async def begin(self):
        self.loop = asyncio.get_running_loop()

    @rekindle.method(is_generator=True)
    def engine(self, n):
        async def items():
            for i in range(n):
                assert asyncio.get_running_loop() is self.loop
                await asyncio.sleep(0)
                yield i
        return items()

    @rekindle.method()
    def seen(self):
        return state, os.getpid()
"""

MAIN = """
def until_ended(name):
    while True:
        found, pid = Streams().seen.remote()
        if name in found["ended"]:
            return found["ended"][name]
        time.sleep(0.01)

def everything():
    out, streams = {}, Streams()

    def read(name):
        out[name] = list(streams.meet.remote_gen(name, 3))

    threads = [threading.Thread(target=read, args=(name,)) for name in "abc"]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    pids = {pid for name in "abc" for _, pid in out[name]}
    out["met"] = {name: [item for item, _ in out.pop(name)] for name in "abc"}

    # One reader is slow: it holds its own generator up, and no other.
    slow = streams.count.remote_gen("slow", 10**6)
    slow_aio = streams.tokens.remote_gen("slow aio", 10**6)
    out["first"] = [next(slow), next(slow_aio)]
    out["fast"] = sum(1 for _ in streams.count.remote_gen("fast", 3000))
    out["fast aio"] = sum(1 for _ in streams.tokens.remote_gen("fast aio", 3000))
    found, pid = streams.seen.remote()
    out["ahead"] = [found["sent"]["slow"], found["sent"]["slow aio"]]
    out["runners"] = len(pids | {pid})

    # An early end reaches it where it is, and no other.
    slow.close()
    out["closed"] = until_ended("slow")
    waits = streams.tokens.remote_gen("waits", 1)
    out["first of waits"] = next(waits)
    waits.close()
    out["cancelled"] = until_ended("waits")
    out["goes on"] = [next(slow_aio) for _ in range(200)][-1]
    slow_aio.close()
    out["closed aio"] = until_ended("slow aio")

    items, error = [], None
    try:
        for item in streams.tokens.remote_gen("fails", 2):
            items.append(item)
    except KeyError as caught:
        error = str(caught)
    out["failed"] = [items, error]
    async def both():
        async def one(name):
            return [item async for item in streams.tokens.remote_gen.aio(name, 50)]
        return await asyncio.gather(*[one(f"t{i}") for i in range(6)])
    out["engine"] = list(streams.engine.remote_gen(3))
    out["aio"] = [len(items) for items in asyncio.run(both())]
    return out

@app.local_entrypoint()
def main():
    print(json.dumps(everything()))
"""


def test_generators_run_side_by_side_in_one_runner(shared: Home) -> None:
    """Sync ones in threads and async ones on the loop: back-pressure, early ends, errors."""
    found = shared.run(shared.script(APP + MAIN)).value
    assert found["met"] == {name: [f"{name}{i}" for i in range(3)] for name in "abc"}
    assert found["first"] == [0, 0] and found["fast"] == found["fast aio"] == 3000
    assert max(found["ahead"]) <= 70
    assert found["runners"] == 1
    assert found["closed"] == found["closed aio"] == "GeneratorExit"
    assert found["first of waits"] == 0 and found["cancelled"] == "CancelledError"
    assert found["goes on"] == 200
    assert found["failed"] == [[0, 1], "'fails'"]
    assert found["engine"] == [0, 1, 2]  # an async one that a sync method gives, on the loop
    assert found["aio"] == [50] * 6
