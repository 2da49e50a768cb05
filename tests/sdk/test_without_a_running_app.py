"""What declared functions and classes do in a program whose app does not run."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

import rekindle
from rekindle.exception import ExecutionError
from rekindle.sdk.declaration import Declaration


def make() -> rekindle.App:
    return rekindle.App("demo")


def test_calling_a_function_is_a_type_error() -> None:
    @make().function()
    def f(x: int) -> int:
        return x

    with pytest.raises(TypeError, match=r"f\.remote\(\.\.\.\).*f\.local\(\.\.\.\)"):
        f(1)  # type: ignore[operator]
    assert f.local(1) == 1


def test_remote_without_a_running_app_says_how_to_run_it() -> None:
    @make().function()
    def f() -> None: ...

    with pytest.raises(
        ExecutionError, match=r"app 'demo' is not running.*app\.run\(\).*rekindle run"
    ):
        f.remote()


def test_a_class_without_a_running_app_is_called_here_by_its_method() -> None:
    @make().cls()
    class Thing:
        @rekindle.method()
        def grow(self) -> None: ...

    with pytest.raises(ExecutionError, match=r"`Thing\(\.\.\.\)\.grow\.local\(\.\.\.\)` calls it"):
        Thing().grow.remote()


def test_async_functions_run_locally_as_coroutines() -> None:
    import asyncio

    @make().function()
    async def f(x: int) -> int:
        return x + 1

    assert asyncio.run(f.local(1)) == 2


def test_hydrate_looks_up_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    looking: list[threading.Thread] = []

    def resolve(_self: Declaration) -> None:
        looking.append(threading.current_thread())

    monkeypatch.setattr(Declaration, "resolve", resolve)
    function = rekindle.Function.from_name("shop", "price")

    async def look_up() -> None:
        assert await function.hydrate.aio() is function

    asyncio.run(look_up())
    assert len(looking) == 1 and threading.current_thread() not in looking


def _called_in_child(tmp_path: Path, method: str) -> str:
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            f"""
            import multiprocessing, rekindle
            app = rekindle.App("parent")

            @app.function()
            def double(n): return 2 * n

            def call(n): return double.remote(n)

            if __name__ == "__main__":
                with multiprocessing.get_context({method!r}).Pool(1) as pool:
                    try:
                        pool.apply(call, (1,))
                    except rekindle.exception.ExecutionError as error:
                        print(error)
            """
        )
    )
    ended = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True)
    return ended.stdout


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_call_in_a_subprocess_of_multiprocessing_says_that_it_is_one(
    tmp_path: Path, method: str
) -> None:
    said = _called_in_child(tmp_path, method)
    assert "is not running" in said and "a subprocess that multiprocessing has started" in said
