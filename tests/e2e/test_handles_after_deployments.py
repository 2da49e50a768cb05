"""Handles by name go on as they are when another program deploys: variants, settings, stats."""

from __future__ import annotations

import sys

import pytest

from tests.e2e.harness import COMMAND, Home

SERVICE = """
import rekindle

app = rekindle.App("kept")
VERSION = {version}

@app.function()
def f(x):
    return VERSION

@app.function()
def together(xs):
    return [VERSION] * len(xs)

@app.function(is_generator=True)
def items(x):
    yield VERSION
    yield VERSION

@app.function()
def hold(path):
    open(path + "/began", "w").close()
    open(path + "/go").close()
    return VERSION

@app.cls()
class Model:
    size: int = rekindle.parameter(default=1)
    if VERSION > 1:
        more: int = rekindle.parameter(default=0)

    @rekindle.method()
    def run(self, x):
        return VERSION

    @rekindle.method()
    def stream(self, x):
        yield VERSION

    if VERSION > 1:

        @rekindle.method()
        def newer(self):
            return VERSION
"""

CLIENT = """
import asyncio, json, os, pickle, subprocess, sys, tempfile, time
import rekindle
from rekindle.cli import operator

SERVICE = %r

def rekindle_(*argv):
    command = [sys.argv[1], *argv]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

def deploy(version):
    with open("kept.py", "w") as file:
        file.write(SERVICE.format(version=version))
    rekindle_("deploy", "kept.py")

def open_versions():
    apps = operator.report(controller).apps
    return [one.version for one in apps if one.name == "kept"]

def set_elsewhere():
    program = "import rekindle; f = rekindle.Function.from_name('kept', 'f')\\n"
    program += "print(f.autoscaler.settings().max_containers)"
    found = subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE)
    return int(found.stdout)

deploy(1)
controller = operator.connect()
f, together, items, hold = (
    rekindle.Function.from_name("kept", name) for name in ("f", "together", "items", "hold")
)
Model = rekindle.Cls.from_name("kept", "Model")
g = f.with_options(timeout=8)
queued = f.with_options(timeout=8, retries=1)
streamed = items.with_options(timeout=8)
shared = f.with_concurrency(max_inputs=2)
batched = together.with_batching(max_batch_size=2, wait_ms=10)
big = Model.with_options(timeout=8)(size=2)
several = Model.with_concurrency(max_inputs=2)()

def all_ways():
    yield "variant", g.remote(0)
    yield "aio", asyncio.run(g.remote.aio(0))
    yield "spawn", g.spawn(0).get()
    yield "map", *g.map([0, 0])
    yield "retries", queued.remote(0)
    yield "generator", *streamed.remote_gen(0)
    yield "concurrent", shared.remote(0)
    yield "batched", *batched.map([0, 0])
    yield "method", big.run.remote(0)
    yield "method aio", asyncio.run(big.run.remote.aio(0))
    yield "method spawn", big.run.spawn(0).get()
    yield "method map", *big.run.map([0])
    yield "method generator", *big.stream.remote_gen(0)
    yield "concurrent method", several.run.remote(0)
    yield "new variant", f.with_options(timeout=9).remote(0)
    found = rekindle.Function.from_name("kept", "f")
    yield "found again", found.with_options(timeout=10).remote(0)
    yield "plain", f.remote(0)

def wrong(version):
    for way, *seen in all_ways():
        if not seen or set(seen) != {version}:
            yield version, way, seen
    f.update_autoscaler(max_containers=4 + version)
    g.update_autoscaler(max_containers=8 + version)
    seen = f.autoscaler.settings().max_containers, g.autoscaler.settings().max_containers
    if seen != (4 + version, 8 + version) or set_elsewhere() != 4 + version:
        yield version, "settings", seen
    while g.get_current_stats().num_total_runners < 1:  # there are more of these than places
        g.remote(0)
    if version > 1 and big.newer.remote() != version:
        yield version, "newer method", 0
    if version > 1 and Model.with_options(timeout=8)(more=1).run.remote(0) != version:
        yield version, "newer parameter", 0

found = list(wrong(1))
with tempfile.TemporaryDirectory() as path:
    for name in ("began", "go"):
        os.mkfifo(f"{path}/{name}")
    held = hold.spawn(path)
    open(path + "/began").close()
    deploy(2)  # while the former version still runs this
    found += wrong(2)
    with_former = sorted(open_versions())
    open(path + "/go", "w").close()
    held = held.get()
while open_versions() != [2]:
    time.sleep(0.05)
deploy(3)
while open_versions() != [3]:
    time.sleep(0.05)
found += wrong(3)  # when nothing is left of the former one
first = rekindle.Function.from_name("kept", "f", version=1)
of_first = first.with_options(timeout=8)
of_first.update_autoscaler(max_containers=2)
first.update_autoscaler(max_containers=2)
numbered = [of_first.remote(0), pickle.loads(pickle.dumps(of_first)).remote(0), set_elsewhere()]
numbered.append(g.autoscaler.settings().max_containers)
print(json.dumps({"numbered": numbered, "wrong": found, "held": held, "open": with_former}))
"""


@pytest.mark.timeout(400)  # three deployments, and thirty starts
def test_what_was_made_before_a_deployment_is_of_the_present_version_after_it(home: Home) -> None:
    home.up()
    (home.scripts / "client.py").write_text(CLIENT % SERVICE)
    ended = home.start(sys.executable, "client.py", COMMAND).end(300)
    numbered = [1, 1, 7, 11]
    found = {"numbered": numbered, "wrong": [], "held": 1, "open": [1, 2]}
    assert ended.value == found, str(ended)
