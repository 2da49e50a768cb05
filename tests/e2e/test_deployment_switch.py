"""Calls while their app is deployed: none fails, and what begins after it runs the new version."""

from __future__ import annotations

import sys

import pytest

from tests.e2e.deployed import SERVICE, agent_stats, app_list, held_apps
from tests.e2e.harness import Gate, Home, wait_until

PROGRAM = """
import asyncio, json, sys, threading, time
import rekindle

VERSIONS = 5

def deploy(version):
    app = rekindle.App("switched")

    @app.function(env={"VERSION": str(version)}, serialized=True)
    def f(seconds):
        import os, time
        time.sleep(seconds)
        return int(os.environ["VERSION"])

    app.deploy(strategy="recreate" if version == 4 else "rolling")
    return time.monotonic()

deployed = {1: deploy(1)}
f = rekindle.Function.from_name("switched", "f")
seen, rest, over = [], threading.Event(), threading.Event()

def calls(seconds):
    while not over.is_set():
        began = time.monotonic()
        seen.append((began, f.remote(seconds)))

async def calls_aio():
    while not over.is_set():
        began = time.monotonic()
        seen.append((began, await f.remote.aio(0.01)))

def maps():
    while not over.is_set():
        began = time.monotonic()
        seen.extend((began, version) for version in f.map([0.0] * 3))

callers = [threading.Thread(target=calls, args=(seconds,)) for seconds in (0.0, 0.2)]
callers.append(threading.Thread(target=maps))
callers.append(threading.Thread(target=lambda: asyncio.run(calls_aio())))
for one in callers:
    one.start()
late = []
for version in range(2, VERSIONS + 1):
    while sum(found == version - 1 for _, found in seen) < 40:
        time.sleep(0.01)
    deployed[version] = deploy(version)
    late.append(f.remote(0.0))
while sum(found == VERSIONS for _, found in seen) < 40:
    time.sleep(0.01)
over.set()
for one in callers:
    one.join()
wrong = [
    (version, round(began - at, 4), found)
    for version, at in deployed.items()
    for began, found in seen
    if began > at and found < version
]
print(json.dumps({"late": late, "wrong": wrong}))
"""


def test_what_is_called_after_a_deployment_runs_its_version(home: Home) -> None:
    """Also by clients that have runners of the former one and call them all the time."""
    home.up()
    (home.scripts / "switch.py").write_text(PROGRAM)
    ended = home.start(sys.executable, "switch.py").end()
    assert ended.value == {"late": [2, 3, 4, 5], "wrong": []}, str(ended)


CALLS = """
import os, sys, threading, time
import rekindle

answer = rekindle.Function.from_name("service", "answer")
nested = rekindle.Function.from_name("service", "nested")
Scaled = rekindle.Cls.from_name("service", "Scaled")
seen, lock, failed = {}, threading.Lock(), []

def saw(pair, expected):
    version, value = pair
    assert value == expected, (pair, expected)
    with lock:
        if version not in seen:
            print("saw", version, flush=True)
        seen[version] = seen.get(version, 0) + 1

def direct():
    for x in range(5):
        saw(answer.remote(x), x)

def methods():
    saw(Scaled(by=5).value.remote(7), 35)

def maps():
    for x, pair in enumerate(answer.map(range(20))):
        saw(pair, x)

def spawned():
    calls = [answer.spawn(x) for x in range(5)]
    for x, call in enumerate(calls):
        saw(call.get(), x)

def inside():
    saw(nested.remote(8), 8)

def forever(work):
    try:
        while not os.path.exists(sys.argv[1]):
            work()
            time.sleep(0.1)  # the processors are also for what is deployed
    except BaseException as error:
        failed.append(f"{work.__name__}: {error!r}")

threads = [threading.Thread(target=forever, args=(w,)) for w in
           (direct, methods, maps, spawned, inside)]
for thread in threads: thread.start()
for thread in threads: thread.join()
import json
print(json.dumps({"seen": seen, "failed": failed}))
"""


def deploy(home: Home, version: int, *more: str) -> str:
    """Deploy the service anew."""
    (home.scripts / "service.py").write_text(SERVICE.format(version=version))
    return home.rekindle("deploy", "service.py", *more).out


def templates(home: Home) -> int:
    """How many the agent has."""
    return len(agent_stats(home)["templates"])


@pytest.mark.timeout(400)  # it waits for a minute of quiet, too
def test_no_call_fails_while_an_app_is_deployed_again_and_again(home: Home) -> None:
    """Two clients, five more versions; nothing of the former ones is left in the end."""
    home.up()
    assert "service, version 1" in deploy(home, 1)
    assert deploy(home, 1) == "Nothing has changed: service, version 1 stays.\n"
    (home.scripts / "calls.py").write_text(CALLS)
    over = home.scripts / "over"
    clients = [home.start(sys.executable, "calls.py", str(over)) for _ in range(2)]
    for client in clients:
        client.until("saw 1")
    for version in range(2, 7):
        strategy = "recreate" if version == 4 else "rolling"
        assert f"version {version} " in deploy(home, version, "--strategy", strategy)
        for client in clients:
            client.until(f"saw {version}")
    over.touch()
    for client in clients:
        ended = client.end()
        assert ended.value["failed"] == [], str(ended)
        assert set(ended.value["seen"]) == {str(n) for n in range(1, 7)}
    (present,) = app_list(home, "list")
    assert present["version"] == 6
    # A version that a call from inside it opened again stays for a minute.
    wait_until(
        lambda: len(home.status()["apps"]) == 1,
        "the end of former versions",
        150,
        state=lambda: home.status()["apps"],
    )
    wait_until(
        lambda: held_apps(home) <= {str(present["app_id"])},
        "the end of former runners",
        state=lambda: agent_stats(home),
    )
    # The snapshot of each is made first, one after another, and gives way to all else that runs.
    while (left := templates(home)) > 1:
        wait_until(
            lambda: templates(home) < left,
            f"the end of one of {left} templates",
            state=lambda: agent_stats(home),
        )


COUNTS = (
    Gate.SOURCE
    + """
import rekindle

app = rekindle.App({name!r})

@app.function()
def count():
    yield {version}
    wait_at({gate!r})
    yield {version}
"""
)


@pytest.mark.parametrize("strategy", ["rolling", "recreate"])
def test_a_generator_that_is_read_ends_in_its_version_unless_that_is_stopped(
    shared: Home, shared_gate: Gate, strategy: str
) -> None:
    name, gate = f"counts-{strategy}", str(shared_gate.directory)
    script = shared.script(COUNTS.format(name=name, version=1, gate=gate), "counts.py")
    shared.rekindle("deploy", script)
    read = f"import rekindle; print(*rekindle.Function.from_name('{name}', 'count').remote_gen())"
    reads = shared.start(sys.executable, "-c", read)
    wait_until(shared_gate.held.exists, "the generator to wait")
    script.write_text(COUNTS.format(name=name, version=2, gate=gate))
    shared.rekindle("deploy", script, "--strategy", strategy)
    if strategy == "rolling":
        shared_gate.open()
    ended = reads.end()
    if strategy == "rolling":
        assert ended.out == "1 1\n", str(ended)
    else:
        assert ended.status == 1 and "RunnerLostError" in ended.err, str(ended)
    shared.rekindle("app", "stop", name, "--yes")
