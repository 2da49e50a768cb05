"""Descriptors that tests leave open are found."""

from __future__ import annotations

import os
import threading

import pytest

from tests import descriptors


def test_what_is_left_open_is_told_by_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors, "_PATIENCE_S", 0.0)
    before = descriptors.opened()
    pipes = [fd for _ in range(3) for fd in os.pipe()]
    null = os.open(os.devnull, os.O_RDONLY)
    try:
        assert descriptors.left_open(before, 7) == ""
        assert descriptors.left_open(before, 6) == "6 x pipe, 1 x /dev/null"
    finally:
        for fd in (*pipes, null):
            os.close(fd)
    assert descriptors.left_open(before, 0) == ""


def test_garbage_and_what_is_closed_meanwhile_is_not_left_open() -> None:
    before = descriptors.opened()
    kept = [open(os.devnull)]  # noqa: SIM115 - nobody closes it
    kept.append(kept)  # type: ignore[arg-type]
    del kept
    late = os.open(os.devnull, os.O_RDONLY)
    closes = threading.Timer(0.1, os.close, (late,))
    closes.start()
    assert descriptors.left_open(before, 0) == ""
    closes.join()
