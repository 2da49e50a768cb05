"""What copies of one template say: forks, restores, forks of a restored template, in two runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.runtime.agent.harness import Harness, run


def say(home: Path, code: type, method: str, *, forks: bool = True, mode: str = "auto") -> Any:
    """Call ``method`` in fresh copies of every kind; what each said, by kind.

    ``forks`` False: the code's template cannot be forked. ``mode`` is how snapshots are restored.
    """
    said: dict[str, list[Any]] = {}

    async def ask(h: Harness, function_id: str, kind: str, strategy: str) -> None:
        for _ in range(2):
            outcome = await h.call(function_id, method, strategy=strategy)
            said.setdefault(kind, []).append(outcome.value)

    async def first(h: Harness) -> None:
        function_id = h.add(code, digest="same", enable_memory_snapshot=True)
        if forks:
            prepared = await h.prepare(function_id, "fork")
            assert prepared.ok, prepared.reason
            assert not h.revision(function_id).template.mapped
            await ask(h, function_id, "fork", "fork")
        prepared = await h.prepare(function_id, "restore")
        assert prepared.ok, prepared.reason
        await ask(h, function_id, "restore", "restore")

    async def second(h: Harness) -> None:
        made = [path.name for path in (home / "snapshots").glob("sn-*")]
        function_id = h.add(code, digest="same", enable_memory_snapshot=True)
        assert (await h.prepare(function_id, "restore")).ok
        assert [h.revision(function_id).tracker.snapshot.key] == made
        await ask(h, function_id, "restore in the second run", "restore")
        if forks:
            prepared = await h.prepare(function_id, "fork")
            assert prepared.ok, prepared.reason
            await ask(h, function_id, "fork of a restored template", "fork")
            template = h.revision(function_id).template
            assert template.mapped is (mode != "copied")

    run(home, first, restore_mode=mode)
    run(home, second, restore_mode=mode)
    return said


def all_of(said: dict[str, list[Any]]) -> list[Any]:
    """What all copies said."""
    return [one for several in said.values() for one in several]


def assert_all_differ(said: dict[str, list[dict[str, Any]]]) -> None:
    """No two copies gave one answer from any source."""
    answers = all_of(said)
    for source in answers[0]:
        seen = [answer[source] for answer in answers]
        by_kind = {kind: [one[source] for one in several] for kind, several in said.items()}
        assert len(set(seen)) == len(seen), f"{source} repeats: {by_kind}"
