"""What a controller answers about a Dict or Queue: read from its connection, what it grants noted.

Knows nothing of who asked. Standard library only.
"""

from __future__ import annotations

import json
import socket

from rekindle.sdk.objects.direct import Gone, Ways
from rekindle.wire import object_frames as wire
from rekindle.wire.object_frames import Op, Reply, Request

_READ_BYTES = 1 << 18


def heard(ways: Ways, request: Request, reply: Reply) -> Reply:
    """A reply of the controller; what it grants is noted."""
    if request.op in (Op.LOOKUP, Op.CREATE) and reply.status == wire.Status.DONE:
        record = json.loads(reply.body)
        if "access" in record:
            ways.learn(record["object_id"].encode(), record["access"])
    return reply


def receive(sock: socket.socket) -> Reply:
    """The one answer that is on its way. Raises OSError, and Gone where none comes."""
    data: bytes | bytearray = sock.recv(_READ_BYTES)
    size = wire.frame_bytes(data)
    if len(data) != size or not size:
        data = _rest(sock, bytearray(data))
    return wire.parse_reply(data)[1]


def _rest(sock: socket.socket, data: bytearray) -> bytearray:
    if not data:
        raise Gone("it closed the connection")
    while not (size := wire.frame_bytes(data)):
        data += sock.recv(4) or _cut()
    at = len(data)
    data.extend(bytes(size - at))
    with memoryview(data) as view:
        while at < size:
            got = sock.recv_into(view[at:])
            at += got or len(_cut())
    return data


def _cut() -> bytes:
    raise Gone("it closed the connection in the middle of an answer")
