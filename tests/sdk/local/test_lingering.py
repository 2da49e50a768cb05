"""Who may use an instance that lingers, for how long it stays, and who is said to use it."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rekindle.exception import InvalidError
from rekindle.sdk.local import lingering
from rekindle.sdk.local.users import Users


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, 600.0),
        ({"REKINDLE_LINGER": ""}, 600.0),
        ({"REKINDLE_LINGER": "90"}, 90.0),
        ({"REKINDLE_LINGER": "0.5s"}, 0.5),
        ({"REKINDLE_LINGER": "10m"}, 600.0),
        ({"REKINDLE_LINGER": "10min"}, 600.0),
        ({"REKINDLE_LINGER": "2h"}, 7200.0),
        ({"REKINDLE_LINGER": "99999h"}, 359996400.0),
        ({"REKINDLE_LINGER": "0"}, 0.0),
        ({"CI": "true"}, 0.0),
        ({"CI": "1", "REKINDLE_LINGER": "10m"}, 0.0),
        ({"CI": "false", "REKINDLE_LINGER": "10m"}, 600.0),
        ({"CI": "0"}, 600.0),
        ({"CI": ""}, 600.0),
    ],
)
def test_it_stays_for_as_long_as_is_said_and_never_in_ci(
    environ: dict[str, str], seconds: float
) -> None:
    assert lingering.linger_s(environ) == seconds


@pytest.mark.parametrize("text", ["long", "-1", "10 m", "1e9", "10w", "9" * 400])
def test_what_is_no_time_is_named(text: str) -> None:
    with pytest.raises(InvalidError, match=r"REKINDLE_LINGER=.*is no time"):
        lingering.linger_s({"REKINDLE_LINGER": text})


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0.5, "0.5 s"), (90.0, "90 s"), (600.0, "10 min"), (5400.0, "90 min"), (7200.0, "2 h")),
        *((172800.0, "2 d"), (359996400.0, "99999 h"), (1234567.0, "1234567 s")),
    ],
)
def test_a_time_is_said_without_exponents(seconds: float, text: str) -> None:
    assert lingering.shown(seconds) == text


@pytest.mark.parametrize(
    ("variable", "value", "same"),
    [
        ("REKINDLE_MAX_RUNNERS", "3", False),
        ("REKINDLE_RESTORE_MODE", "copied", False),
        ("CUDA_VISIBLE_DEVICES", "7", False),
        ("PATH", "/nowhere", False),
        ("REKINDLE_LINGER", "5m", True),
        ("REKINDLE_TRACEBACK", "1", True),
        ("REKINDLE_FORCE_BUILD", "1", True),
        ("REKINDLE_METRICS", "127.0.0.1:1", True),
        ("XDG_SESSION_ID", "c7", True),
        ("EDITOR", "vi", True),
    ],
)
def test_only_what_runners_or_the_instance_would_see_makes_another_one(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, same: bool
) -> None:
    before = lingering.name()
    monkeypatch.setenv(variable, value)
    assert (lingering.name() == before) is same


@pytest.mark.parametrize("changed", ["old.py", "new.py", "objects/script.lua"])
def test_a_change_of_any_of_rekindles_files_makes_another_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changed: str
) -> None:
    (tmp_path / "objects").mkdir()
    for at_s, file in enumerate(("old.py", "objects/script.lua", "new.py"), start=1000):
        (tmp_path / file).touch()
        os.utime(tmp_path / file, (at_s, at_s))
    monkeypatch.setattr(lingering.paths, "__file__", str(tmp_path / "paths.py"))
    before = lingering.name()
    assert lingering.name() == before
    os.utime(tmp_path / changed, (500, 500))  # as a copy of before, put back
    assert lingering.name() != before


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rk-users-") as name:
        yield Path(name)


@pytest.fixture
def users(directory: Path) -> Iterator[Users]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(lingering.socket_of(directory)))
        listener.listen(8)
        yield Users(listener, 5.0)


def test_it_is_in_use_until_the_last_program_has_gone(directory: Path, users: Users) -> None:
    assert users.leave_at() is not None, "nobody has come yet"
    first, second = (lingering.connect(directory, stays_s) for stays_s in (7.0, 9.0))
    assert first is not None and second is not None
    ends = list(users.accept())
    assert len(ends) == 2
    for end in ends:
        assert users.hear(end)
    assert users.leave_at() is None
    first.close()
    assert not users.hear(ends[0])
    users.left(ends[0])
    assert users.leave_at() is None, "one is still there"
    second.close()
    assert not users.hear(ends[1])
    before = time.monotonic()
    users.left(ends[1])
    leave_at = users.leave_at()
    assert leave_at is not None and leave_at >= before + 9.0, "as the newest has asked for"


def test_who_comes_late_is_told_what_the_others_were(directory: Path, users: Users) -> None:
    early = lingering.connect(directory, 1.0)
    list(users.accept())
    users.say("ready")
    late = lingering.connect(directory, 1.0)
    list(users.accept())
    for one in (early, late):
        assert one is not None
        assert one.recv(100) == b"ready\n"
        one.close()


def test_who_comes_when_it_is_ending_hears_nothing_or_is_refused(
    directory: Path, users: Users
) -> None:
    waiting = lingering.connect(directory, 1.0)
    users.close()
    assert waiting is not None
    try:
        assert waiting.recv(100) == b""
    except ConnectionResetError:
        pass
    waiting.close()
    assert lingering.connect(directory, 1.0) is None


def test_an_instance_is_found_by_its_name_until_it_is_unlinked(
    monkeypatch: pytest.MonkeyPatch, directory: Path
) -> None:
    monkeypatch.setenv("REKINDLE_HOME", str(directory))
    there = directory / "run" / "rk-x"
    there.mkdir(parents=True)
    assert lingering.join("one", 1.0) is None
    with lingering.listen("one", there):
        found = lingering.join("one", 1.0)
        assert found is not None and found[0] == there
        found[1].close()
        assert lingering.join("another", 1.0) is None
        assert lingering.all_here() == [there]
    assert lingering.join("one", 1.0) is None, "it listens no more"
    lingering.unlink(there)
    assert list((directory / "run").iterdir()) == [there]


def test_a_home_that_was_copied_while_one_was_up_neither_finds_nor_ends_it(
    monkeypatch: pytest.MonkeyPatch, directory: Path
) -> None:
    home, copy, by_link = (directory / name for name in ("home", "copy", "by-link"))
    there = home / "run" / "rk-x"
    there.mkdir(parents=True)
    by_link.symlink_to(home)
    monkeypatch.setenv("REKINDLE_HOME", str(home))
    with lingering.listen("one", there):
        (copy / "run").mkdir(parents=True)
        shutil.copy(home / "run" / "lingering-one", copy / "run", follow_symlinks=False)
        monkeypatch.setenv("REKINDLE_HOME", str(copy))
        assert lingering.join("one", 1.0) is None
        assert lingering.all_here() == []
        lingering.sweep()
        assert list((copy / "run").iterdir()) == []
        monkeypatch.setenv("REKINDLE_HOME", str(by_link))
        found = lingering.join("one", 1.0)
        assert found is not None
        found[1].close()
        assert lingering.all_here()[0] == there
    monkeypatch.setenv("REKINDLE_HOME", str(copy))
    (copy / "run" / "lingering-one").symlink_to(there)
    lingering.sweep()
    assert there.is_dir()


def test_of_those_that_were_killed_whole_nothing_stays_when_it_is_swept(
    monkeypatch: pytest.MonkeyPatch, directory: Path
) -> None:
    monkeypatch.setenv("REKINDLE_HOME", str(directory))
    run = directory / "run"
    for name in ("coming", "killed", "gone"):
        (directory / name).mkdir()
    with lingering.listen("coming", directory / "coming"):
        for name in ("killed", "gone"):
            lingering.listen(name, directory / name).close()
        shutil.rmtree(directory / "gone")
        lingering.sweep()
        assert [link.name for link in run.iterdir()] == ["lingering-coming"]
        assert sorted(path.name for path in directory.iterdir()) == ["coming", "run"]
