"""The plan of kills: a function of its seed."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from tests.faults.schedule import Kind, schedule


@pytest.mark.parametrize("seed", [0, 1, 20_261_121])
def test_a_seed_gives_the_same_plan_again_in_another_process_too(seed: int) -> None:
    plan = schedule(seed, 45, 5200)
    assert schedule(seed, 45, 5200) == plan
    code = (
        f"from tests.faults.schedule import schedule; print(*schedule({seed}, 45, 5200), sep=';')"
    )
    again = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert again.stdout.strip() == ";".join(map(str, plan))


def test_another_seed_gives_another_plan() -> None:
    assert schedule(1, 45, 5200) != schedule(2, 45, 5200)


def test_every_kind_is_killed_as_often_while_inputs_are_under_way() -> None:
    plan = schedule(7, 45, 5200)
    assert Counter(kill.kind for kill in plan) == dict.fromkeys(Kind, 9)
    assert plan == sorted(plan, key=lambda kill: kill.after)
    assert all(0 < kill.after < 5200 for kill in plan)
