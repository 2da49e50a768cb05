"""What holds for every test, whoever starts them."""

from __future__ import annotations

import signal

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is, nothing about what is tested.
settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("untimed")


@pytest.fixture(autouse=True, scope="session")
def interrupts_as_in_a_terminal() -> None:
    """A shell starts what goes to the background with SIGINT ignored; children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
