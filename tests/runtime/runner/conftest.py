"""What several tests of a runner's own code begin with."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from rekindle.runtime.runner.cancelling import Canceller
from rekindle.wire.page import CANCEL_SIGNAL, RunnerPage, cancel_token


@pytest.fixture
def cancelled() -> Iterator[tuple[Canceller, int]]:
    """A canceller whose signal is heard, and the token of an input that the page says to cancel."""
    page = RunnerPage.create()
    canceller = Canceller(page)
    canceller.install()
    page.cancel(token := cancel_token(0, 1))
    yield canceller, token
    signal.signal(CANCEL_SIGNAL, signal.SIG_DFL)
    page.handed_over()
    page.close()
