"""Templates whose forks copy at once what runners write to: live, frozen and restored ones."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.pinning import needs_pinning
from tests.runtime.agent.harness import Harness, run

pytestmark = [pytest.mark.criu, needs_pinning]


def links(directory: str = "/proc/self/fd") -> list[str]:
    """What the descriptors of a process stand for."""
    found = []
    for fd in os.listdir(directory):
        with contextlib.suppress(FileNotFoundError):  # that of the listing
            found.append(os.readlink(f"{directory}/{fd}"))
    return found


class Counts:
    """Writes to what its template has made."""

    def load(self) -> None:
        self.count = [0] * 4096

    def look(self) -> tuple[set[int], bool, int]:
        import resource

        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for at in range(len(self.count)):
            self.count[at] += 1
        return set(self.count), any("io_uring" in link for link in links()), faults


def pins(h: Harness, function_id: str) -> bool:
    """Whether the live template holds pages."""
    init = psutil.Process(h.revision(function_id).template.sandbox.pid)
    return any(
        "anon_inode:[io_uring]" in links(f"/proc/{child.pid}/fd") for child in init.children()
    )


def test_templates_pin_and_no_copy_holds_it_nor_shares_what_it_writes(home: Path) -> None:
    seen: list[Any] = []

    async def look(h: Harness, function_id: str, strategy: str) -> None:
        outcome = await h.call(function_id, "look", strategy=strategy)
        assert outcome.strategy == strategy
        seen.append(outcome.value)

    async def scenario(h: Harness) -> None:
        function_id = h.add(Counts, digest="same", enable_memory_snapshot=True)
        for _ in range(2):
            for strategy in ("fork", "restore", "fork", "fork"):
                prepared = await h.prepare(function_id, strategy)
                assert prepared.ok, prepared.reason
                await look(h, function_id, strategy)
                if strategy == "fork":
                    assert pins(h, function_id)

    run(home, scenario)
    run(home, scenario)  # of the snapshot that the first has made
    assert {(tuple(counted), holds) for counted, holds, _faults in seen} == {((1,), False)}


def test_a_frozen_template_knows_its_pages_and_forks_of_it_have_no_fault_for_them(
    home: Path,
) -> None:
    async def made(h: Harness) -> None:
        function_id = h.add(Counts, digest="same", enable_memory_snapshot=True)
        assert (await h.prepare(function_id, "restore")).ok

    faults: list[int] = []

    async def forked(h: Harness) -> None:
        function_id = h.add(Counts, digest="same", enable_memory_snapshot=True)
        assert (await h.prepare(function_id, "fork")).ok
        assert h.revision(function_id).template.mapped
        outcome = await h.call(function_id, "look", strategy="fork")
        faults.append(outcome.value[2])

    run(home, made)
    run(home, forked)
    assert faults[0] < 400  # 600 and more without
