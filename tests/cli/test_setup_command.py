"""``rekindle setup criu``: instant when all is there, fetches what is missing and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rekindle.cli.setup import setup
from rekindle.debian.apt import Progress
from rekindle.exception import CriuNotFoundError, SetupError
from rekindle.snapshot import criu, fetch, pycriu
from rekindle.snapshot.criu import Criu

_SYSTEM = Criu(("criu",), "4.1.1", "/usr/sbin/criu")


class Machine:
    """What a machine has, and what was fetched for it."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self.has: Criu | None = None
        self.has_pycriu = False
        self.fetched: list[str] = []

    def find(self) -> Criu:
        if self.has is None:
            raise CriuNotFoundError("no working CRIU on this machine")
        return self.has

    def fetch(self, prefix: Path, progress: Progress) -> Criu:
        progress("fetching packages", 0, 8_000_000)
        progress("unpacking", 1, 2)
        self.fetched.append(f"criu {prefix.name}")
        return Criu(("x",), "4.1.1", f"{prefix}/usr/sbin/criu", str(prefix))

    def fetch_pycriu(self, prefix: Path, _progress: Progress) -> None:
        self.fetched.append(f"pycriu {prefix.name}")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine with neither CRIU nor pycriu."""
    made = Machine(tmp_path / "prefix")
    monkeypatch.delenv("REKINDLE_CRIU", raising=False)
    monkeypatch.setattr(criu, "find", made.find)
    monkeypatch.setattr(criu, "at", lambda _: made.find())
    monkeypatch.setattr(criu, "unchecked", lambda _: made.find())
    monkeypatch.setattr(criu, "is_privileged", lambda: True)
    monkeypatch.setattr(criu, "default_prefix", lambda: made.prefix)
    monkeypatch.setattr(pycriu, "present", lambda _: made.has_pycriu)
    monkeypatch.setattr(fetch, "fetch", made.fetch)
    monkeypatch.setattr(fetch, "fetch_pycriu", made.fetch_pycriu)
    return made


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(setup, ["criu", *arguments])


def test_nothing_is_fetched_when_all_is_there(machine: Machine) -> None:
    machine.has, machine.has_pycriu = _SYSTEM, True
    done = _run()
    assert done.output == "CRIU 4.1.1: /usr/sbin/criu\n"
    assert machine.fetched == []


def test_criu_and_pycriu_are_fetched_with_each_step_shown(machine: Machine) -> None:
    done = _run()
    assert done.exit_code == 0
    assert machine.fetched == ["criu prefix"]
    assert "fetching packages ..." in done.output
    assert "unpacking ..." in done.output


def test_beside_a_criu_of_the_machine_only_pycriu_is_fetched(machine: Machine) -> None:
    machine.has = _SYSTEM
    assert _run().exit_code == 0
    assert machine.fetched == ["pycriu prefix"]


def test_a_private_criu_without_its_pycriu_is_fetched_whole(machine: Machine) -> None:
    machine.has = Criu(("x",), "4.1.1", "x", str(machine.prefix))
    assert _run().exit_code == 0
    assert machine.fetched == ["criu prefix"]


def test_force_fetches_again(machine: Machine) -> None:
    machine.has, machine.has_pycriu = _SYSTEM, True
    _run("--force")
    assert machine.fetched == ["criu prefix"]


def test_another_prefix_has_to_be_named_to_be_used(machine: Machine, tmp_path: Path) -> None:
    done = _run("--prefix", str(tmp_path / "mine"))
    assert f"set REKINDLE_CRIU={tmp_path / 'mine'}" in done.output


def test_one_that_is_asked_for_by_name_and_does_not_work_is_an_error(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REKINDLE_CRIU", "/nowhere")
    done = _run()
    assert done.exit_code == 1
    assert "no working CRIU" in str(done.exception)
    assert machine.fetched == []


def test_a_set_up_that_fails_says_why(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_prefix: Path, _progress: Progress) -> Criu:
        raise SetupError("the mirror is away; try again")

    monkeypatch.setattr(fetch, "fetch", fail)
    done = _run()
    assert done.exit_code == 1
    assert str(done.exception) == "the mirror is away; try again"


def test_a_user_who_may_not_run_it_gets_it_all_the_same(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(criu, "may_be_asked", lambda: False)
    done = _run()
    assert machine.fetched == ["criu prefix"]
    assert "may not run it" in done.output
