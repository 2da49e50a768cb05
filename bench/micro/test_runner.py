"""What a runner does between the order to start and its first input."""

from __future__ import annotations

import random
import ssl
import tempfile
import uuid
from typing import Any

from rekindle.forkserver import thread_pools
from rekindle.runtime.runner import unique


def test_a_copy_is_made_unique_again(benchmark: Any) -> None:
    assert random and ssl and tempfile and uuid  # what most programs have loaded
    assert unique.prepare() == []
    benchmark(unique.make_unique)


def test_limits_of_thread_pools_are_lifted(benchmark: Any) -> None:
    thread_pools.find_pools()
    benchmark(thread_pools.lift, {})
