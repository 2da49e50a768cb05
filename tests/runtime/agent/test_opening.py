"""Pools that are opened while a template of a run before is alive."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from rekindle.runtime.agent.starts import revision
from rekindle.snapshot import validate
from rekindle.wire import rekindle_pb2 as pb
from tests.runtime.agent.harness import Harness, run

pytestmark = pytest.mark.criu


class Reader:
    """What a module of the node says, that was imported before a template was frozen."""

    _directory = ""

    def load(self) -> None:
        sys.path.insert(0, self._directory)
        import module_of_node  # type: ignore[import-not-found]

        self.says = module_of_node.SAYS

    def said(self) -> str:
        return str(self.says)


class LookedAt:
    """Whether files of a template changed, which is told when the test says so."""

    def __init__(self) -> None:
        self.asked, self.may_tell = threading.Event(), threading.Event()

    def changed_file(self, loaded: Mapping[str, Sequence[int]]) -> str:
        self.asked.set()
        assert self.may_tell.wait(60)
        return validate.changed_file(loaded)


def test_an_input_that_comes_as_its_pool_is_opened_gets_no_copy_of_a_template_that_is_outdated(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = home / "modules" / "module_of_node.py"
    module.parent.mkdir(parents=True)
    monkeypatch.setattr(Reader, "_directory", str(module.parent))
    looked_at = LookedAt()

    async def scenario(h: Harness) -> None:
        module.write_text("SAYS = 'old'")
        first = h.add(Reader, digest="same", enable_memory_snapshot=True)
        assert (await h.call(first, "said")).value == "old"
        module.write_text("SAYS = 'new, and longer'")
        seen = SimpleNamespace(changed_file=looked_at.changed_file)
        monkeypatch.setattr(revision, "validate", seen)
        again = h.add(Reader, digest="same", enable_memory_snapshot=True)
        h.node.open(pb.OpenFunction(function_id=again))
        assert await asyncio.to_thread(looked_at.asked.wait, 60)
        said = h.submit(again, "said")
        starting = h.node.inventory.pools[(again, "")].runners
        try:
            for _ in range(10):  # turns of the loop: as many as a start needs to begin
                await asyncio.sleep(0)
            assert not starting.starting
        finally:
            looked_at.may_tell.set()
        assert (await h.result(said)).value == "new, and longer"

    run(home, scenario)
