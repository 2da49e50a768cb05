"""The background thread of a program that ends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Coroutine
from typing import Any

import pytest

from rekindle.exception import Error
from rekindle.sdk.connection.background import Background

PROGRAM = """
import asyncio, os, signal
from rekindle.sdk.connection.background import background

async def closes():
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.Event().wait()

background().at_close(closes)
"""


def test_ctrl_c_while_a_program_ends_is_not_a_word() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=60
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_ctrl_c_just_when_it_begins_to_close_ends_its_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Background()
    one.begin()
    start = one.start

    def interrupted(coroutine: Coroutine[Any, Any, Any]) -> None:
        start(coroutine)
        raise KeyboardInterrupt

    monkeypatch.setattr(one, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        one.close()
    assert not one.loop.is_running()
    one.loop.close()


class _Foreseen(Error):
    """Of ours."""


@pytest.mark.parametrize(
    ("error", "said"), [(ValueError("no"), "ValueError: no"), (_Foreseen("away"), "work: away")]
)
def test_what_nobody_waits_for_does_not_end_without_a_word(
    error: Exception, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails() -> None:
        raise error

    one = Background()
    one.begin()
    told = one.spawn(fails(), "work")
    assert told.exception(60) is error
    one.close()
    assert said in caplog.text
