"""The tables that all else of an instance is found by: whether each is of the type it is to be.

Looked at before a controller reads them, and where Redis refuses a command later. One that is
something else is not taken for an empty one: what is named there alone would be taken for gone.
Knows nothing of what is in them.
"""

from __future__ import annotations

from rekindle.controller.storage import emptied, keys
from rekindle.controller.storage.damage import text
from rekindle.controller.storage.redis_link import RedisLink, RefusedError
from rekindle.exception import Error, InternalFailure, ServiceError

_NOTHING = "none"
#: How long who waits for an error waits for what is behind it.
_PATIENCE_S = 2.0


class DamagedTableError(InternalFailure):
    """A table of an instance is of another type than it was."""


async def check(link: RedisLink, instance: str, patience_s: float) -> None:
    """Raise DamagedTableError, naming each that is of another type; ServiceError."""
    wanted = _types(instance)
    found = await link.commands([("TYPE", key) for key in wanted], patience_s=patience_s)
    wrong = [
        f"{key} is a {there} where a {wanted[key]} is to be"
        for key, there in zip(wanted, map(text, found), strict=True)
        if there not in (wanted[key], _NOTHING)
    ]
    if wrong:
        raise DamagedTableError(
            f"what the Redis at {link.shown_url} has kept cannot be read: {', '.join(wrong)}. "
            f"Somebody else has written it, or Redis's files are damaged: start from a backup of "
            f"before (docs/operating.md), or call the key otherwise, to begin without what was in "
            f"it: RENAME KEY {keys.set_aside(instance)}:KEY"
        )


async def behind(link: RedisLink, instance: str, error: Error) -> Error:
    """What to tell who gets an error that Redis gives without a name: EmptiedError, or
    DamagedTableError where it comes of a table that somebody has replaced since the start; else the
    error itself.
    """
    if isinstance(error, RefusedError) and error.is_of_damage:
        try:
            await emptied.check(link, instance, _PATIENCE_S)
            await check(link, instance, _PATIENCE_S)
        except InternalFailure as cause:
            return cause
        except ServiceError:  # away by now
            return error
    return error


def _types(instance: str) -> dict[str, str]:
    """By key. Others that are damaged are told of when they are read (damage.py)."""
    hashes = (
        *(keys.agents, keys.deployments, keys.environments, keys.schedules),
        *(keys.closed_apps, keys.objects),
    )
    return {
        keys.protocol(instance): "string",
        **{key(instance): "set" for key in (keys.apps, keys.objects_going)},
        **{key(instance): "hash" for key in hashes},
        keys.SECRETS: "hash",
    }
