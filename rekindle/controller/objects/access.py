"""Who may speak to Redis about a Dict or a Queue without the controller between.

A program that may ask about an object is given a user of Redis that is bounded to that object: to
its keys, its channel, the commands that its scripts run, and nothing else. There is one for each
object. Its password is random; Redis gets the digest. It is made (again) whenever somebody asks, as
a server that was restarted or took over knows none, and goes with its object, and with it all
connections that it has.

Where no such user can be had, programs ask the controller as before; why stands in ``reason``, for
`rekindle status`, metrics and the log.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from collections.abc import Container
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio.connection import parse_url

from rekindle.controller.objects import scripts
from rekindle.controller.objects.catalog import Shared
from rekindle.controller.storage.redis_link import RedisLink, RefusedError
from rekindle.exception import ServiceError
from rekindle.wire import object_keys
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: What programs and the scripts run; PING marks the end of a reply.
_COMMON = "evalsha ping multi exec time get set unlink hget hset hdel hincrby publish"
_OF_KIND = {
    "dict": "hsetnx hlen hscan expire ttl",
    "queue": "exists hmget rename ltrim pexpire pttl llen lpop rpush lpush lrange"
    " zadd zrem zrange zcard zremrangebyscore",
}
#: How long a program waits before it asks again, by what was in the way.
_FOR_GOOD_S, _REFUSED_S, _CROWDED_S, _AWAY_S = 3600, 60, 5, 1
_PATIENCE_S = 0.5
#: Programs may have this part of the connections that the server takes.
_MOST_CONNECTIONS = 0.75
_COUNT_EVERY_S = 1.0


class DirectAccess:
    """Makes and takes away the users."""

    def __init__(self, link: RedisLink, url: str, instance: str, *, allowed: bool) -> None:
        self._link = link
        self._instance = instance
        self._passwords: dict[str, str] = {}
        #: Why programs go through the controller for good; empty where they need not.
        self._never = "it is turned off (REKINDLE_DIRECT_OBJECTS=0)" if not allowed else ""
        self._address: dict[str, Any] = {}
        if allowed:
            self._address, self._never = address_of(url)
        self._counted = 0.0
        self._crowded = ""
        #: Why programs go through the controller now; empty where they need not.
        self.reason = self._never
        #: Programs that were let in, and did not reach Redis; what the last one said.
        self.barred_count = 0
        self.barred_reason = ""
        if self._never:
            log.info("programs reach dicts and queues here alone", extra=kv(why=self._never))

    async def grant(self, one: Shared) -> dict[str, Any]:
        """What a program needs to reach an object in Redis; or why it does not get that."""
        if self._never:
            return {"why": self._never, "again_s": _FOR_GOOD_S}
        try:
            await self._count_connections()
            if self._crowded:
                self._blocked(self._crowded)
                return {"why": self._crowded, "again_s": _CROWDED_S}
            password = self._passwords.get(one.object_id) or secrets.token_urlsafe(24)
            self._passwords[one.object_id] = password
            user = object_keys.user(self._instance, one.object_id)
            await self._link.command(
                *("ACL", "SETUSER", user, "reset", "resetchannels", "on"),
                "#" + hashlib.sha256(password.encode()).hexdigest(),
                *("~" + pattern for pattern in object_keys.patterns(one.kind, one.object_id)),
                "&" + object_keys.channel(self._instance, one.object_id),
                *("+" + word for word in f"{_COMMON} {_OF_KIND[one.kind]}".split()),
                *(["+select"] if self._address.get("db") else []),
                patience_s=_PATIENCE_S,
            )
        except ServiceError as error:
            away = self._link.lost
            if not away:
                self._blocked(str(error))
            return {"why": str(error), "again_s": _AWAY_S if away else _REFUSED_S}
        if self.reason:
            self.reason = ""
            log.info("programs reach dicts and queues in redis again")
        found = {"user": user, "password": password, "scripts": scripts.DIGESTS}
        return self._address | found

    async def revoke(self, one: Shared) -> None:
        """No one is to reach it any more; connections of its user are closed by the server."""
        if self._passwords.pop(one.object_id, None) is None and self._never:
            return
        user = object_keys.user(self._instance, one.object_id)
        try:
            await self._link.command("ACL", "DELUSER", user, patience_s=_PATIENCE_S)
        except ServiceError as error:  # one that is away knows no user when it is back
            log.warning("a user of redis was not deleted", extra=kv(user=user, reason=error))

    async def tidy(self, known: Container[str]) -> None:
        """Delete users of objects that are gone: a controller was killed in between."""
        if self._never:
            return
        begin = object_keys.users(self._instance)
        try:
            names = [raw.decode() for raw in await self._link.command("ACL", "USERS")]
            own = [name for name in names if name.startswith(begin)]
            gone = [name for name in own if name.removeprefix(begin) not in known]
            if gone:
                await self._link.command("ACL", "DELUSER", *gone)
        except ServiceError as error:
            self._blocked(str(error))

    def barred(self, reason: str) -> None:
        """A program was let in and did not reach Redis."""
        if self._link.lost:
            return  # nor does this controller
        self.barred_count += 1
        reason = reason[:200]
        if reason != self.barred_reason:
            log.warning(
                "a program reaches dicts and queues through the controller alone",
                extra=kv(reason=reason),
            )
        self.barred_reason = reason

    def _blocked(self, reason: str) -> None:
        if reason != self.reason:
            self.reason = reason
            log.warning(
                "programs reach dicts and queues through the controller", extra=kv(why=reason)
            )

    async def _count_connections(self) -> None:
        """Leave room for connections of the controller itself."""
        now = time.monotonic()
        if now - self._counted < _COUNT_EVERY_S:
            return
        self._counted = now
        try:
            info = await self._link.command("INFO", "clients", patience_s=_PATIENCE_S)
        except RefusedError:  # its user may not ask: what is too many, the server says
            return
        there, most = info.get("connected_clients", 0), info.get("maxclients", 10_000)
        self._crowded = ""
        if there > most * _MOST_CONNECTIONS:
            self._crowded = f"Redis has {there:,} of the {most:,} connections that it takes"


def address_of(url: str) -> tuple[dict[str, Any], str]:
    """Where programs of this machine find the server; or why they do not.

    More kinds of servers (TLS, Sentinel) need a program that can speak to them.
    """
    scheme = urlsplit(url).scheme
    options: dict[str, Any] = dict(parse_url(url))
    database = int(options.get("db") or 0)
    if scheme == "unix":
        return {"unix": str(options["path"]), "db": database}, ""
    if scheme == "redis":
        host, port = options.get("host", "localhost"), int(options.get("port", 6379))
        return {"host": host, "port": port, "db": database}, ""
    return {}, f"Redis is reached by {scheme}://, which the controller alone speaks"
