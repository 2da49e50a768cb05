"""The memory of an instance's own processes after large values have gone through them."""

from __future__ import annotations

import pytest

from tests.e2e.harness import Home, service, wait_until

APP = """
import rekindle
app = rekindle.App("memory")

@app.function(max_containers=2)
def swap(number, value, size):
    return bytes([number]) * size

@app.local_entrypoint()
def main(way: str, count: int, size: int):
    values = (bytes([number]) * size for number in range(count))
    if way == "map":
        for value in swap.map(range(count), values, kwargs={"size": size}):
            assert len(value) == size
    else:
        for number, value in enumerate(values):
            assert len(swap.spawn(number, value, size).get()) == size
"""

_MIB = 1 << 20


@pytest.mark.slow
def test_large_values_that_went_through_leave_no_memory_behind(home: Home) -> None:
    supervisor = home.up()
    daemons = [service(supervisor, f"rekindle.{name}") for name in ("controller", "runtime.agent")]
    script = home.script(APP)

    def pass_through(way: str, count: int, size: int) -> None:
        home.run(script, "--way", way, "--count", str(count), "--size", str(size))

    pass_through("map", 4, 8 * _MIB)  # what is loaded when it is needed first
    most = [daemon.memory_info().rss + 32 * _MIB for daemon in daemons]
    # By the store of blobs, and through the queue.
    for way, count, size in (("map", 30, 8 * _MIB), ("spawn", 8, 20 * _MIB), ("map", 100, _MIB)):
        pass_through(way, count, size)
        for daemon, limit in zip(daemons, most, strict=True):
            what = f"{daemon.cmdline()[3]} to have let go of {count} values by {way}"
            wait_until(lambda: daemon.memory_info().rss < limit, what)  # noqa: B023
