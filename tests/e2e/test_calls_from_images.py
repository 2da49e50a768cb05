"""What user code asks of rekindle from within an image that has no gRPC, or a broken one."""

from __future__ import annotations

import pytest

from tests import images
from tests.e2e.harness import Home

pytestmark = images.BUILDS

_PROGRAM = """
    import json, os, sys
    import rekindle

    SITE = "/usr/lib/python3/dist-packages"
    image = rekindle.Image.debian_slim("3.13").run_commands(
        # What the user has by these names is the user's, and works as it may.
        f"mkdir -p {SITE}/grpc {SITE}/google/protobuf",
        f"for one in grpc google google/protobuf; do "
        f"echo 'raise RuntimeError(1)' > {SITE}/$one/__init__.py; done",
    )
    app = rekindle.App("from-images")

    @app.function(image=image)
    def double(number):
        return 2 * number

    @app.function(image=image)
    def size(data):
        return len(data)

    @app.function(image=image)
    def many(count):
        return b"x" * count

    @app.function(image=image)
    def count_to(number):
        yield from range(number)

    @app.function(image=image)
    def fail():
        raise LookupError("of the other")

    @app.function(image=image, timeout=1)
    def late():
        import time
        time.sleep(30)

    @app.function()
    def on_the_node(number):
        return number + 1

    @app.cls(image=image)
    class Counter:
        start: int = rekindle.parameter(default=0)

        @rekindle.method()
        def after(self, number):
            return self.start + number

    LARGE = 3 << 20

    @app.function(image=image)
    def ask():
        found = {"python": ".".join(map(str, sys.version_info[:2]))}
        found["remote"] = double.remote(4)
        found["node"] = on_the_node.remote(4)
        found["spawn"] = double.spawn(5).get()
        found["map"] = list(double.map(range(40)))
        found["unordered"] = sorted(double.map(range(5), order_outputs=False))
        found["gen"] = list(count_to.remote_gen(3))
        found["cls"] = Counter(start=10).after.remote(1)
        found["options"] = double.with_options(timeout=50).remote(6)
        call = double.spawn(7)
        found["by id"] = rekindle.FunctionCall.from_id(call.object_id).get()
        found["gather"] = rekindle.FunctionCall.gather(double.spawn(1), double.spawn(2))
        found["large"] = size.spawn(b"x" * LARGE).get()
        found["large result"] = len(many.spawn(LARGE).get())
        found["graph"] = [one.status.name for one in call.get_call_graph()]
        found["stats"] = double.get_current_stats().backlog
        double.update_autoscaler(max_containers=3)
        things = rekindle.Dict.from_name("things", create_if_missing=True)
        things["key"] = {"a": 1}
        found["dict"] = things["key"]
        queue = rekindle.Queue.from_name("queue", create_if_missing=True)
        queue.put(["q"])
        found["queue"] = queue.get()
        sleeping = late.spawn()
        sleeping.cancel()
        read, write = os.pipe()
        if os.fork() == 0:
            os.write(write, str(double.spawn(21).get()).encode())
            os._exit(0)
        found["forked"] = os.read(read, 10).decode()
        for name, asked in (
            ("fail", fail.remote),
            ("spawned fail", lambda: fail.spawn().get()),
            ("late", late.remote),
            ("not there", lambda: rekindle.Function.from_name("no-such-app", "f").remote()),
            ("no call", lambda: rekindle.FunctionCall.from_id("fc-" + 32 * "0").get()),
            ("no key", lambda: things["other"]),
            ("in time", lambda: late.spawn().get(timeout=0)),
            ("cannot", lambda: double.remote(lambda: None if sys else open)),
        ):
            try:
                found[name] = repr(asked())
            except Exception as error:
                found[name] = [type(error).__module__ + "." + type(error).__name__, str(error)]
        found["async"] = rekindle_async()
        return found

    def rekindle_async():
        import asyncio

        async def both():
            call = await double.spawn.aio(8)
            return [await call.get.aio(), await double.remote.aio(9)]

        return asyncio.run(both())

    @app.local_entrypoint()
    def main():
        print(json.dumps(ask.remote()))
"""


@pytest.fixture
def home(home_with_base: Home) -> Home:
    """Its store of layers is its own, and has the base."""
    return home_with_base


def test_calls_objects_and_errors_are_as_ever_without_grpc_in_the_image(home: Home) -> None:
    found = home.run(home.script(_PROGRAM)).value
    assert found["python"] == "3.13"
    assert found["remote"] == 8 and found["node"] == 5 and found["spawn"] == 10
    assert found["map"] == [2 * one for one in range(40)]
    assert found["unordered"] == [0, 2, 4, 6, 8] and found["gen"] == [0, 1, 2]
    assert found["cls"] == 11 and found["options"] == 12 and found["by id"] == 14
    assert found["gather"] == [2, 4]
    assert found["large"] == found["large result"] == 3 << 20
    assert found["graph"] and found["stats"] == 0
    assert found["dict"] == {"a": 1} and found["queue"] == ["q"]
    assert found["forked"] == "42" and found["async"] == [16, 18]
    assert found["fail"] == found["spawned fail"] == ["builtins.LookupError", "of the other"]
    assert found["late"][0] == "rekindle.exception.FunctionTimeoutError"
    assert found["not there"][0] == "rekindle.exception.NotFoundError"
    assert "no-such-app" in found["not there"][1]
    assert found["no call"][0] == "rekindle.exception.NotFoundError"
    assert found["no key"][0] == "builtins.KeyError"
    assert found["in time"][0] in ("rekindle.exception.TimeoutError", "builtins.TimeoutError")
