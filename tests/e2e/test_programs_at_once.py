"""Programs that run, or bring an instance up, at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.harness import Gate, Home

MEET = (
    Gate.SOURCE
    + """
import rekindle
app = rekindle.App("both")

@app.function()
def meet(path, name):
    wait_at(path)
    return name

@app.local_entrypoint()
def main(path: str, name: str):
    print("back:", meet.remote(path, name))
"""
)


@contextmanager
def two_at_once(home: Home) -> Iterator[None]:
    """Two runs whose calls wait at a gate; afterwards it opens, and both have their values."""
    with Gate(home.scripts / "gate") as gate:
        script = home.script(MEET)
        programs = [
            home.start_rekindle("run", script, "--path", gate.directory, "--name", name)
            for name in ("ann", "bob")
        ]
        for program in programs:
            program.until("waiting")
        yield
        gate.open()
        for program, name in zip(programs, ("ann", "bob"), strict=True):
            assert program.end().out == f"waiting\nback: {name}\n"


def test_two_runs_at_once_share_what_is_up(shared: Home) -> None:
    with two_at_once(shared):
        open_apps = [app["name"] for app in shared.status()["apps"]]
        assert open_apps.count("both") == 2


def test_two_private_runs_at_once_keep_out_of_each_others_way(home: Home) -> None:
    with two_at_once(home):
        assert len(list((home.path / "run").iterdir())) == 2


def test_two_that_bring_an_instance_up_at_once_make_one(home: Home) -> None:
    programs = [home.start_rekindle("up") for _ in range(2)]
    ended = [program.end() for program in programs]
    assert 0 in [one.status for one in ended], "\n".join(map(str, ended))
    assert home.is_up() and home.status()["redis"]["up"] is True
    for one in ended:
        assert one.status == 0 or "already" in one.err, str(one)
