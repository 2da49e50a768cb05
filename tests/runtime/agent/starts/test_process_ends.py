"""What Python does for user code at the end of a process is done at the end of a runner: handlers
of ``atexit``, buffers of open files. Real processes."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import pytest

from tests.runtime.agent.harness import Harness, run
from tests.runtime.agent.starts.test_spares import with_spares

pytestmark = pytest.mark.criu

WAYS = ("cold", "fork", "spare", "restore")


class Ends:
    """Has something to be done at its end, from before it parks and since."""

    def load(self) -> None:
        import atexit
        import tempfile

        self.shared = tempfile.TemporaryDirectory()
        self.made = tempfile.mkdtemp()
        self.registers_removal()
        atexit.register(print, "the last, of load")

    def registers_removal(self) -> None:
        import atexit
        import functools
        import os

        atexit.register(os.rmdir, self.made)
        atexit.register(functools.partial(os.rmdir, self.made))

    def leaves(self, directory: str) -> list[str]:
        import atexit
        import gzip
        import logging.handlers
        import os
        import tempfile

        for one in (self.shared.name, self.made):
            assert os.path.isdir(one)
        self.own = tempfile.TemporaryDirectory()
        self.text = open(f"{directory}/text", "w")  # noqa: SIM115 - it is not closed
        self.text.write("text")
        self.bytes = open(f"{directory}/bytes", "wb")  # noqa: SIM115
        self.bytes.write(b"bytes")
        self.packed = gzip.open(f"{directory}/packed", "wt")  # noqa: SIM115
        self.packed.write("packed")
        keeping = logging.handlers.MemoryHandler(10, target=logging.FileHandler(f"{directory}/log"))
        logging.getLogger("of.a.test").addHandler(keeping)
        logging.getLogger("of.a.test").error("logged")
        atexit.register(self.note, directory)
        atexit.register(divmod, 1, 0)
        atexit.register(print, "the first, of a call")
        return [self.own.name, self.shared.name, self.made]

    def note(self, directory: str) -> None:
        import os

        with open(f"{directory}/noted", "w") as file:
            file.write(f"{os.getppid()} with {os.path.isdir(self.own.name)}")


@pytest.mark.parametrize("strategy", WAYS)
def test_handlers_run_the_last_one_first_and_files_write_what_they_hold(
    home: Path, tmp_path: Path, strategy: str
) -> None:
    async def scenario(h: Harness) -> None:
        copied = strategy != "cold"
        ends = h.add(
            Ends,
            enable_memory_snapshot=copied,
            single_use_containers=True,
            spare_containers=int(strategy == "spare"),
        )
        if copied:
            prepared = await h.prepare(ends, "restore" if strategy == "restore" else "fork")
            assert prepared.ok, prepared.reason
        outcome = await h.call(ends, "leaves", str(tmp_path), strategy=strategy)
        own, *shared = outcome.value
        assert outcome.strategy == strategy
        await h.uplink.until(lambda: "the last, of load" in h.uplink.printed())
        printed = [line for line in h.uplink.printed() if line.startswith("the ")]
        assert printed == ["the first, of a call", "the last, of load"]
        assert any("ZeroDivisionError" in line for line in h.uplink.printed("stderr"))
        await h.uplink.until(lambda: not h.runners(ends) or not Path(own).exists())
        await h.uplink.until((tmp_path / "noted").exists)
        assert (tmp_path / "noted").read_text().endswith("with True")
        await h.uplink.until(lambda: (tmp_path / "bytes").read_bytes() == b"bytes")
        assert (tmp_path / "text").read_text() == "text"
        assert (tmp_path / "log").read_text() == "logged\n"
        assert gzip.decompress((tmp_path / "packed").read_bytes()) == b"packed"
        assert not Path(own).exists()
        # What the copies of one template share stays when one of them ends.
        assert [Path(one).is_dir() for one in shared] == [copied, copied]
        for one in shared:
            if copied:
                Path(one).rmdir()

    run(home, scenario)


class Notes:
    """Notes in a directory that its handler has run."""

    def load(self) -> None:
        import atexit
        import os
        import tempfile

        self.directory = tempfile.mkdtemp()
        atexit.register(lambda: os.mkdir(f"{self.directory}/{os.getpid()}"))

    def noted(self) -> tuple[str, list[str]]:
        import os

        return self.directory, os.listdir(self.directory)


def test_a_rehearsal_and_a_first_child_run_no_handlers(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        notes = await with_spares(h, 1, Notes)
        directory, noted = (await h.call(notes, "noted")).value
        shutil.rmtree(directory)
        assert noted == []

    run(home, scenario)
