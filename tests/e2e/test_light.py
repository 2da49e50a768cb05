"""What a short program loads, and what it is served by: no more than it needs."""

from __future__ import annotations

from tests.e2e.harness import Home

_SCRIPT = """
    import json, sys
    import rekindle
    app = rekindle.App("light")

    @app.function()
    def double(x):
        print("doubling", x)
        return 2 * x

    @app.local_entrypoint()
    def main():
        heavy = ("asyncio", "click", "ctypes", "google.protobuf", "grpc", "hashlib", "logging",
                 "platform", "rich", "sysconfig", "traceback")
        first = [double.remote(1), double.remote(2)]
        loaded = [name for name in heavy if name in sys.modules]
        later = list(double.map([3, 4]))  # goes through the queue
        print(json.dumps([first, loaded, later]))
"""


def test_a_program_that_calls_and_waits_loads_neither_grpc_nor_an_event_loop(shared: Home) -> None:
    ended = shared.run(shared.script(_SCRIPT))
    assert ended.value == [[2, 4], [], [6, 8]]
    lines = ended.out.splitlines()
    assert lines[:2] == ["doubling 1", "doubling 2"]
    assert sorted(lines[2:4]) == ["doubling 3", "doubling 4"]
