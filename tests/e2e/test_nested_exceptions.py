"""What is raised behind calls of calls comes home as itself, and is shown once."""

from __future__ import annotations

import pytest

from tests.e2e.harness import Home

_NESTED = """
    import rekindle

    app = rekindle.App("nested")

    class Refused(Exception):
        def __init__(self, code, *, path):
            super().__init__(f"refused {path}")
            self.code, self.path = code, path

    @app.function(max_containers=2)
    def inner():
        raise Refused(7, path="/a")

    @app.function(max_containers=2)
    def middle():
        return inner.remote()

    @app.function(max_containers=2)
    def outer(way):
        if way == "map":
            return list(middle.starmap([()]))
        return middle.spawn().get() if way == "spawn" else middle.remote()

    @app.function(max_containers=2)
    async def of_async():
        return await middle.remote.aio()

    @app.cls(max_containers=2)
    class Method:
        @rekindle.method()
        def call(self):
            return middle.remote()

    @app.cls(max_containers=2)
    class Enters:
        @rekindle.enter()
        def enter(self):
            middle.remote()

        @rekindle.method()
        def call(self):
            return None

    WAYS = {
        "remote": lambda: outer.remote("remote"),
        "map": lambda: outer.remote("map"),
        "spawn": lambda: outer.remote("spawn"),
        "async": lambda: of_async.remote(),
        "method": lambda: Method().call.remote(),
        "enter": lambda: Enters().call.remote(),
    }

    @app.local_entrypoint()
    def main(way: str):
        try:
            WAYS[way]()
        except Refused as error:
            assert (error.code, error.path) == (7, "/a")
            raise
"""


@pytest.mark.parametrize("way", ["remote", "map", "spawn", "async", "method", "enter"])
def test_what_is_raised_behind_calls_of_calls_is_shown_once(shared: Home, way: str) -> None:
    ended = shared.run(shared.script(_NESTED), "--way", way, status=1)
    assert ended.err.count("Refused: refused /a") == 1, str(ended)
    assert ended.err.count("Traceback (most recent call last)") == 1
    assert "RemoteTraceback" not in ended.err and "asyncio" not in ended.err
    names = [line.rpartition(" in ")[2] for line in ended.err.splitlines() if "  File " in line]
    first = {"async": "of_async", "method": "call", "enter": "enter"}.get(way, "outer")
    assert names[:3] == [first, "middle", "inner"]
