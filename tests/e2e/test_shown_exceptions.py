"""What is shown of what a function raises: the program's own frames, and each error once."""

from __future__ import annotations

from tests.e2e.harness import Home

_SHOWN = """
    import asyncio, sys, traceback
    import rekindle

    app = rekindle.App("shown")

    @app.function()
    def fails(n):
        return 1 / n

    @app.function()
    def items():
        yield 1
        raise ValueError("behind an item")

    async def of_a_loop():
        async for _ in fails.map.aio([0]):
            pass

    def inputs():
        yield fails.remote(1)
        yield fails.remote(0)

    WAYS = {
        "remote": lambda: fails.remote(0),
        "map": lambda: list(fails.map([1, 0])),
        "inputs": lambda: list(fails.map(inputs())),
        "spawn": lambda: fails.spawn(0).get(),
        "items": lambda: list(items.remote_gen()),
        "aio": lambda: asyncio.run(fails.remote.aio(0)),
        "map.aio": lambda: asyncio.run(of_a_loop()),
        "gather": lambda: rekindle.FunctionCall.gather(fails.spawn(0)),
        "look-up": lambda: rekindle.Function.from_name("no-such-app", "f").remote(),
        "queue": lambda: rekindle.Queue.from_name("no-such-queue").get(),
    }

    if __name__ == "__main__":
        with app.run():
            for way, call in WAYS.items():
                try:
                    call()
                except Exception:
                    print(f"{way}: {traceback.format_exc()}")
"""


def test_python_itself_shows_the_frames_of_the_program_alone(shared: Home) -> None:
    script = shared.script(_SHOWN, "shown.py")
    shown = shared.python(script).out
    for way in ("remote", "map", "inputs", "spawn", "items", "aio", "map.aio", "gather"):
        assert f"\n{way}: " in f"\n{shown}"
    assert shown.count("ZeroDivisionError: division by zero\n") == 2 * 7  # there, and here
    assert "in inputs" in shown  # what a map called of the program
    files = {line.split('"')[1] for line in shown.splitlines() if line.startswith("  File ")}
    assert str(script) in files and not [file for file in files if "/rekindle/sdk/" in file]
    everything = shared.python(script, REKINDLE_TRACEBACK="1").out
    assert "/rekindle/sdk/dual.py" in everything


def test_a_module_that_raises_on_import_and_hooks_that_raise_are_told_once(shared: Home) -> None:
    script = shared.script(
        """
        import rekindle

        app = rekindle.App("raising-hooks")

        class Broken(Exception):
            def __init__(self, *, what):
                self.what = what

            def __str__(self):
                return f"broken: {self.what}"

        @app.cls(enable_memory_snapshot=True)
        class Template:
            @rekindle.enter(snap=True)
            async def enter(self):
                try:
                    {}["key"]
                except KeyError as error:
                    raise Broken(what="template") from error

            @rekindle.method()
            def call(self):
                return None

        @app.cls()
        class Exits:
            @rekindle.exit()
            async def leave(self):
                raise Broken(what="exit")

            @rekindle.method()
            def call(self):
                return None

        @app.local_entrypoint()
        def main(way: str):
            (Template() if way == "enter" else Exits()).call.remote()
        """
    )
    entered = shared.run(script, "--way", "enter", status=1).err
    assert entered.count("KeyError: 'key'") == entered.count("Broken: broken: template") == 1
    left = shared.run(script, "--way", "exit").err
    assert left.count("Broken: broken: exit") == 1
    failing = shared.script(
        """
        import rekindle

        app = rekindle.App("raising-import")
        if not rekindle.is_local():
            raise ValueError("at import")

        @app.function()
        def call():
            return None

        @app.local_entrypoint()
        def start():
            call.remote()
        """
    )
    imported = shared.run(failing, status=1).err
    assert imported.count("ValueError: at import") == 1
