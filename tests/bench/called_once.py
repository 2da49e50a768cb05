"""A pytest plugin: what is timed by bench/micro is called once, without pytest-benchmark."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def benchmark() -> Callable[..., Any]:
    return lambda function, *args, **kwargs: function(*args, **kwargs)
