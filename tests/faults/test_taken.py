"""Controller and Redis are killed under a map that takes its results: all of them come, once."""

from __future__ import annotations

import psutil

from tests.e2e.harness import Home, service, wait_until
from tests.e2e.processes import redis_of

SCRIPT = """
    import rekindle

    app = rekindle.App("taking")

    @app.function()
    def same(n):
        return n

    @app.local_entrypoint()
    def main():
        count = total = 0
        for value in same.map(range(20_000), order_outputs=False):
            count, total = count + 1, total + value
            if count % 4_000 == 0:
                print("taken", count, flush=True)
        print("all", count, total, flush=True)
        print("again", list(same.map(range(5))), flush=True)
"""


def test_no_result_is_lost_that_was_not_taken(home: Home) -> None:
    home.up()
    supervisor = home.supervisor()
    program = home.start_rekindle("run", home.script(SCRIPT))
    for taken, victim in ((4_000, "controller"), (8_000, "redis"), (12_000, "controller")):
        program.until(f"taken {taken}\n")
        process: psutil.Process = (
            redis_of(supervisor)
            if victim == "redis"
            else service(supervisor, "rekindle.controller")
        )
        process.kill()
        wait_until(lambda gone=process: not gone.is_running(), f"the {victim} to be gone")
    ended = program.end()
    assert ended.status == 0, ended
    assert f"all 20000 {sum(range(20_000))}\n" in ended.out
    assert "again [0, 1, 2, 3, 4]\n" in ended.out
    kept = wait_until(
        lambda: (status := home.status()).get("kept") and not status["apps"] and status["kept"],
        "the app to be closed",
    )
    assert kept["calls"] == 0
    home.rekindle("down")
