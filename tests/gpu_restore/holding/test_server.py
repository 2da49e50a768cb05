"""The holder's loop: a client that is gone in the midst of an answer counts for nothing."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from rekindle.gpu_restore.device import Device, Shared
from rekindle.gpu_restore.holding.client import Connection
from rekindle.gpu_restore.host_device import HostDevice
from rekindle.wire.frames import pack_frame

Serve = Callable[[Device], str]


def test_orders_behind_an_answer_that_could_not_be_sent_count_for_nothing(serve: Serve) -> None:
    path = serve(HostDevice())
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.connect(path)
        deaf.shutdown(socket.SHUT_RD)
        deaf.sendall(pack_frame({"op": "status"}) + pack_frame({"op": "want", "key": "m"}))
        other = Connection.to(path, HostDevice())
        assert other.status()["entries"] == []
    other.close()


@pytest.mark.parametrize(
    "order",
    [
        [],
        "want",
        {"op": ["want"], "key": "m"},
        {"op": "want"},
        {"op": "want", "key": 5},
        {"op": "want", "key": ["m"]},
        {"op": "allocate", "key": "m", "sizes": [1 << 70]},
        {"op": "allocate", "key": "m", "sizes": [0.5]},
        {"op": "allocate", "key": "m", "sizes": None},
        {"op": "commit", "key": "m"},
    ],
)
def test_a_client_that_says_what_is_no_order_harms_nobody_else(serve: Serve, order: object) -> None:
    path = serve(HostDevice())
    other = Connection.to(path, HostDevice())
    with socket.socket(socket.AF_UNIX) as strange:
        strange.connect(path)
        strange.sendall(pack_frame({"op": "limit", "key": "m"}))
        strange.sendall(pack_frame({"op": "want", "key": "m"}))
        while not other.status()["entries"]:
            pass
        said: Any = order
        strange.sendall(pack_frame(said))
        strange.shutdown(socket.SHUT_WR)
        while strange.recv(1 << 16):
            pass
    assert other.status()["entries"] == []
    other.close()


def test_one_that_waited_and_is_gone_harms_neither_who_loaded_nor_who_waits_behind(
    serve: Serve,
) -> None:
    waiting = [socket.socket(socket.AF_UNIX) for _ in range(2)]

    class Slow(HostDevice):
        def share(self, address: int) -> Shared:
            """The first of those that wait goes when its answer has begun."""
            if asked:
                waiting[0].close()
            return super().share(address)

    asked = False
    path = serve(Slow())
    loader = Connection.to(path, HostDevice())
    assert loader.want("m") is None
    loader.allocate("m", [4096])
    for number, one in enumerate(waiting, 1):
        one.connect(path)
        one.sendall(pack_frame({"op": "want", "key": "m"}))
        while loader.status()["entries"][0]["waiting"] != number:
            pass
    asked = True
    loader.commit("m", {})
    assert loader.status()["entries"][0]["users"] == 2
    assert b'"held"' in waiting[1].recv(1 << 16)
    loader.close()
    for one in waiting:
        one.close()
