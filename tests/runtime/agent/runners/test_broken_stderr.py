"""What runners print of errors where user code has broken standard error."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.runtime.agent.harness import Harness, run


class Breaks:
    """Has a standard error that fails, or none, and an exit hook that fails."""

    def break_(self, kind: str) -> None:
        class Raises:
            def write(self, _text: str) -> int:
                raise ValueError("of the stream")

        sys.stderr = Raises() if kind == "raises" else None  # type: ignore[assignment]

    def exit_(self) -> None:
        raise ZeroDivisionError("of the hook")


@pytest.mark.parametrize("kind", ["raises", "none"])
def test_what_an_exit_hook_raises_is_shown_whatever_standard_error_is(
    home: Path, kind: str
) -> None:
    async def scenario(h: Harness) -> None:
        breaks = h.add(Breaks)
        await h.call(breaks, "break_", kind)
        (runner,) = h.runners(breaks)
        await runner.stop(60)
        assert runner.kill_reason == "stopped"
        assert "ZeroDivisionError: of the hook" in h.uplink.printed("stderr")

    run(home, scenario)
