"""The children that ``rekindle serve`` has, one for each version."""

from __future__ import annotations

import json
import os
import select
import signal
from dataclasses import asdict
from typing import NoReturn

import pytest

from rekindle.cli import serving
from rekindle.cli.serving import Served, Serving


def _say(says: int, version: int) -> None:
    os.write(says, json.dumps(asdict(Served(name="app", version=version))).encode() + b"\n")


def test_a_version_replaces_one_whose_child_ends_just_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def first(_reference: str, _module: bool, _name: None, says: int, hears: int) -> NoReturn:
        _say(says, 1)
        os.read(hears, 1)
        os._exit(0)

    def second(_reference: str, _module: bool, _name: None, says: int, hears: int) -> NoReturn:
        (former,) = served._lives
        there = os.pidfd_open(former)
        signal.pidfd_send_signal(there, signal.SIGKILL)
        select.select([there], [], [])
        _say(says, 2)
        os.read(hears, 1)
        os._exit(0)

    served = Serving("app.py", False, None)
    try:
        monkeypatch.setattr(serving, "_child", first)
        assert served.load().version == 1
        monkeypatch.setattr(serving, "_child", second)
        assert served.load().version == 2
        assert served.goes_on()
    finally:
        served.close()
