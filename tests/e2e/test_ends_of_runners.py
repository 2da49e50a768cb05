"""What user code has registered for the end of its process runs in a runner that ends in order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.harness import Home

_PROGRAM = """
    import atexit, multiprocessing, tempfile
    from pathlib import Path

    import rekindle

    app = rekindle.App("ends")

    @app.cls(enable_memory_snapshot={snapshots}, single_use_containers=True)
    class Worker:
        @rekindle.enter(snap={snapshots})
        def load(self):
            import multiprocessing.util

            self.common = tempfile.TemporaryDirectory(prefix="common-", dir={place!r})
            atexit.register(Path({place!r}, "end-of-common").touch)

        @rekindle.enter()
        def begin(self):
            self.own = tempfile.TemporaryDirectory(prefix="own-", dir={place!r})
            self.open = Path({place!r}, "written").open("a")
            tempfile.tempdir = {place!r}
            with multiprocessing.Manager() as manager:
                manager.list()

        @rekindle.method()
        def work(self, n):
            assert Path(self.common.name).is_dir()
            self.open.write(f"{{n}}\\n")
            atexit.register(lambda: print("the end of", n))
            atexit.register(lambda: 1 / 0)
            return [self.common.name, self.own.name, multiprocessing.util.get_temp_dir()]

        @rekindle.exit()
        def leave(self):
            print("the exit hook of", 1 + 2)

    @app.local_entrypoint()
    def main():
        import json

        print(json.dumps([Worker().work.remote(n) for n in range(3)]))
"""


@pytest.mark.parametrize("snapshots", [False, True])
def test_what_was_registered_at_exit_runs_and_temporary_folders_go(
    shared: Home, snapshots: bool
) -> None:
    """Of a template, whose copies share what it made, nothing goes with one of them; what it has
    registered runs in each."""
    place = shared.scripts / "place"
    place.mkdir()
    ended = shared.run(shared.script(_PROGRAM.format(place=str(place), snapshots=snapshots)))
    assert {"the end of 0", "the end of 1", "the end of 2"} <= {*ended.out.splitlines()}
    assert ended.err.count("ZeroDivisionError") == 3
    assert sorted((place / "written").read_text().split()) == ["0", "1", "2"]
    folders = json.loads(next(line for line in ended.out.splitlines() if line[0] == "["))
    for common, own, of_multiprocessing in folders:
        assert Path(common).exists() == snapshots
        assert not Path(own).exists() and not Path(of_multiprocessing).exists()
    assert (place / "end-of-common").exists()
