"""Handles by name: what a call needs to know of what it calls."""

from __future__ import annotations

import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

import rekindle
from rekindle.sdk import lookups, running
from rekindle.sdk.local import choosing
from rekindle.wire import rekindle_pb2 as pb
from tests.sdk.fake_controller import FakeController


def test_a_call_by_name_looks_once_for_its_instance_and_packs_parameters_once(
    controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deployed_as(function_id: str) -> None:
        known = pb.FunctionHandle(function_id=function_id, kind="cls", methods=["of"], version=1)
        known.parameters.add(name="size", type="int", default="3")
        place = (running.client_of(), "shop", "Price", 0)
        monkeypatch.setitem(lookups._found, place, (time.monotonic(), known))

    looked: list[Path] = []
    existing = choosing.existing

    def counted() -> Path:
        looked.append(existing())
        return looked[-1]

    deployed_as("fu-1")
    price = rekindle.Cls.from_name("shop", "Price")().of
    first = price._target()
    assert (first.function_id, first.params) == ("fu-1", b'{"size":3}')
    monkeypatch.setattr(choosing, "existing", counted)
    assert price._target() is first
    assert looked == [controller.directory]
    deployed_as("fu-2")
    assert price._target().function_id == "fu-2"


def test_names_that_were_looked_up_long_ago_are_forgotten(
    controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = running.client_of(str(controller.directory))
    long_ago = time.monotonic() - lookups._KEPT_S - 1
    for version in range(5):
        found = (long_ago, pb.FunctionHandle())
        monkeypatch.setitem(lookups._found, (client, "app", "f", version), found)
    monkeypatch.setattr(lookups, "background", lambda: _Answers())
    lookups.find(client, "app", "f", 7)
    assert [place[3] for place in lookups._found if place[0] is client] == [7]
    lookups.forget_all()


class _Answers:
    def run(self, asked: Coroutine[Any, Any, pb.FunctionHandle]) -> pb.FunctionHandle:
        asked.close()
        return pb.FunctionHandle(function_id="fu-1")
