"""The collector of a process that parks, and of its copies."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from rekindle.forkserver import park


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(park, "_collects", False)
    was = gc.isenabled()
    yield
    gc.unfreeze()
    (gc.enable if was else gc.disable)()


def test_a_runner_collects_again_and_not_because_of_its_start() -> None:
    park.keep_from_collecting()
    assert not gc.isenabled()
    of_the_start = [[number] for number in range(2000)]
    park.collect_again()
    assert gc.isenabled()
    assert gc.get_count()[0] < gc.get_threshold()[0]
    del of_the_start


def test_a_collector_that_user_code_turned_off_stays_off() -> None:
    gc.disable()
    park.keep_from_collecting()
    park.collect_again()
    assert not gc.isenabled()
    gc.enable()
    park.keep_from_collecting()
    park.collect_again()
    gc.disable()  # in a hook of a runner that parks once more
    park.keep_from_collecting()
    park.collect_again()
    assert not gc.isenabled()


class Raises:
    """A stream of the user's."""

    def __init__(self, error: type[Exception]) -> None:
        self._error = error

    def flush(self) -> None:
        raise self._error


@pytest.mark.parametrize("error", [OSError, ValueError, TypeError, KeyError])
def test_a_stream_of_the_users_that_cannot_be_flushed_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    flushed: list[bool] = []
    monkeypatch.setattr(sys, "stdout", Raises(error))
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(flush=lambda: flushed.append(True)))
    park.flush_output()
    assert flushed
