"""Peers of bench/calls.py: started, asked, and gone afterwards, whatever happened."""

from __future__ import annotations

import dataclasses
import importlib
import math
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.processes import descendants

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The modules under bench/peers."""
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    return importlib.import_module


def test_a_peer_measures_what_it_is_asked_and_leaves_nothing(peers: Any, tmp_path: Path) -> None:
    process = peers("peers.process")
    with process.started("pool", "calls", logs=tmp_path) as peer:
        assert "ProcessPoolExecutor" in peer.version
        took = peer.ask("warm", "submit().result()", count=5)
        assert len(took) == 5 and all(one > 0 for one in took)
        assert peer.ask("fan_out", "map", count=20) > 0
        looked = peer.ask("sent", "submit().result()", kind="bytes", size=1000, count=2)
        assert len(looked) == 2
        below = peer.below()
        assert below
    assert not any(one.is_running() for one in below)
    assert not peer.scratch.exists()


def test_a_measurement_that_fails_says_why_and_the_peer_goes_on(peers: Any, tmp_path: Path) -> None:
    process = peers("peers.process")
    with process.started("pool", "calls", logs=tmp_path) as peer:
        with pytest.raises(process.MeasureError, match="KeyError"):
            peer.ask("warm", "no such form", count=1)
        assert len(peer.ask("warm", "submit().result()", count=1)) == 1


def test_a_peer_that_dies_is_an_error_and_what_it_started_is_ended(
    peers: Any, tmp_path: Path
) -> None:
    process = peers("peers.process")
    before = descendants()
    with (
        pytest.raises(process.MeasureError, match="has ended"),
        process.started("pool", "calls", logs=tmp_path) as peer,
    ):
        peer.ask("warm", "submit().result()", count=1)
        peer.process.kill()
        peer.ask("warm", "submit().result()", count=1)
    assert descendants() <= before


def test_a_peer_that_cannot_start_says_why(peers: Any, tmp_path: Path) -> None:
    process = peers("peers.process")
    with (
        pytest.raises(process.MeasureError, match="no such role"),
        process.started("pool", "no such role", logs=tmp_path),
    ):
        pass


def test_a_call_without_an_answer_is_said_to_hang(
    peers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = peers("peers.process")
    monkeypatch.setenv("PEER_CALL_S", "0.001")
    with (
        pytest.raises(process.MeasureError, match=r"hangs: .* 0\.001 s; TimeoutError"),
        process.started("pool", "slots", logs=tmp_path),
    ):
        pass


def test_a_peer_that_hangs_is_asked_nothing_more_and_its_rows_say_so(
    peers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, process = peers("peers.plan"), peers("peers.process")
    versus = importlib.import_module("peers.versus").Versus(machine={})
    steps = importlib.import_module("lab.steps").steps
    console = importlib.import_module("rich.console").Console(quiet=True)
    role = next(role for role in plan.roles(quick=True) if role.name == "slots")
    (asked,) = role.asked
    asked = dataclasses.replace(asked, arguments={"count": 64, "milliseconds": 60_000.0})
    role = dataclasses.replace(role, rounds=2, asked=(asked,))
    monkeypatch.setattr(process, "MEASURE_S", 0.5)
    monkeypatch.setattr(process, "END_S", 1.0)
    started = []
    real = plan.started
    monkeypatch.setattr(plan, "started", lambda *a, **k: started.append(a) or real(*a, **k))
    before = descendants()
    with steps(console) as progress:
        plan.run([role], ["pool"], tmp_path, progress, versus)
    assert len(started) == 1, "a second round would hang as long again"
    assert "hangs" in versus.missing["slots"]["pool"]
    assert versus.best("slots", "pool") is None
    assert descendants() <= before


#: A peer of which nothing ends by itself: a forked child waits for a lock that a thread held which
#: did not come along, as threads of libraries do; another has a session of its own, and both block
#: what asks them to end. What it says last is no whole line.
HANGING = """
import os, signal, sys, threading

lock = threading.Lock()
held, forked = threading.Event(), threading.Event()


def hold():
    with lock:
        held.set()
        forked.wait()


threading.Thread(target=hold, daemon=True).start()
held.wait()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        lock.acquire()
    os._exit(0)
os.wait()
print('{"version": "hanging", "forms": {"slots": ["a pool"]}}', flush=True)
sys.stdin.readline()
os.write(1, b'{"value": ')
child = os.fork()
if child == 0:
    lock.acquire()
os.waitpid(child, 0)
"""


def test_whatever_of_a_peer_hangs_is_killed_with_all_that_it_started(
    peers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, process = peers("peers.plan"), peers("peers.process")
    versus = importlib.import_module("peers.versus").Versus(machine={})
    steps = importlib.import_module("lab.steps").steps
    console = importlib.import_module("rich.console").Console(quiet=True)
    (tmp_path / "hanging_peer.py").write_text(HANGING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(process, "module_of", lambda _name: "hanging_peer")
    monkeypatch.setattr(process, "MEASURE_S", 1.0)
    role = next(role for role in plan.roles(quick=True) if role.name == "slots")
    before = descendants()
    with steps(console) as progress:
        plan.run([role], ["pool"], tmp_path, progress, versus)
    assert "hangs" in versus.missing["slots"]["pool"], "it had said hello"
    assert versus.versions == {"pool": "hanging"}
    assert descendants() <= before


def test_the_report_names_forms_ratios_and_what_is_missing(peers: Any) -> None:
    plan, report = peers("peers.plan"), peers("peers.report")
    versus = importlib.import_module("peers.versus").Versus(machine={})
    for role in plan.roles(quick=True):
        versus.rows += [asked.row for asked in role.asked]
    versus.versions = {"rekindle": "rekindle 1", "ray": "Ray 2", "celery": "Celery 3"}
    versus.form("warm", "rekindle", "remote").samples += [0.5]
    versus.form("warm", "ray", "actor").samples += [1.5]
    versus.form("warm", "ray", "task").samples += [1.0]
    versus.missing["warm"] = {"celery": "it did not start"}
    text = report.markdown(versus)
    assert "| 0.5 ms<br>remote | 1 ms<br>task | it did not start | 2.0x |" in text
    warm, fan_out, memory, *_ = report.targets(versus)
    assert warm.kept and math.isclose(warm.got, 3.0), "held against the actor call"
    assert not fan_out.kept and not memory.kept, "what was not measured is not kept"


def test_peers_load_nothing_of_rekindle() -> None:
    """They run where it is not installed."""
    for name in ("served", "work", "pool_peer", "ray_peer", "celery_peer", "celery_app"):
        text = (ROOT / "bench" / "peers" / f"{name}.py").read_text(encoding="utf-8")
        assert "rekindle" not in text.replace('"rk-', ""), name


def teardown_module() -> None:
    """Other tests are not to find these modules by their short names."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "peers"]:
        del sys.modules[name]
