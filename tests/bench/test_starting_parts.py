"""Parts of the bench of starts that decide something: limits, what is left, processor time."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from starting import cpu_time
from starting.bare import bare, rate_on_cores
from starting.left_behind import Inventory, growth, more
from starting.watch import HangsError, limit


def test_what_takes_longer_than_its_limit_is_ended_with_its_name() -> None:
    with pytest.raises(HangsError, match="a wait was not done"), limit("a wait", 0.05):
        time.sleep(60)


def test_a_limit_that_was_not_reached_comes_no_more() -> None:
    with limit("nothing", 60):
        pass
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_only_what_there_is_more_of_is_left() -> None:
    before = Inventory({"processes: agent": 1, "descriptors: agent": 20, "cgroups": 3})
    after = Inventory({"processes: agent": 1, "descriptors: agent": 21, "processes: runner": 2})
    assert more(before, after) == {"descriptors: agent": 1, "processes: runner": 2}


def test_growth_is_of_what_was_there_before_and_still_is() -> None:
    before = Inventory({}, {"agent": 100, "redis": 50})
    after = Inventory({}, {"agent": 130, "runner": 10})
    assert growth(before, after) == {"agent": 30}


def test_a_bare_fork_takes_time_and_processor_time() -> None:
    with bare() as floor:
        one = floor.one()
        ends = floor.at_once(8)
    assert one.ms > 0 and one.cpu_ms > 0
    assert len(ends) == 8 and ends == sorted(ends)
    assert rate_on_cores(2, 0.05) > 0


def test_processor_time_of_a_process_that_was_killed_is_counted() -> None:
    with cpu_time.group("rk-test") as (group, within):
        if group.used_s is None:
            pytest.skip("no cgroup can be made here")
        with within():
            process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            while group.used_s() < 0.05:
                time.sleep(0.01)
        finally:
            process.kill()
            process.wait()
        assert group.used_s() >= 0.05
        assert "rk-test" not in Path("/proc/self/cgroup").read_text()
