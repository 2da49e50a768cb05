"""Where runners begin: in the program's directory, where this node has it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rekindle.wire import rekindle_pb2 as pb
from tests.runtime.agent.harness import Harness, run


def where() -> str:
    return os.getcwd()


def test_runners_begin_in_the_programs_directory_or_at_the_root_where_there_is_none(
    home: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()

    async def scenario(h: Harness) -> None:
        for cwd in (tmp_path / "absent", tmp_path / "file", tmp_path / "file" / "below"):
            assert (await h.call(h.add(where, cwd=str(cwd)))).value == "/"
        there = h.add(where, cwd=str(tmp_path))
        assert (await h.call(there)).value == str(tmp_path)
        assert (await h.call(there, strategy="cold")).value == str(tmp_path)

    run(home, scenario)


def test_a_directory_that_cannot_be_looked_at_is_an_error_and_no_other_directory(
    home: Path, tmp_path: Path
) -> None:
    (tmp_path / "loop").symlink_to("loop")  # the simplest of what fails so

    async def scenario(h: Harness) -> None:
        for strategy in ("", "cold"):
            added = h.add(where, cwd=str(tmp_path / "loop"), enable_memory_snapshot=True)
            outcome = await h.call(added, strategy=strategy)
            assert outcome.result.status == pb.START_FAILURE
            assert f"the program's directory, {tmp_path}/loop" in outcome.result.message
        (tmp_path / "loop").unlink()
        (tmp_path / "loop").mkdir()
        assert (await h.call(added)).value == str(tmp_path / "loop")

    run(home, scenario)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may be everywhere")
@pytest.mark.parametrize("mode", [0o000, 0o600])
def test_a_directory_that_the_nodes_user_may_not_enter_is_none_of_this_node(
    home: Path, tmp_path: Path, mode: int
) -> None:
    shut = tmp_path / "shut"
    (shut / "below").mkdir(parents=True)
    shut.chmod(mode)

    async def scenario(h: Harness) -> None:
        for cwd in (shut, shut / "below"):
            assert (await h.call(h.add(where, cwd=str(cwd)))).value == "/"

    try:
        run(home, scenario)
    finally:
        shut.chmod(0o700)
