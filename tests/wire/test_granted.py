"""What a client reads of a lease, with the answer to the call that it sent along."""

from __future__ import annotations

import os
import socket
import threading

import pytest

from rekindle.wire import direct_frames
from rekindle.wire.frames import FrameError, pack_frame
from rekindle.wire.granted import Granted, granted, read_granted
from rekindle.wire.shared import Packed, pack, unpack

GRANTED = Granted("le-1", "/socket", "token", "ru-1", 0, False)


Ends = tuple[socket.socket, socket.socket]


def answer(data: bytes = b"value") -> bytes:
    return direct_frames.reply_frame(direct_frames.OK, (1, 2, 3), Packed(data))


def test_what_is_granted_and_the_answer_are_one_read(ends: Ends) -> None:
    client, runner = ends
    runner.sendall(pack_frame(GRANTED.header()) + answer())
    header, body, came, fd = read_granted(client)
    assert (granted(header), body, fd) == (GRANTED, b"", -1)
    reply = direct_frames.rest_of_reply(client, came, fd)
    assert reply is not None and bytes(reply.data) == b"value"
    client.setblocking(False)
    with pytest.raises(BlockingIOError):
        client.recv(1)


@pytest.mark.parametrize("size", [1, 7, 5 << 10])
def test_it_comes_in_pieces_of_any_size(ends: Ends, size: int) -> None:
    client, runner = ends
    frames = pack_frame(GRANTED.header()) + answer(os.urandom(8 << 10))

    def send() -> None:
        for at in range(0, len(frames), size):
            runner.sendall(frames[at : at + size])

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    header, _body, came, fd = read_granted(client)
    reply = direct_frames.rest_of_reply(client, came, fd)
    sender.join()
    assert granted(header) == GRANTED
    assert reply is not None and bytes(reply.data) == frames[-(8 << 10) :]


def test_the_memory_file_of_an_answer_comes_with_it(ends: Ends) -> None:
    client, runner = ends
    value = os.urandom(1 << 20)
    packed = pack(value)
    before = pack_frame(GRANTED.header())
    direct_frames.send_reply(
        runner, direct_frames.OK, (1, 2, 3), packed, printed=False, before=before
    )
    packed.close()
    _header, _body, came, fd = read_granted(client)
    reply = (
        direct_frames.rest_of_reply(client, came, fd)
        if came
        else direct_frames.receive_reply(client)
    )
    assert reply is not None
    assert unpack(reply.data, reply.take_fd()) == value


def test_why_nothing_was_granted_is_read_whole(ends: Ends) -> None:
    client, runner = ends
    why = os.urandom(1 << 20)
    frame = pack_frame({"ok": False}, len(why)) + why
    sender = threading.Thread(target=runner.sendall, args=(frame,), daemon=True)
    sender.start()
    assert read_granted(client) == ({"ok": False}, why, b"", -1)
    sender.join()


@pytest.mark.parametrize("said", [b"", pack_frame(GRANTED.header())[:-1]])
def test_a_connection_that_ends_before_all_of_it_has_come_is_an_error(
    ends: Ends, said: bytes
) -> None:
    client, runner = ends
    runner.sendall(said)
    runner.close()
    with pytest.raises(FrameError):
        read_granted(client)


def test_what_is_no_frame_is_refused_and_not_waited_for(ends: Ends) -> None:
    client, runner = ends
    runner.sendall(b"\xff" * 100)
    with pytest.raises(FrameError, match="a frame header of"):
        read_granted(client)


def test_an_answer_that_is_cut_short_is_none(ends: Ends) -> None:
    client, runner = ends
    runner.sendall(pack_frame(GRANTED.header()) + answer()[:-1])
    runner.close()
    _header, _body, came, fd = read_granted(client)
    assert direct_frames.rest_of_reply(client, came, fd) is None
