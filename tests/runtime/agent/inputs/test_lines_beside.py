"""Whose lines they are that inputs side by side write, in every way. Real processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.runtime.agent.harness import Harness, run

pytestmark = pytest.mark.criu


class Logs:
    """One that has set up where it writes before it is copied."""

    def load(self) -> None:
        import logging
        import sys

        self.log: Any = logging.getLogger("rekindle-test")
        self.log.addHandler(logging.StreamHandler(sys.stderr))
        self.taken = sys.stdout

    def say(self, text: str) -> None:
        self.log.warning(f"{text} logged")
        self.taken.write(f"{text} taken\n")
        print(f"{text} printed")


@pytest.mark.parametrize("strategy", ["cold", "fork", "restore"])
def test_what_was_set_up_before_writes_lines_of_the_input_that_uses_it(
    home: Path, strategy: str
) -> None:
    async def scenario(h: Harness) -> None:
        logs = h.add(Logs, enable_memory_snapshot=strategy != "cold", max_inputs=2)
        if strategy != "cold":
            prepared = await h.prepare(logs, strategy)
            assert prepared.ok, prepared.reason
        for text in ("first", "second"):
            key = h.submit(logs, "say", text)
            assert (await h.result(key)).value is None
            await h.uplink.until(lambda: len(h.uplink.printed("stdout", key[0])) == 2)  # noqa: B023
            assert h.uplink.printed("stdout", key[0]) == [f"{text} taken", f"{text} printed"]
            await h.uplink.until(lambda: h.uplink.printed("stderr", key[0]))  # noqa: B023
            assert h.uplink.printed("stderr", key[0]) == [f"{text} logged"]

    run(home, scenario)
