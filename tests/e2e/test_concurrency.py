"""Several inputs at a time in one runner, by every way that inputs come."""

from __future__ import annotations

import json

from tests.e2e.harness import Home

APP = """
import asyncio, json, os, signal, threading, time
import rekindle
from rekindle import exception

app = rekindle.App("beside")
meeting = threading.Barrier(6, timeout=60)
here = {}

def runner():
    return os.environ["REKINDLE_RUNNER_ID"]

def seen():
    return runner(), rekindle.current_function_call_id(), rekindle.current_input_id()

@app.function(max_containers=1, timeout=60)
@rekindle.concurrent(max_inputs=6)
def meet(n):
    # Goes on only when six of them are here at once.
    meeting.wait()
    print(f"{seen()[1]} met")
    meeting.wait()
    print(f"{seen()[1]} left")
    return n, *seen(), threading.get_ident()

@app.function(max_containers=1, timeout=3, startup_timeout=60)
@rekindle.concurrent(max_inputs=6)
async def task(what, name=""):
    loop = here.setdefault("loop", asyncio.get_running_loop())
    assert loop is asyncio.get_running_loop()
    event = here.setdefault(name, asyncio.Event())
    if what == "wait":
        try:
            await event.wait()
        except asyncio.CancelledError:
            here["cancelled"] = here.get("cancelled", 0) + 1
            raise
        return name, *seen()
    if what == "set":
        event.set()
    if what == "fail":
        raise KeyError(name)
    if what == "seen":
        return here.get("cancelled", 0), runner(), name in here
    return what

@app.function(max_containers=1)
@rekindle.concurrent(max_inputs=2)
def nested(depth):
    if depth == 1:
        meeting_of_two.wait()
    return [nested.remote(depth - 1), runner()] if depth else runner()

meeting_of_two = threading.Barrier(2, timeout=60)

@app.function(timeout=60)
@rekindle.concurrent(max_inputs=4, target_inputs=2)
def spread(directory, n):
    with open(f"{directory}/{n}-spread", "w") as file:
        file.write(runner())
    while sum(name.endswith("-spread") for name in os.listdir(directory)) < 6:
        time.sleep(0.01)
    return runner()

@app.function(max_containers=1, timeout=60)
@rekindle.concurrent(max_inputs=4)
def mortal(directory, n):
    with open(f"{directory}/{n}", "a") as file:
        file.write(f"{runner()}\\n")
    if len(open(f"{directory}/{n}").readlines()) == 1:
        while not all(os.path.exists(f"{directory}/{m}") for m in range(4)) or n:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    return n
"""

MAIN = """
def everything(directory):
    out = {}

    async def direct(function, *items):
        return await asyncio.gather(*[function.remote.aio(item) for item in items])

    def both():
        thread = []
        other = threading.Thread(target=lambda: thread.extend(meet.map(range(3))))
        other.start()
        met = asyncio.run(direct(meet, 7, 8, 9))
        other.join()
        return thread + met

    out["direct"] = asyncio.run(direct(meet, *range(6)))
    out["queued"] = list(meet.map(range(6)))
    out["both"] = both()
    out["nested"] = asyncio.run(direct(nested, 1, 1))

    async def is_there(name):
        while not (await task.remote.aio("seen", name))[2]:
            pass

    async def tasks():
        first = asyncio.ensure_future(task.remote.aio("wait", "a"))
        calls = [task.spawn("wait", "b"), task.spawn("wait", "c")]
        for name in ("b", "c"):
            await is_there(name)
        calls[0].cancel()
        assert type(await task.remote.aio("nothing")) is str
        try:
            await task.remote.aio("fail", "x")
        except KeyError as error:
            out["failed"] = repr(error)
        await task.remote.aio("set", "a")
        out["first"] = await first
        await task.remote.aio("set", "c")
        out["second"] = await calls[1].get.aio()
        try:
            await calls[0].get.aio()
        except exception.RemoteError as error:
            out["cancelled"] = type(error).__name__
        _, pid, _ = await task.remote.aio("seen")
        late = [asyncio.ensure_future(task.remote.aio("wait", "never"))]
        late.append(asyncio.ensure_future(asyncio.to_thread(task.spawn("wait", "never").get)))
        errors = await asyncio.gather(*late, return_exceptions=True)
        out["late"] = [type(error).__name__ for error in errors]
        given_up = asyncio.ensure_future(task.remote.aio("wait", "given up"))
        await is_there("given up")
        before = (await task.remote.aio("seen"))[0]
        given_up.cancel()
        while (await task.remote.aio("seen"))[0] == before:
            pass
        out["same"] = (await task.remote.aio("seen"))[1] == pid
    asyncio.run(tasks())
    return out

@app.local_entrypoint()
def main(directory: str):
    out = everything(directory)

    async def die():
        calls = [mortal.spawn(directory, n) for n in (0, 1)]
        rest = await asyncio.gather(*[mortal.remote.aio(directory, n) for n in (2, 3)])
        return [call.get() for call in calls], rest
    out["died"] = asyncio.run(die())

    async def more_than_fit():
        return await asyncio.gather(*[spread.remote.aio(directory, n) for n in range(6)])
    out["spread"] = asyncio.run(more_than_fit())
    print(json.dumps(out))
"""


