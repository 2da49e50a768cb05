"""A program that calls a class with ever other parameters."""

from __future__ import annotations

import sys

from tests.e2e.harness import Home

PROGRAM = """
import json, os, resource, time
import rekindle
from rekindle.sdk.calls.lease import held

app = rekindle.App("many-parameters")

@app.cls(serialized=True)
class Scale:
    factor: int = rekindle.parameter(default=1)

    @rekindle.method()
    def times(self, n):
        return self.factor * n

def descriptors():
    return len(os.listdir("/proc/self/fd"))

def wait_until_taken_back():
    while held:  # as nobody calls them
        time.sleep(0.01)

def call(factor):
    assert Scale(factor=factor).times.remote(3) == 3 * factor
    assert Scale(factor=factor).times.remote(5) == 5 * factor
    return len(held)

with app.run():
    for factor in range(1, 10):
        call(factor)
    wait_until_taken_back()
    at_first = descriptors()
    may_have = at_first + 32
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (may_have, hard))
    most = max(call(factor) for factor in range(1, 50))
    wait_until_taken_back()
    print(json.dumps([most <= may_have // 4, descriptors() <= at_first]))
"""


def test_it_keeps_few_descriptors_and_all_its_calls_are_answered(shared: Home) -> None:
    (shared.scripts / "parameters.py").write_text(PROGRAM)
    ended = shared.start(sys.executable, "parameters.py").end()
    assert ended.value == [True, True], str(ended)
