"""Large values of direct calls: their memory is used again, and nobody ever sees that it was."""

from __future__ import annotations

from functools import partial

import psutil
import pytest

from tests.e2e import direct_program
from tests.e2e.harness import Gate, Home
from tests.e2e.processes import holder_of

APP = (
    Gate.SOURCE
    + """
import asyncio, gc, json, os, sys, time
import numpy as np
import rekindle
from rekindle.sdk.calls import lease_caches
from rekindle.sdk.calls.lease import held as every_lease
from rekindle.wire import reuse

app = rekindle.App("direct-memory")
held = []

def memory_files():
    # Descriptors of memory files in this process, and mappings.
    with open("/proc/self/maps") as areas:
        found = sum("rekindle-value" in one for one in areas)
    for fd in os.listdir("/proc/self/fd"):
        try:
            found += "rekindle-value" in os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            pass
    return found

def descriptors():
    return len(os.listdir("/proc/self/fd"))

@app.function(max_containers=1)
def filled(byte, size):
    return np.full(size, byte, dtype=np.uint8)

@app.function(max_containers=1)
def plus_one(value):
    return value + 1

@app.function(max_containers=1)
def keep(value, every):
    # Keep some arguments and what they were; whether all that is kept is still that.
    if len(held) < 5 and value is not None and value[0] % every == 0:
        held.append((value, value.copy()))
    return [len(held), all((one == was).all() for one, was in held)]

@app.function(max_containers=1)
def fail(value):
    size = len(value)
    raise ValueError(size)

@app.function(max_containers=1)
def runner_has():
    gc.collect()
    return [memory_files(), descriptors()]

@app.cls(max_containers=1)
class One:
    # One runner for all of these.
    @rekindle.method()
    def plus_one(self, value):
        return value + 1

    @rekindle.method()
    def has(self):
        gc.collect()
        return [memory_files(), descriptors()]

@app.function()
def cold(value):
    return [value[0], value[-1]]

@app.function(single_use_containers=True)
def alone(value):
    return [value[0], value[-1]]

@app.function()
def ends(value):
    yield value[0]
    yield value[-1]

@app.function(max_containers=1)
def busy(path, value):
    if path:
        wait_at(path)
    return [value[0], value[-1]]

@app.function(max_containers=1)
def hold(path, value):
    if path:
        wait_at(path)
    return value + 1
"""
)


program = partial(direct_program.program, APP)


@pytest.mark.parametrize("way", ["blocking", "aio"])
def test_results_that_are_kept_never_change(shared: Home, way: str) -> None:
    body = """
def calls():
    warm_up(filled, 0, 1)
    kept = [filled.remote(i, 3_000_000) for i in range(5)]
    for i in range(20):
        got = filled.remote(100 + i, 3_000_000 - i)
        assert (got == 100 + i).all() and len(got) == 3_000_000 - i
        if i % 3:
            kept.append(got)
    return kept

async def calls_aio():
    kept = [await filled.remote.aio(i, 3_000_000) for i in range(5)]
    for i in range(20):
        got = await filled.remote.aio(100 + i, 3_000_000 - i)
        assert (got == 100 + i).all() and len(got) == 3_000_000 - i
        if i % 3:
            kept.append(got)
    return kept

warm_up(filled, 0, 1)
kept = asyncio.run(calls_aio()) if "WAY" == "aio" else calls()
wanted = [*range(5), *(100 + i for i in range(20) if i % 3)]
print(json.dumps([(one == want).all().item() for one, want in zip(kept, wanted, strict=True)]))
"""
    found = shared.run(shared.script(program(body.replace("WAY", way)))).value
    assert len(found) == 18 and all(found)


@pytest.mark.parametrize("every", [1, 2])
def test_arguments_that_a_runner_keeps_never_change(shared: Home, every: int) -> None:
    body = """
warm_up(keep, None, 1)
right = [keep.remote(np.full(1_000_000 - i, i), EVERY) for i in range(30)]
assert all(same for _, same in right)
print(json.dumps(right[-1]))
"""
    script = shared.script(program(body.replace("EVERY", str(every))))
    assert shared.run(script).value == [5, True]


@pytest.mark.parametrize("size", [1_000, 100_000, 1_000_000])
def test_what_a_program_changes_while_its_calls_wait_is_not_in_their_arguments(
    shared: Home, shared_gate: Gate, size: int
) -> None:
    body = """
value = bytearray(SIZE)

async def while_it_changes(call):
    calls = []
    for k in range(1, 5):
        value[:] = bytes([k]) * SIZE
        calls.append(asyncio.create_task(call(value)))
        await asyncio.sleep(0)  # it begins
    value[:] = bytes(SIZE)
    return calls

async def items(value):
    return [item async for item in ends.remote_gen.aio(value)]

async def calls():
    ways = (cold.remote.aio, alone.remote.aio, items)
    seen = [await asyncio.gather(*await while_it_changes(way)) for way in ways]
    holding = asyncio.create_task(busy.remote.aio(path, value))
    while not os.path.exists(path + "/held"):
        await asyncio.sleep(0.01)
    waiting = await while_it_changes(lambda value: busy.remote.aio("", value))
    os.write(os.open(path + "/gate", os.O_RDWR), b".")
    await holding
    return [*seen, await asyncio.gather(*waiting)]

print(json.dumps(asyncio.run(calls())))
"""
    script = shared.script(program(body.replace("SIZE", str(size)), "path: str"))
    found = shared.run(script, "--path", shared_gate.directory).value
    assert found == [[[k, k] for k in range(1, 5)]] * 4


