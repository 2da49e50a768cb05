"""SIGCHLD is put aside in a template, and given back to runners."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from types import FrameType

import pytest

from rekindle.forkserver import sigchld


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    before = signal.getsignal(signal.SIGCHLD)
    yield
    sigchld.give_back()
    signal.signal(signal.SIGCHLD, before)


def _heard(_number: int, _frame: FrameType | None) -> None:
    """What user code has set."""


@pytest.mark.parametrize("handler", [_heard, signal.SIG_IGN])
def test_what_user_code_has_set_is_put_aside_and_given_back_once(handler: signal.Handlers) -> None:
    signal.signal(signal.SIGCHLD, handler)
    sigchld.set_aside()
    assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
    sigchld.give_back()
    assert signal.getsignal(signal.SIGCHLD) == handler
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    sigchld.give_back()
    assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL


def test_a_blocked_signal_would_be_heard_of_later() -> None:
    assert not sigchld.reaches_user_code()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    try:
        assert sigchld.reaches_user_code()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
