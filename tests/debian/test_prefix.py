"""What is left of a set-up of a private prefix that was killed."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest

from rekindle.debian import prefix


def _set_up(where: Path) -> None:
    with prefix.unpacked(
        *(where, "trixie", (), (), lambda *_: None), what="it", otherwise="", keyring=Path("keys")
    ):
        pass


def test_the_next_set_up_removes_what_a_killed_one_has_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(prefix, "TOOLS", ())
    monkeypatch.setattr(prefix, "mirror", lambda _release, _otherwise: "http://m.example/debian/")
    monkeypatch.setattr(prefix.Apt, "_settings", lambda _self: "")
    monkeypatch.setattr(prefix.Apt, "download", lambda _self, _names, _packages, _progress: [])
    monkeypatch.setattr(
        prefix.Apt, "update", lambda _self, _mirror: os.kill(os.getpid(), signal.SIGKILL)
    )
    if (child := os.fork()) == 0:
        _set_up(tmp_path / "one" / "prefix")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert len(list(temporary.iterdir())) == 1 and list((tmp_path / "one").iterdir())

    monkeypatch.setattr(prefix.Apt, "update", lambda _self, _mirror: None)
    _set_up(tmp_path / "other" / "prefix")
    assert len(list(temporary.iterdir())) == 1, "it may be of one that is at work"
    _set_up(tmp_path / "one" / "prefix")
    assert not list(temporary.iterdir()) and not list((tmp_path / "one").iterdir())
