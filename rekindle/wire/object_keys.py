"""Names in Redis of what belongs to one Dict or Queue: its keys, its user, its channel.

All keys of an object carry its id in braces, so that a Redis Cluster keeps them in one slot, and
begin alike, so that a user of Redis can be bounded to them. Standard library only.
"""

from __future__ import annotations


def dict_entries(object_id: str) -> str:
    """Hash: identity of a key -> entry of a Dict."""
    return f"rk:dict:{{{object_id}}}:entries"


def queue_items(object_id: str, partition: str = "") -> str:
    """List: items of a partition of a Queue; without a partition, what such keys begin with."""
    return f"rk:queue:{{{object_id}}}:items:{partition}"


def queue_state(object_id: str, partition: str = "") -> str:
    """Hash: bytes (b) of a partition, and the number of its first item (h)."""
    return f"rk:queue:{{{object_id}}}:state:{partition}"


def queue_partitions(object_id: str) -> str:
    """Sorted set: partitions of a Queue, by when they end, in milliseconds."""
    return f"rk:queue:{{{object_id}}}:partitions"


def queue_waiting(object_id: str) -> str:
    """Hash: what is waited for and in which partition -> the channel that is told of it."""
    return f"rk:queue:{{{object_id}}}:waiting"


def operations(kind: str, object_id: str) -> str:
    """Hash: operation -> how many entries or items it was done with. Not on disk."""
    return f"rk:{kind}:{{{object_id}}}:operations"


def answer(object_id: str, client: str) -> str:
    """String: the last answer to one client about a Dict or Queue, for two minutes."""
    return f"rk:answer:{{{object_id}}}:{client}"


def patterns(kind: str, object_id: str) -> tuple[str, ...]:
    """What all keys of an object match, and no key of another one."""
    return f"rk:{kind}:{{{object_id}}}:*", answer(object_id, "*")


def users(instance: str) -> str:
    """What the names of an instance's users of Redis begin with."""
    return f"rk:{instance}:"


def user(instance: str, object_id: str) -> str:
    """The user of Redis that may use one object, and nothing else."""
    return users(instance) + object_id


def channels(instance: str) -> str:
    """What the names of an instance's channels begin with."""
    return f"rk:wake:{instance}:"


def channel(instance: str, object_id: str) -> str:
    """Where it is said that something has changed for which somebody waits."""
    return channels(instance) + object_id
