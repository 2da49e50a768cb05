"""What user code of a copy ends with its process group is its own. Real processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runtime.agent.harness import Gate, Harness, run

pytestmark = pytest.mark.criu


class Killer:
    """One that ends its process group, as programs do that have started others."""

    def load(self) -> None:
        self.loaded = True

    def wait(self, gate: str) -> str:
        with open(gate):
            return "whole"

    def kill(self, way: str) -> tuple[bool, int, bool]:
        import os
        import signal
        import subprocess

        child = subprocess.Popen(["sleep", "99"])
        if way == "group":
            os.killpg(os.getpgrp(), signal.SIGKILL)
        else:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # of itself alone, as it is to answer
            os.kill(0, signal.SIGTERM)
        return os.getpgrp() == os.getpid(), child.wait(), os.getsid(0) == os.getpid()


@pytest.mark.parametrize(("way", "status"), [("group", -9), ("zero", -15)])
@pytest.mark.parametrize("strategy", ["fork", "spare"])
def test_a_signal_to_the_process_group_of_a_copy_reaches_nothing_outside_of_it(
    home: Path, strategy: str, way: str, status: int
) -> None:
    async def scenario(h: Harness) -> None:
        killer = h.add(Killer, enable_memory_snapshot=True, spare_containers=1)
        for wanted in ("restore", "fork"):
            prepared = await h.prepare(killer, wanted)
            assert prepared.ok, prepared.reason
        template = h.revision(killer).live_template()
        with Gate(home) as gate:
            waits = h.submit(killer, "wait", gate.path, strategy="fork")
            await h.uplink.until(lambda: h.runners(killer))
            killed = await h.call(killer, "kill", way, strategy=strategy)
            assert killed.value == (True, status, True)
            assert killed.strategy == strategy
            gate.open()
            assert (await h.result(waits)).value == "whole"
        assert h.revision(killer).live_template() is template

    run(home, scenario)
