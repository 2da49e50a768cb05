"""An app that runs here, at its controller: greeted first, and asked another way where it goes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rekindle import paths
from rekindle.sdk.connection.client import Client
from rekindle.sdk.holding import Holding
from rekindle.sdk.running import RunningApp
from rekindle.wire import request_frames
from rekindle.wire.version import PROTOCOL

FORM: dict[str, Any] = {"functions": [], "source": None}


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    """Where the controller of the instance in ``tmp_path`` takes links."""
    paths.token_file(tmp_path).write_text("secret\n")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(paths.requests_socket(tmp_path)))
        made.listen()
        yield made


def test_the_controller_is_asked_who_it_is_before_the_form_is_there(
    tmp_path: Path, listener: socket.socket
) -> None:
    held = Holding(Client(tmp_path))
    held.greet()
    with listener.accept()[0] as link:
        buffer, frames = bytearray(), []
        while len(frames) < 2:
            buffer += link.recv(1 << 16)
            frames += request_frames.taken(buffer)
        token, hello = frames
        assert token == {"token": "secret"}
        assert (hello["method"], hello["request"]["protocol"]) == ("Hello", PROTOCOL)
        held.let_go()  # the form could not be made
        assert not link.recv(1)


def test_one_that_went_after_it_was_greeted_is_asked_by_grpc(
    tmp_path: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(Holding, "_begin_by_grpc", lambda _self, form: asked.append(form))
    client = Client(tmp_path)
    held = Holding(client)
    held.greet()
    listener.accept()[0].close()
    held.begin(RunningApp("app", "ap-1", client, {}), FORM)
    assert asked == [FORM]
