"""Thread pools: limited while a template loads, as the user wants them in a runner."""

from __future__ import annotations

import os

import pytest

from rekindle.forkserver import thread_pools


def test_every_pool_is_limited_and_the_rest_of_the_environment_kept() -> None:
    env = thread_pools.limited({"OMP_NUM_THREADS": "8", "HOME": "/home/user"})
    assert env["OMP_NUM_THREADS"] == "1" and env["HOME"] == "/home/user"
    assert set(thread_pools.LIMITED) <= set(env)


def test_the_users_variables_come_back_and_the_limits_go(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in thread_pools.LIMITED.items():
        monkeypatch.setenv(name, value)
    thread_pools.lift_environment({"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "true"})
    assert os.environ["OMP_NUM_THREADS"] == "1"
    assert os.environ["TOKENIZERS_PARALLELISM"] == "true"
    assert "RAYON_NUM_THREADS" not in os.environ
