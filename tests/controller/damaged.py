"""Records that Redis has damaged, in several ways, and what a controller says of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

import redis

from rekindle.controller.storage import keys
from rekindle.wire import rekindle_pb2 as pb
from tests.controller.harness import Client, Instance

Damaging = Callable[[bytes], bytes]
#: Of an entry of a queue.
Fields = dict[bytes, bytes]


def cut_off(raw: bytes) -> bytes:
    """The end is missing."""
    return raw[: len(raw) // 2]


def flipped(raw: bytes) -> bytes:
    """One byte is another."""
    middle = len(raw) // 2
    return raw[:middle] + bytes([raw[middle] ^ 0x80]) + raw[middle + 1 :]


def with_unknown_field(raw: bytes) -> bytes:
    """A name of a field is another."""
    fields = json.loads(raw)
    name = next(one for one in sorted(fields) if one not in ("name", "environment"))
    return json.dumps({**fields, f"{name}x": fields[name]}).encode()


def without_field(raw: bytes) -> bytes:
    """One is missing."""
    fields = json.loads(raw)
    del fields[next(one for one in ("versions", "created_ns", "created", "host") if one in fields)]
    return json.dumps(fields).encode()


def of_another_type(raw: bytes) -> bytes:
    """Not what it was declared to be."""
    fields = json.loads(raw)
    name = next(
        one
        for one in ("versions", "created_ns", "created", "pid", "max_containers")
        if one in fields
    )
    return json.dumps({**fields, name: "what"}).encode()


DAMAGES: dict[str, Damaging] = {
    one.__name__: one for one in (cut_off, flipped, without_field, of_another_type)
}


async def status(client: Client) -> pb.StatusReply:
    """What the controller says."""
    reply: pb.StatusReply = await client.call("Status", pb.StatusRequest())
    return reply


async def told(client: Client, kind: str) -> dict[str, pb.DamagedRecord]:
    """What it says is damaged."""
    found = {one.name: one for one in (await status(client)).damaged if one.kind == kind}
    assert all(one.reason and one.remedy for one in found.values())
    return found


async def instance_id(instance: Instance) -> str:
    """The name that keys have."""
    return (instance.directory / "instance").read_text().strip()


def damage(server: redis.Redis, key: str, field: str, how: Damaging) -> bytes:
    """Damage a field of a hash; what it is then."""
    raw = server.hget(key, field)
    assert isinstance(raw, bytes)
    server.hset(key, field, how(raw))
    return how(raw)


def replaced(server: redis.Redis, names: Iterable[str]) -> None:
    """Have these keys be something else."""
    for one in names:
        server.delete(one)
        server.set(one, "what")


def queued_anew(server: redis.Redis, function_id: str, change: Callable[[Fields], Fields]) -> None:
    """Put each entry of a function's queue there again, changed; nobody was given one."""
    queue = keys.queue(function_id)
    entries = server.xrange(queue)
    server.delete(queue)
    for entry, fields in entries:
        server.xadd(queue, change(fields), entry)
    server.xgroup_create(queue, keys.GROUP, "0")


def started_again(instance: Instance) -> None:
    """The controller ended, and starts."""
    instance.kill_controller()
    instance.start_controller()
