"""The process that asks the driver for checkpoints: what it says once is not always for ever."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from rekindle.exception import GpuError
from rekindle.runtime.agent.starts import gpu_checkpoints
from rekindle.runtime.agent.starts.gpu_checkpoints import GpuCheckpoints

_SAYS = "import sys; print(open(sys.argv[1]).read(), flush=True); sys.stdin.read()"


def _says(path: Path, **said: object) -> None:
    path.write_text(json.dumps(said))


def test_a_driver_that_cannot_be_asked_just_now_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "said"
    argv = [sys.executable, "-c", _SAYS, str(file)]
    monkeypatch.setattr(gpu_checkpoints, "helper_argv", lambda: argv)

    async def ask() -> None:
        checkpoints = GpuCheckpoints()
        _says(file, why_not="cuInit failed: out of memory", passes=True)
        asked = asyncio.ensure_future(checkpoints.why_not())
        while checkpoints._process is None:
            await asyncio.sleep(0.01)
        checkpoints._process.stdin.close()  # type: ignore[union-attr]
        with pytest.raises(GpuError, match="out of memory"):
            await asked
        _says(file, why_not="", why_not_moved="")
        assert await checkpoints.why_not() == ""
        await checkpoints.close()

    asyncio.run(ask())


def test_a_driver_that_is_too_old_is_asked_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "said"
    argv = [sys.executable, "-c", _SAYS.replace("; sys.stdin.read()", ""), str(file)]
    monkeypatch.setattr(gpu_checkpoints, "helper_argv", lambda: argv)

    async def ask() -> None:
        checkpoints = GpuCheckpoints()
        _says(file, why_not="too old", passes=False)
        assert await checkpoints.why_not() == "too old"
        _says(file, why_not="", why_not_moved="")
        assert await checkpoints.why_not() == "too old"
        await checkpoints.close()

    asyncio.run(ask())
