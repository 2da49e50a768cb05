"""``rekindle doctor``: findings for people and for programs; the status tells if restores work."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from rekindle.cli.doctor import doctor
from rekindle.runtime import doctor as room
from rekindle.runtime.check import Check, Status

_FINE = Check("kernel", Status.OK, "6.18 [all]")
_LIMITED = Check("GPU", Status.WARN, "none", "nothing to do")
_BROKEN = Check("CRIU", Status.FAIL, "none", "rekindle setup criu")


def _show(monkeypatch: pytest.MonkeyPatch, checks: list[Check], *arguments: str) -> tuple[int, str]:
    monkeypatch.setattr(room, "examine", lambda _: checks)
    done = CliRunner().invoke(doctor, arguments)
    return done.exit_code, done.output


def test_what_is_missing_is_shown_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    status, text = _show(monkeypatch, [_FINE, _LIMITED, _BROKEN])
    assert status == 1
    assert "6.18 [all]" in text
    assert "-> rekindle setup criu" in text
    assert "Restores are not possible" in text


def test_limits_alone_do_not_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    status, text = _show(monkeypatch, [_FINE, _LIMITED])
    assert status == 0
    assert "Restores are possible" in text


def test_programs_get_json(monkeypatch: pytest.MonkeyPatch) -> None:
    status, text = _show(monkeypatch, [_FINE, _BROKEN], "--json")
    assert status == 1
    assert json.loads(text) == {
        "restore_possible": False,
        "works": ["cold starts", "forks"],
        "checks": [
            {"name": "kernel", "status": "ok", "detail": "6.18 [all]", "remedy": ""},
            {"name": "CRIU", "status": "fail", "detail": "none", "remedy": "rekindle setup criu"},
        ],
    }
