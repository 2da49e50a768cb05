"""What has an ``.aio`` never holds an event loop up, also where a controller is slow."""

from __future__ import annotations

import signal
import sys

from tests.e2e.harness import Home, service

SERVED = """
    import json, rekindle

    app = rekindle.App("served")

    @app.function()
    def double(n):
        return n * 2

    @app.function()
    def count(n):
        yield from range(n)

    @app.cls()
    class Model:
        size: int = rekindle.parameter(default=3)

        @rekindle.method()
        def sized(self, n):
            return self.size * n

        @rekindle.method()
        def stream(self):
            yield self.size

    if __name__ == "__main__":
        app.deploy()
        rekindle.Dict.from_name("served", create_if_missing=True)["k"] = double
        print(json.dumps(double.spawn(4).object_id))
"""

ASKS = """
    import asyncio, json, sys
    import rekindle
    from rekindle import App, Cls, Dict, Function, FunctionCall, Queue, Secret

    def double():
        return Function.from_name("served", "double")

    def Model(**given):
        return Cls.from_name("served", "Model", **given)

    async def all_of(items):
        return [item async for item in items]

    async def name_of(looked_up):
        return (await looked_up).name

    async def waiting():
        asked = {
            "function": name_of(double().hydrate.aio()),
            "class": name_of(Model().hydrate.aio()),
            "app": name_of(App.lookup.aio("served")),
            "Dict": Dict.from_name("served").contains.aio("k"),
            "Queue": Queue.from_name("served", create_if_missing=True).put.aio(1),
            "secrets": Secret.objects.list.aio(),
            "remote": double().remote.aio(1),
            "method": Model()(size=5).sized.remote.aio(2),
            "defaults": Model(version=1)().sized.remote.aio(2),
            "variant": double().with_options(timeout=77).remote.aio(3),
            "class variant": Model().with_options(timeout=78)().sized.remote.aio(3),
            "map": all_of(double().map.aio([1, 2])),
            "generator": all_of(Function.from_name("served", "count").remote_gen.aio(2)),
            "method generator": all_of(Model()(size=8).stream.remote_gen.aio()),
            "spawn": Model()(size=4).sized.spawn.aio(2),
            "call": FunctionCall.from_id(sys.argv[1]).get.aio(),
            "settings": double().autoscaler.settings.aio(),
            "settings of an instance": Model()(size=6).autoscaler.settings.aio(),
            "update": Model()(size=7).update_autoscaler.aio(max_containers=3),
            "stats": double().get_current_stats.aio(),
        }
        tasks = {name: asyncio.ensure_future(one) for name, one in asked.items()}
        for _ in range(300):
            await asyncio.sleep(0.001)
        # The controller stands still: whatever is done has not asked it.
        print("ticked", json.dumps([name for name, task in tasks.items() if task.done()]))
        sys.stdout.flush()
        values = dict(zip(tasks, await asyncio.gather(*tasks.values())))
        values["spawn"] = await values["spawn"].get.aio()
        print(json.dumps(values, default=lambda _: "?"))

    asyncio.run(waiting())
"""


def test_a_loop_goes_on_while_what_it_asked_for_is_waited_for(home: Home) -> None:
    home.up()
    call_id = home.python(home.script(SERVED, "served.py")).value
    controller = service(home.supervisor(), "rekindle.controller")
    controller.send_signal(signal.SIGSTOP)
    try:
        program = home.start(sys.executable, home.script(ASKS, "asks.py"), call_id)
        program.until("ticked []")
    finally:
        controller.send_signal(signal.SIGCONT)
    ended = program.end()
    assert ended.status == 0, str(ended)
    assert "AsyncUsageWarning" not in ended.err
    assert ended.value == {
        "function": "double",
        "class": "Model",
        "app": "served",
        "Dict": True,
        "Queue": None,
        "secrets": [],
        "remote": 2,
        "method": 10,
        "defaults": 6,
        "variant": 6,
        "class variant": 9,
        "map": [2, 4],
        "generator": [0, 1],
        "method generator": [8],
        "spawn": 8,
        "call": 8,
        "settings": "?",
        "settings of an instance": "?",
        "update": None,
        "stats": "?",
    }
