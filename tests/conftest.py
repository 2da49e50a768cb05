"""What holds for every test, whoever starts them."""

from __future__ import annotations

import signal

import pytest


@pytest.fixture(autouse=True, scope="session")
def interrupts_as_in_a_terminal() -> None:
    """A shell starts what goes to the background with SIGINT ignored; children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
