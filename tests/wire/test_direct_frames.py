"""Frames of direct calls over a real socket pair."""

from __future__ import annotations

import os
import socket
import threading
from collections import deque

import pytest

from rekindle.wire import direct_frames
from rekindle.wire.direct_frames import FAILED, OK
from rekindle.wire.shared import Packed, pack, unpack
from tests import descriptors

Ends = tuple[socket.socket, socket.socket]


def test_a_call_and_its_answer(ends: Ends) -> None:
    client, runner = ends
    direct_frames.send_call(client, "fc-1", "méthode", Packed(b"value"))
    call = direct_frames.receive_call(runner)
    assert call is not None
    assert (call.call_id, call.method, bytes(call.data), call.fd) == (
        "fc-1",
        "méthode",
        b"value",
        -1,
    )
    direct_frames.send_reply(runner, FAILED, (1, 2, 3), Packed(b"why"), printed=True)
    reply = direct_frames.receive_reply(client)
    assert reply is not None
    assert (reply.status, reply.printed, bytes(reply.data)) == (FAILED, True, b"why")
    assert (reply.received_ns, reply.loaded_ns, reply.executed_ns) == (1, 2, 3)


@pytest.mark.parametrize("size", [0, 1, 1 << 16, (1 << 16) + 1, 5 << 20])
def test_frames_of_any_size_arrive_whole(ends: Ends, size: int) -> None:
    client, runner = ends
    data = os.urandom(size)
    sender = threading.Thread(
        target=direct_frames.send_call, args=(client, "fc-1", "", Packed(data)), daemon=True
    )
    sender.start()
    call = direct_frames.receive_call(runner)
    sender.join()
    assert call is not None and bytes(call.data) == data


def test_a_descriptor_rides_along(ends: Ends) -> None:
    client, runner = ends
    value = b"x" * (1 << 20)
    packed = pack(value)
    direct_frames.send_reply(runner, OK, (0, 0, 0), packed, printed=False)
    packed.close()
    reply = direct_frames.receive_reply(client)
    assert reply is not None and reply.fd >= 0
    assert not os.get_inheritable(reply.fd)
    assert unpack(reply.data, reply.take_fd()) == value


def test_a_descriptor_that_nobody_took_is_closed(ends: Ends) -> None:
    client, runner = ends
    packed = pack(b"x" * (1 << 20))
    direct_frames.send_reply(runner, OK, (0, 0, 0), packed, printed=False)
    packed.close()
    reply = direct_frames.receive_reply(client)
    assert reply is not None
    fd = reply.fd
    memory = _what_is_open_at(fd)
    assert memory is not None
    del reply
    # Another thread of this process may have got the number meanwhile.
    assert _what_is_open_at(fd) != memory


def _what_is_open_at(fd: int) -> tuple[int, int] | None:
    try:
        stat = os.fstat(fd)
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def test_frames_tell_which_memory_files_are_gone(ends: Ends) -> None:
    client, runner = ends
    gone = deque(range(1, 100))
    direct_frames.send_call(client, "fc-1", "m", Packed(b"value"), gone)
    call = direct_frames.receive_call(runner)
    assert call is not None and call.gone == tuple(range(1, 65)) and list(gone) == [*range(65, 100)]
    assert (call.call_id, call.method, bytes(call.data)) == ("fc-1", "m", b"value")
    direct_frames.send_reply(runner, OK, (1, 2, 3), Packed(b"why"), gone, printed=False)
    reply = direct_frames.receive_reply(client)
    assert reply is not None and reply.gone == tuple(range(65, 100)) and not gone
    assert (bytes(reply.data), reply.executed_ns) == (b"why", 3)


def test_a_frame_or_the_end_is_waited_for_as_long_as_asked(ends: Ends) -> None:
    client, runner = ends
    assert not direct_frames.readable(runner, 0.01)
    client.close()
    assert direct_frames.readable(runner, 60)


def test_the_end_of_a_connection_is_none(ends: Ends) -> None:
    client, runner = ends
    client.close()
    assert direct_frames.receive_call(runner) is None


def test_a_call_that_was_cut_short_is_none(ends: Ends) -> None:
    client, runner = ends
    client.sendall(b"\x10\x00\x00\x00\x00")
    client.close()
    assert direct_frames.receive_call(runner) is None


def test_what_was_sent_before_reading_ended_is_served_and_nothing_after(ends: Ends) -> None:
    client, runner = ends
    direct_frames.send_call(client, "fc-1", "", Packed(b"first"))
    runner.shutdown(socket.SHUT_RD)
    with pytest.raises(BrokenPipeError):
        direct_frames.send_call(client, "fc-2", "", Packed(b"second"))
    call = direct_frames.receive_call(runner)
    assert call is not None and call.call_id == "fc-1"
    direct_frames.send_reply(runner, OK, (0, 0, 0), Packed(b"answer"), printed=False)
    reply = direct_frames.receive_reply(client)
    assert reply is not None and bytes(reply.data) == b"answer"
    assert direct_frames.receive_call(runner) is None


@pytest.mark.parametrize("kept", [3, 12, 40])
def test_a_frame_that_is_cut_short_leaves_no_descriptor(ends: Ends, kept: int) -> None:
    client, runner = ends
    packed = pack(b"x" * (4 << 20), 1 << 30)
    assert packed.file is not None
    frame = direct_frames.call_frame("fc-1", "method", packed, None)
    direct_frames.send_descriptor(client, frame[:kept], packed.file.fd)
    packed.close()
    client.shutdown(socket.SHUT_WR)
    before = descriptors.opened()
    assert direct_frames.receive_call(runner) is None
    assert not descriptors.newly_open(before)
