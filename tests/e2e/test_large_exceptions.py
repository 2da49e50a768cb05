"""Large exceptions: they come home whole or, over the limit, with what they have room for."""

from __future__ import annotations

from tests.e2e.harness import Home

LARGE = """
    import json, rekindle
    app = rekindle.App("large-errors")

    class Coded(Exception):
        pass

    @app.function(max_containers=1)
    def f(size):
        raise Coded("x" * size)

    WAYS = {
        "remote": lambda: f.remote(SIZE),
        "get": lambda: f.spawn(SIZE).get(),
        "map": lambda: list(f.map([SIZE])),
        "starmap": lambda: list(f.starmap([(SIZE,)])),
        "for_each": lambda: f.for_each([SIZE]),
        "spawn_map": lambda: list(f.spawn_map([SIZE]).iter()),
        "returned": lambda: next(iter(f.map([SIZE], return_exceptions=True))),
    }
    SIZE = 2_000_000  # more than goes without the blob store

    @app.local_entrypoint()
    def main():
        found = {}
        for name, call in WAYS.items():
            try:
                error = call()
            except Exception as raised:
                error = raised
            found[name] = [type(error).__name__, len(str(error))]
        print(json.dumps(found))
"""


def test_a_large_exception_comes_home_with_its_type_by_every_way(shared: Home) -> None:
    found = shared.run(shared.script(LARGE)).value
    ways = ("remote", "get", "map", "starmap", "for_each", "spawn_map", "returned")
    assert found == {way: ["Coded", 2_000_000] for way in ways}


#: An exception has it twice: more than one takes that has not the room of a result.
_SIZE = 9_000_000

VERY_LARGE = f"""
    import asyncio, json, rekindle
    app = rekindle.App("very-large")

    class Refused(Exception):
        def __init__(self, payload, *, code):
            super().__init__(payload)
            self.code, self.rest = code, bytearray(payload)

    def refuse(size):
        raise Refused(b"x" * size, code=7)

    @app.function()
    def plain(size):
        refuse(size)

    @app.function()
    @rekindle.concurrent(max_inputs=2)
    def beside(size):
        refuse(size)

    @app.function()
    def items(size):
        yield 1
        refuse(size)

    @app.cls()
    class Hooked:
        number: int = rekindle.parameter(default=0)

        @rekindle.enter()
        def load(self):
            refuse({_SIZE})

        @rekindle.method()
        def never(self, size):
            return size

    def came(call, *args):
        try:
            call(*args)
        except Refused as error:
            notes = [note for note in getattr(error, "__notes__", ()) if "too large" in note]
            return [type(error.args[0]).__name__, len(error.args[0]), error.code,
                    len(getattr(error, "rest", b"")), len(notes)]

    def all_ways(functions, size):
        first, again, loop, queued, mapped = functions
        return [
            came(first.remote, size),
            came(again.remote, size),
            came(lambda: asyncio.run(loop.remote.aio(size))),
            came(lambda: queued.spawn(size).get()),
            came(lambda: list(mapped.map([size]))),
        ]
"""


def test_a_large_exception_arrives_whole_by_every_way(shared: Home) -> None:
    found = shared.run(
        shared.script(
            VERY_LARGE
            + f"""
    @app.local_entrypoint()
    def main():
        size = {_SIZE}
        print(json.dumps([
            *all_ways([plain] * 5, size), *all_ways([beside] * 5, size),
            came(lambda: list(items.remote_gen(size))),
        ]))
"""
        )
    ).value
    assert found == [["bytes", _SIZE, 7, _SIZE, 0]] * 11


def test_an_exception_over_the_limit_arrives_with_what_it_has_room_for_and_says_so(
    home: Home,
) -> None:
    found = home.run(
        home.script(
            VERY_LARGE
            + """
    @app.local_entrypoint()
    def main():
        print(json.dumps([
            *all_ways([plain] * 5, 1_500_000), *all_ways([beside] * 5, 1_500_000),
            came(lambda: list(items.remote_gen(1_500_000))),
        ]))
"""
        ),
        REKINDLE_MAX_PAYLOAD_BYTES="2000000",
    ).value
    assert isinstance(found, list) and len(found) == 11
    for kind, length, code, rest, notes in found:
        assert (kind, code, rest, notes) == ("str", 7, 0, 1)
        assert 0 < length < 1_500_000


def test_a_hook_s_exception_arrives_with_what_it_has_room_for_by_every_way(shared: Home) -> None:
    found = shared.run(
        shared.script(
            VERY_LARGE
            + """
    @app.local_entrypoint()
    def main():
        # Of an instance each: starts that fail one after another are waited with.
        print(json.dumps(all_ways([Hooked(number=n).never for n in range(5)], 1)))
"""
        )
    ).value
    assert isinstance(found, list) and len(found) == 5
    for kind, length, code, rest, notes in found:
        assert (kind, code, rest, notes) == ("str", 7, 0, 1)
        assert 0 < length < _SIZE
