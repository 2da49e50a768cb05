"""Which variables of a node its runners see."""

from __future__ import annotations

import sys

import pytest

from rekindle.wire.environment import passed_on_environment


@pytest.fixture
def virtual_environment(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "prefix", "/srv/venv")
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    return "/srv/venv"


def test_an_activated_environment_and_a_program_of_it_called_by_its_path_give_runners_the_same(
    virtual_environment: str,
) -> None:
    by_path = {"PATH": "/usr/bin:/bin", "PS1": "$ "}
    activated = {"PATH": "/srv/venv/bin:/usr/bin:/bin", "VIRTUAL_ENV": virtual_environment}
    assert passed_on_environment(by_path) == passed_on_environment(activated) == activated


@pytest.mark.parametrize(
    "environ",
    [
        {"PATH": "/srv/other/bin:/bin", "VIRTUAL_ENV": "/srv/other"},
        {"PATH": "/home/user/bin:/srv/venv/bin:/bin", "VIRTUAL_ENV": "/srv/venv"},
    ],
    ids=["another", "put behind"],
)
def test_what_was_activated_otherwise_stays(
    virtual_environment: str, environ: dict[str, str]
) -> None:
    assert passed_on_environment(environ) == environ


def test_outside_of_a_virtual_environment_nothing_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    assert passed_on_environment({"PATH": "/bin", "EDITOR": "vi"}) == {"PATH": "/bin"}
