"""Instances that stay after their last program: found again, and gone without a trace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.e2e.harness import PATIENCE_S, Gate, Home, service, wait_until
from tests.e2e.shown_phases import phases

_STAYS = {"REKINDLE_LINGER": "10m", "CI": ""}

_SCRIPT = """
import rekindle
app = rekindle.App("staying")

@app.function(enable_memory_snapshot=True)
def f():
    return "served"

if __name__ == "__main__":
    with app.run():
        print(f.remote())
"""
_TWO_CALLS = """

@app.local_entrypoint()
def twice(gate: str):
    print(f.remote())
    wait_at(gate)
    print(f.remote())
"""
_NOTE = "no instance is up: starting one, which stays for 10 min"


def links(home: Home) -> list[Path]:
    """The links by which programs find instances that linger."""
    run = home.path / "run"
    return sorted(run.glob("lingering-*")) if run.exists() else []


def supervisor(home: Home) -> psutil.Process:
    """The supervisor of the one that lingers."""
    (link,) = links(home)
    return psutil.Process(int((link / "supervisor.pid").read_text()))


def nothing_runs(home: Home) -> None:
    """Wait until no file of an instance is there; its processes are looked for by the fixture."""
    run = home.path / "run"
    wait_until(lambda: not list(run.iterdir()), "the end of what lingers")


def test_a_start_whose_redis_does_not_answer_says_so_and_leaves_nothing(home: Home) -> None:
    away = "redis://127.0.0.1:1"
    ended = home.run(home.script(_SCRIPT), status=1, REKINDLE_REDIS_URL=away, **_STAYS)
    assert f"the Redis at {away} (REKINDLE_REDIS_URL) cannot be used" in ended.err
    nothing_runs(home)
    assert home.rekindle("status", status=1).out.startswith("No instance is up.")


def test_the_next_run_finds_instance_template_and_logs_and_down_ends_it(home: Home) -> None:
    script = home.script(_SCRIPT)
    first = home.run(script, **_STAYS)
    assert first.out == "served\n" and _NOTE in first.err
    one = supervisor(home)
    second = home.run("--phases", script, **_STAYS)
    assert _NOTE not in second.err and "served\n" in second.out
    # By the template: whether a spare of it waits by then is a matter of milliseconds.
    assert {strategy for strategy, *_ in phases(second.out, "f")} <= {"fork", "spare"}
    assert supervisor(home) == one
    assert "connected" in home.rekindle("status").out
    other = home.run(script, REKINDLE_MAX_RUNNERS="3", **_STAYS)
    assert "what is up has other settings (REKINDLE_MAX_RUNNERS): starting" in other.err
    assert len(links(home)) == 2
    mine = home.run(script, "--linger", "0", **_STAYS)
    assert "using a private one" in mine.err and len(links(home)) == 2
    assert home.rekindle("down").out == "The instance is down.\n"
    assert links(home) == []
    assert not one.is_running()


def test_whether_its_virtual_environment_is_activated_makes_no_other_one(home: Home) -> None:
    script = home.script(_SCRIPT)
    programs = str(Path(sys.executable).parent)
    path = [one for one in home.environ["PATH"].split(os.pathsep) if one != programs]
    home.environ.pop("VIRTUAL_ENV", None)
    home.run(script, PATH=os.pathsep.join(path), **_STAYS)
    one = supervisor(home)
    activated = {"PATH": os.pathsep.join([programs, *path]), "VIRTUAL_ENV": sys.prefix}
    again = home.run(script, **activated, **_STAYS)
    assert again.out == "served\n" and again.err == ""
    assert supervisor(home) == one
    home.rekindle("down")


def test_it_ends_by_itself_also_after_a_program_and_never_stays_in_ci(home: Home) -> None:
    script = home.script(_SCRIPT)
    assert home.python(script, REKINDLE_LINGER="0.2s", CI="").out == "served\n"
    nothing_runs(home)
    in_ci = home.run(script, "--linger", "10m", CI="true")
    assert "using a private one" in in_ci.err
    assert links(home) == []


def test_two_that_begin_at_once_share_one(home: Home) -> None:
    script = home.script(_SCRIPT)
    stays = {**_STAYS, "REKINDLE_LINGER": "99999h"}  # more ms than poll takes
    started = [home.start_rekindle("run", script, **stays) for _ in range(2)]
    both = [one.end() for one in started]
    assert [ended.out for ended in both] == ["served\n", "served\n"], "\n".join(map(str, both))
    assert sum("starting one, which stays for 99999 h" in ended.err for ended in both) == 1
    assert len(links(home)) == 1
    home.rekindle("down")


def test_one_that_begins_while_it_ends_gets_another(home: Home) -> None:
    script = home.script(_SCRIPT)
    home.run(script, **_STAYS)
    ending = supervisor(home)
    agent = service(ending, "rekindle.runtime.agent")
    agent.suspend()  # so that it is ending for as long as we want
    ending.send_signal(signal.SIGTERM)
    wait_until(lambda: not links(home), "its link to go")
    try:
        assert ending.is_running()
        again = home.run(script, **_STAYS)
        assert again.out == "served\n" and _NOTE in again.err
        assert supervisor(home) != ending
    finally:
        agent.resume()
    home.rekindle("down")


@pytest.mark.parametrize(
    ("ends", "reason"),
    [("down", "`rekindle down` took it down"), ("its files are removed", "was removed")],
)
def test_a_program_that_uses_one_is_told_why_it_has_ended(
    home: Home, ends: str, reason: str
) -> None:
    with Gate(home.scripts / "between") as gate:
        script = home.script(_SCRIPT + _TWO_CALLS + Gate.SOURCE)
        program = home.start_rekindle("run", f"{script}::twice", "--gate", gate.directory, **_STAYS)
        program.until("waiting")
        one = supervisor(home)
        if ends == "down":
            home.rekindle("down")
        else:
            subprocess.run(["rm", "-rf", home.path / "run"])  # what it removes itself is no error
            psutil.wait_procs([one], PATIENCE_S)
        assert not one.is_running()
        gate.open()
        ended = program.end()
    assert ended.status == 1 and ended.out == "served\nwaiting\n"
    assert reason in ended.err and "was killed" not in ended.err


@pytest.mark.parametrize("killed", ["supervisor", "what is above it", "in use", "both"])
def test_nothing_is_left_of_one_whose_parts_are_killed(home: Home, killed: str) -> None:
    script = home.script(_SCRIPT)
    home.run(script, **_STAYS)
    one = supervisor(home)
    above = one.parent()
    assert above is not None and above.cmdline() == one.cmdline()
    if killed == "both":
        above.suspend()  # so that it removes nothing before it is killed too
        one.kill()
        above.kill()
        assert links(home), "nobody is left to remove it"
        home.rekindle("down")
    else:
        (above if killed == "what is above it" else one).kill()
    nothing_runs(home)
    if killed == "in use":
        again = home.run(script, **_STAYS)
        assert again.out == "served\n" and _NOTE in again.err
        home.rekindle("down")
