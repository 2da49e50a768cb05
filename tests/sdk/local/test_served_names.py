"""A name is held by one, and free when that one has ended."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rekindle.linux import files
from rekindle.sdk.local import served_names
from rekindle.sdk.local.served_names import TakenError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REKINDLE_HOME", str(tmp_path))
    return tmp_path


def test_a_second_one_is_told_who_has_it_until_it_is_given_back(home: Path) -> None:
    here, elsewhere = home / "one", home / "other"
    held = served_names.take(here, "app-dev", 123)
    with pytest.raises(TakenError, match=r"^123$"):
        served_names.take(here, "app-dev", 124)
    assert served_names.holder(here, "app-dev") == "123"
    for place, name in ((here, "other-dev"), (elsewhere, "app-dev")):
        served_names.give_back(place, name, served_names.take(place, name, 124))
    served_names.give_back(here, "app-dev", held)
    assert served_names.holder(here, "app-dev") is None
    served_names.give_back(here, "app-dev", served_names.take(here, "app-dev", 7))
    assert not list((home / "serving").iterdir())


def test_it_is_free_when_its_process_has_gone_whatever_it_left(home: Path) -> None:
    pid = os.fork()
    if pid == 0:
        served_names.take(home, "app-dev", 99_999)
        os._exit(0)
    os.waitpid(pid, 0)
    assert served_names.holder(home, "app-dev") is None
    held = served_names.take(home, "app-dev", 5)
    with pytest.raises(TakenError, match=r"^5$"):
        served_names.take(home, "app-dev", 6)
    served_names.give_back(home, "app-dev", held)


def test_who_only_looks_keeps_nobody_from_taking_a_name(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = os.fork()
    if pid == 0:
        served_names.take(home, "app-dev", 99_999)  # whose text is left
        os._exit(0)
    os.waitpid(pid, 0)
    path = next((home / "serving").iterdir())
    fd = os.open(path, os.O_RDONLY)
    assert files.try_lock(fd, shared=True)  # as ``holder`` does
    monkeypatch.setattr("time.sleep", lambda _s: os.close(fd))
    held = served_names.take(home, "app-dev", 5)
    assert served_names.holder(home, "app-dev") == "5"
    served_names.give_back(home, "app-dev", held)