def test_inputs_share_a_runner_and_each_has_what_is_its_own(shared: Home) -> None:
    runs = shared.scripts / "runs"
    runs.mkdir()
    found = shared.run(shared.script(APP + MAIN), "--directory", str(runs)).value

    for way in ("direct", "queued", "both"):
        rows = found[way]
        assert len({pid for _n, pid, *_ in rows}) == 1, way
        assert len({thread for *_, thread in rows}) == 6, way
        assert len({input_id for _n, _pid, _call, input_id, _thread in rows}) == 6, way
    assert [row[0] for row in found["direct"]] == [row[0] for row in found["queued"]]
    assert [row[0] for row in found["both"]] == [0, 1, 2, 7, 8, 9]
    # Each of the two waits for a place: its runner's are taken by those that wait.
    assert all(inner != outer for inner, outer in found["nested"])

    logs = shared.rekindle("logs", "beside", "--json").out
    lines = [json.loads(line) for line in logs.splitlines()]
    said = [line for line in lines if line["text"].endswith((" met", " left"))]
    assert len(said) == 36
    assert all(line["text"].split()[0] == line["call_id"] for line in said)

    # The one that ended last had begun first; what became of one was no other's matter.
    assert found["failed"] == "KeyError('x')"
    assert (found["first"][0], found["second"][0]) == ("a", "c")
    assert found["cancelled"] in ("InputCancellation", "RemoteError")
    assert found["late"] == ["FunctionTimeoutError", "FunctionTimeoutError"]
    assert found["same"]

    # Beyond what is aimed at a runner takes more, up to its most; more than that starts another.
    counts = {runner: found["spread"].count(runner) for runner in found["spread"]}
    assert len(counts) > 1
    assert max(counts.values()) <= 4

    assert found["died"] == [[0, 1], [2, 3]]
    runners = {n: (runs / n).read_text().split() for n in "0123"}
    assert all(len(set(pids)) == len(pids) == 2 for pids in runners.values())


FEW_THREADS = """
import os, threading
import rekindle
from rekindle import exception

app = rekindle.App("few")

@app.cls(max_containers=1)
@rekindle.concurrent(max_inputs=3)
class Few:
    @rekindle.enter()
    def enter(self):
        self.begun = threading.Event()
        self.refuse()
    def refuse(self):
        threading.stack_size(1 << 46)  # the system has no thread of this size
    @rekindle.method()
    async def allow(self):
        threading.stack_size(0)
        return os.getpid()
    @rekindle.method()
    async def begins(self):
        import asyncio
        while not self.begun.is_set():
            await asyncio.sleep(0.001)
    @rekindle.method()
    def look(self):
        return os.getpid()
    @rekindle.method()
    def wait_for(self):
        self.refuse()
        self.begun.set()
        with open("gate"):
            return os.getpid()

@app.local_entrypoint()
def main():
    few = Few()
    try:
        few.look.remote()
    except exception.ResourceExhaustedError as error:
        print(error)
    runners = [few.allow.remote()]
    os.mkfifo("gate")
    waits = few.wait_for.spawn()
    few.begins.remote()
    looks = few.look.spawn()
    open("gate", "w").close()
    print({*runners, waits.get(), looks.get()} == set(runners))
"""


def test_where_no_more_threads_can_be_had_inputs_wait_for_one_or_fail_and_others_go_on(
    shared: Home,
) -> None:
    ended = shared.run(shared.script(FEW_THREADS))
    refused, same = ended.out.splitlines()
    assert refused.startswith("Few.look needs a thread to run in, and there is none (can't start")
    assert "max_inputs" in refused and same == "True", str(ended)
