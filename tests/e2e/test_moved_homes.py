"""What an instance keeps, at another place: its home copied while it is down, a backup of it while
it is up."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.harness import Gate, Home, wait_until

KEEPS = (
    Gate.SOURCE
    + """
import os
import rekindle

app = rekindle.App("keeps")
volume = rekindle.Volume.from_name("notes", create_if_missing=True)

@app.function(volumes={"/notes": volume}, secrets=[rekindle.Secret.from_name("pay")])
def note(line):
    with open("/notes/lines", "a") as file:
        file.write(line)
    volume.commit()
    with open("/notes/lines") as file:
        return file.read(), os.environ["TOKEN"]

@app.function()
def reverse(data):
    return data[::-1]

@app.function(max_containers=1)
def held(n, data):
    wait_at(GATE)
    return [n, len(data)]

@app.function(schedule=rekindle.Cron("0 9 * * *"))
def morning(): ...

@app.cls(enable_memory_snapshot=True)
class Model:
    @rekindle.enter(snap=True)
    def load(self):
        self.weights = list(range(1000))

    @rekindle.method()
    def predict(self, x):
        return self.weights[x]
"""
)
FILL = """
import json
import rekindle

def function(name):
    return rekindle.Function.from_name("keeps", name)

LARGE = 2 << 20
print(function("note").remote("one "), rekindle.Cls.from_name("keeps", "Model")().predict.remote(7))
small, large = (function("reverse").spawn(data) for data in (b"ab", b"ab" * LARGE))
small.get(), large.get()
waiting = [function("held").spawn(n, bytes(n * LARGE)) for n in range(4)]
rekindle.Dict.from_name("scores", create_if_missing=True)["anna"] = 3
rekindle.Queue.from_name("jobs", create_if_missing=True).put_many(["a", "b"])
print(json.dumps([call.object_id for call in (small, large, *waiting)]))
"""
LOOK = """
import json, sys
import rekindle

def function(name):
    return rekindle.Function.from_name("keeps", name)

small, large, *waiting = map(rekindle.FunctionCall.from_id, json.loads(sys.argv[1]))
print(json.dumps({
    "results": [small.get() == b"ba", large.get() == b"ba" * (2 << 20)],
    "waited": [call.get() for call in waiting],
    "volume and secret": function("note").remote("two "),
    "model": rekindle.Cls.from_name("keeps", "Model")().predict.remote(7),
    "dict": rekindle.Dict.from_name("scores")["anna"],
    "queue": rekindle.Queue.from_name("jobs").get_many(9),
}))
"""


def filled(home: Home, gate: Gate) -> str:
    """Bring an instance up that has one of each; ids of calls, two done and four not, as JSON."""
    home.up()
    home.rekindle("secret", "create", "pay", "TOKEN=s3cret")
    home.rekindle(
        "deploy", home.script(KEEPS.replace("GATE", repr(str(gate.directory))), "keeps.py")
    )
    ids = home.python(home.script(FILL, "fill.py")).out.splitlines()[-1]
    wait_until(home.snapshots, "the snapshot")
    return ids


@contextmanager
def up_at(home: Home, place: Path) -> Iterator[None]:
    """An instance of another REKINDLE_HOME, for all commands."""
    before = home.environ["REKINDLE_HOME"]
    home.environ["REKINDLE_HOME"] = str(place)
    try:
        home.rekindle("up")
        yield
    finally:
        home.rekindle("down", status=None)
        home.environ["REKINDLE_HOME"] = before


def nothing_is_missing(home: Home, gate: Gate, ids: str) -> None:
    """Of what ``filled`` put there."""
    gate.open()
    assert home.python(home.script(LOOK, "look.py"), ids).value == {
        "results": [True, True],
        "waited": [[n, n * (2 << 20)] for n in range(4)],
        "volume and secret": ["one two ", "s3cret"],
        "model": 7,
        "dict": 3,
        "queue": ["a", "b"],
    }
    assert "morning" in home.rekindle("schedule", "ls").out
    assert home.rekindle("logs", "keeps", "--search", "waiting").out.startswith("waiting\n")


@pytest.mark.criu
def test_a_home_that_is_moved_while_it_is_down_has_all_that_was_kept(
    home: Home, gate: Gate
) -> None:
    ids = filled(home, gate)
    home.rekindle("down")
    (home.root / "elsewhere").mkdir()
    moved = home.path.rename(home.root / "elsewhere" / "rekindle")
    with up_at(home, moved):
        nothing_is_missing(home, gate, ids)
        assert [one["mapped"] for one in home.snapshots()] == [True]
        assert not home.path.exists()


def test_a_backup_of_an_instance_that_is_up_has_all_that_was_acknowledged(
    home: Home, gate: Gate
) -> None:
    ids = filled(home, gate)
    said = home.rekindle("backup", home.root / "backup").out
    assert said.startswith(f"{home.root / 'backup'} has what {home.daemon} keeps: ")
    assert "there already" in home.rekindle("backup", home.root / "backup", status=1).err
    other = home.root / "other"
    other.mkdir(mode=0o700)
    shutil.copytree(home.root / "backup", other / "daemon")
    shutil.copytree(home.path / "volumes", other / "volumes")
    shutil.copy(home.path / "secrets.key", other)
    home.rekindle("down")
    (cut_off,) = (other / "daemon" / "redis").rglob("*.incr.aof")
    with cut_off.open("r+b") as file:
        file.truncate(cut_off.stat().st_size // 2)
    for command in (["up"], ["deploy", home.script(KEEPS)]):
        said = home.rekindle(*command, status=1, REKINDLE_HOME=str(other)).err
        assert f"not all of a backup is in {other / 'daemon'}: " in said
    shutil.copytree(home.root / "backup", other / "daemon", dirs_exist_ok=True)
    with up_at(home, other):
        nothing_is_missing(home, gate, ids)
