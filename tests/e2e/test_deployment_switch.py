"""A call that begins once a deployment has returned runs the new version, whoever makes it."""

from __future__ import annotations

import sys

from tests.e2e.harness import Home

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
