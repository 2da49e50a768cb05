"""Command lines that run in the tests' own process, with a program for them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from rekindle.cli import main as cli
from rekindle.sdk import notes
from rekindle.sdk.local import announcing
from tests.sdk.fake_controller import FakeController

_SCRIPT = '''
from __future__ import annotations
import asyncio
from datetime import datetime
from typing import Literal, Optional
import rekindle

app = rekindle.App("script")

@app.function()
def double(x: int) -> int:
    """Doubles a number."""
    return 2 * x

@app.function()
def fail(code: int = 7):
    inner(code)

def inner(code):
    raise ValueError(f"code {code}")

@app.function()
def words(*args):
    return list(args)

@app.function()
def placed(a: int, b: int = 2, /, c: int = 3):
    return [a, b, c]

@app.function()
def odd(x: dict):
    return x

@app.cls()
class Thing:
    size: int = rekindle.parameter(default=1)

    @rekindle.method()
    def grow(self, by: int = 1) -> int:
        return self.size + by

@app.cls()
class Keyed:
    key: bytes = rekindle.parameter(default=b"x\\xff")

    @rekindle.method()
    def show(self) -> str:
        return repr(self.key)

@app.local_entrypoint()
def main(
    name: str,
    count: int = 2,
    ratio: float = 0.5,
    loud: bool = False,
    when: datetime | None = None,
    mode: Literal["a", "b"] = "a",
    level: Literal[1, 2] = 1,
    maybe: Optional[int] = None,
    phases_of: str = "moon",
):
    print(repr((name, count, ratio, loud, when, mode, level, maybe, phases_of)))

@app.local_entrypoint()
async def later(x: int = 3):
    await asyncio.sleep(0)
    print(await double.remote.aio(x))

@app.local_entrypoint()
def fails():
    double.remote(1)
    raise KeyError("mine")

@app.local_entrypoint()
def fails_remotely():
    fail.remote(3)

@app.local_entrypoint()
def nests():
    with app.run():
        pass

@app.local_entrypoint()
def many(n: int = 30):
    assert list(double.map(range(n))) == [2 * i for i in range(n)]
'''


class Cli:
    """Runs command lines in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *argv: str) -> tuple[int, str, str]:
        status = cli.run(argv)
        shown = self._capsys.readouterr()
        return status, shown.out, shown.err


@pytest.fixture
def run(
    controller: FakeController, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cli]:
    terminate = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(announcing, "announce", None)
    monkeypatch.setattr(notes, "shown", True)
    yield Cli(capsys)
    signal.signal(signal.SIGTERM, terminate)


@pytest.fixture
def script(tmp_path: Path) -> str:
    file = tmp_path / "program.py"
    file.write_text(_SCRIPT)
    return str(file)