def test_memory_is_used_again_and_descriptors_do_not_grow(shared: Home) -> None:
    body = """
one = One()
warm_up(one.has)
array = np.zeros(300_000)
reuse.IDLE_S = 600  # here; a machine may be busy
seen, numbers = [], set()
for i in range(200):
    got = one.plus_one.remote(array)
    assert (got == 1).all()
    del got
    if i % 20 == 19:
        (lease,) = [h for h in every_lease.values() if h.files.any]
        numbers |= {file.number for file in lease.files._back}
        seen.append([one.has.remote(), [memory_files(), descriptors()]])
print(json.dumps([seen[0] == seen[-1], seen[-1][0][0], seen[-1][1][0], sorted(numbers)]))
"""
    # On each side one file and its mapping, and the mapping of the other side's file.
    assert shared.run(shared.script(program(body))).value == [True, 3, 3, [1]]


def test_a_call_that_raises_lets_its_arguments_go(shared: Home) -> None:
    body = """
def refused(size):
    try:
        fail.remote(np.zeros(size))
    except ValueError as error:
        assert error.args == (size,)

reuse.IDLE_S = 600
while not every_lease:
    refused(1)
for i in range(20):
    refused(300_000)
(lease,) = [h for h in every_lease.values() if h.files.any]
print(json.dumps([file.number for file in lease.files._back]))
"""
    assert shared.run(shared.script(program(body))).value == [1]


def test_memory_is_free_when_nobody_calls_any_more(shared: Home) -> None:
    body = """
one = One()
warm_up(one.has)
for _ in range(3):
    one.plus_one.remote(np.zeros(2_000_000))
before = [memory_files(), one.has.remote()[0]]
until = time.monotonic() + 60
while (memory_files() or one.has.remote()[0]) and time.monotonic() < until:
    time.sleep(0.05)
print(json.dumps([before, memory_files(), one.has.remote()[0]]))
"""
    before, mine, its = shared.run(shared.script(program(body))).value
    assert all(before) and not mine and not its


def test_another_client_never_sees_what_a_former_one_got(shared: Home) -> None:
    body = """
from rekindle.sdk.calls import records
looked = []
collecting = records.collect()
made = collecting.__enter__()
def look(files, fd, number, size, real=reuse.MemoryFiles.view):
    whole = os.pread(fd, 1 << 30, 0)
    looked.append([made[-1].runner_id, len(whole) - size, whole.count(0xA5)])
    return real(files, fd, number, size)

warm_up(filled, 0, 1)
for _ in range(4):
    assert (filled.remote(0xA5, 8_000_000) == 0xA5).all()
runner = made[-1].runner_id
(lease,) = every_lease.values()
lease.close()  # what comes now is another client to the runner
for cache in lease_caches._caches.values():
    cache.idle.clear()
warm_up(filled, 0, 1)
assert lease not in every_lease.values()
reuse.MemoryFiles.view = look
for _ in range(3):
    assert (filled.remote(0x11, 3_000_000) == 0x11).all()
print(json.dumps([[one == runner, *rest] for one, *rest in looked]))
"""
    looked = shared.run(shared.script(program(body))).value
    assert looked == [[True, 0, 0]] * 3


def test_a_forked_child_keeps_what_it_has_seen(shared: Home) -> None:
    body = """
warm_up(filled, 0, 1)
got = filled.remote(7, 3_000_000)
asked, answer = os.pipe()
sys.stdout.flush()
pid = os.fork()
if pid == 0:
    os.close(answer)
    os.read(asked, 1)
    os._exit(0 if (got == 7).all() else 1)
os.close(asked)
del got
for i in range(20):
    assert (filled.remote(100 + i, 3_000_000) == 100 + i).all()
os.close(answer)
print(json.dumps(os.waitpid(pid, 0)[1]))
"""
    assert shared.run(shared.script(program(body))).value == 0


# ---- a runner that dies ------------------------------------------------------------------------


def test_a_runner_that_is_killed_leaves_nothing_and_the_value_is_right(
    shared: Home, shared_gate: Gate
) -> None:
    body = """
array = np.arange(1_000_000)
warm_up(hold, "", 0)
print("got", (hold.remote(path, array) == array + 1).all(), flush=True)
kept = hold.remote(path, array)
for i in range(5):
    assert (hold.remote(path, array + i) == array + i + 1).all()
print("kept", (kept == array + 1).all(), memory_files(), flush=True)
"""
    script = shared.script(program(body, "path: str"))
    started = shared.start_rekindle("run", script, "--path", shared_gate.directory)
    started.until("waiting")
    runner = holder_of(shared.supervisor(), shared_gate.held)
    runner.kill()
    psutil.wait_procs([runner], timeout=60)
    started.until("waiting", times=2)
    shared_gate.open()
    ended = started.end()
    # What is kept; the file of the last argument and its mapping; that of the last result.
    assert "got True\n" in ended.out and "kept True 4\n" in ended.out, str(ended)
