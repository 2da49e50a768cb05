"""Redis is emptied while programs wait: each is told, and what runs afterwards is served."""

from __future__ import annotations

import redis

from rekindle.controller.storage.embedded_redis import redis_socket
from tests.e2e.harness import Home

_WAITS = """
    import threading, time
    import rekindle

    app = rekindle.App("emptied")

    @app.function()
    def slow(x):
        time.sleep(600)

    @app.local_entrypoint()
    def main():
        queue = rekindle.Queue.from_name("emptied", create_if_missing=True)
        entries = rekindle.Dict.from_name("emptied", create_if_missing=True)
        queue.len()
        begun = slow.spawn(0)
        ways = {
            "get": lambda: begun.get(),
            "map": lambda: list(slow.map(range(3))),
            "queue": lambda: queue.get(timeout=500),
        }
        ended = []

        def wait(name):
            try:
                ways[name]()
            except Exception as error:
                ended.append(name)
                print(name, "ended by", type(error).__name__, flush=True)

        threads = [threading.Thread(target=wait, args=(name,)) for name in ways]
        for one in threads:
            one.start()
        print("waits", flush=True)
        for one in threads:
            one.join()
        print("all ended", flush=True)
"""
_SERVED = """
    import rekindle

    app = rekindle.App("served-again")

    @app.function()
    def double(x):
        return 2 * x

    @app.local_entrypoint()
    def main():
        print(list(double.map(range(3))), double.spawn(2).get())
        with rekindle.Dict.ephemeral() as d:
            d["a"] = 1
            print(d["a"])
"""


def test_who_waits_is_told_and_who_comes_later_is_served(home: Home) -> None:
    home.up(REKINDLE_REAP_S="0.5")
    waits = home.start_rekindle("run", home.script(_WAITS))
    waits.until("waits")
    with redis.Redis(unix_socket_path=str(redis_socket(home.daemon))) as server:
        server.flushall()
    waits.until("all ended")
    waits.end()
    assert "was emptied while its instance was up" in home.log("controller")
    served = home.run(home.script(_SERVED))
    assert served.out.splitlines()[-2:] == ["[0, 2, 4] 4", "1"]
