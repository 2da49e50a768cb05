"""Deployed apps, end to end: called by name, replaced under load, there again after restarts."""

from __future__ import annotations

import json
import sys

from tests.e2e.harness import Home, wait_until

SERVICE = """
import rekindle

app = rekindle.App("service")
VERSION = {version}

@app.function(enable_memory_snapshot=True)
def answer(x):
    return VERSION, x

@app.function()
def nested(x):
    return answer.remote(x)

@app.cls()
class Scaled:
    by: int = rekindle.parameter(default=3)

    @rekindle.method()
    def value(self, x):
        return VERSION, self.by * x
"""

CALLS = """
import os, sys, threading
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


def app_list(home: Home, *command: str) -> list[dict[str, object]]:
    """``rekindle app list --json`` or its like."""
    found: list[dict[str, object]] = json.loads(home.rekindle("app", *command, "--json").out)
    return found


def held_apps(home: Home) -> set[str]:
    """Apps of which the agent has a runner or a pool."""
    stats = home.status()["agents"][0]["stats"]
    return {one["app_id"] for one in [*stats["runners"], *stats["pools"]]}


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
    wait_until(lambda: held_apps(home) <= {str(present["app_id"])}, "the end of former runners")
    wait_until(lambda: len(home.status()["apps"]) == 1, "the end of former versions")
    stats = home.status()["agents"][0]["stats"]
    assert len(stats["templates"]) <= 1
