"""Deployed apps on Redis: one field of a hash for each, so that a switch is one write."""

from __future__ import annotations

from dataclasses import dataclass

from rekindle.controller.storage import keys
from rekindle.controller.storage.damage import Record, text
from rekindle.controller.storage.redis_link import FOREVER, RedisLink


@dataclass(eq=False)
class DeploymentStore:
    """Name -> JSON. Knows nothing of what it says."""

    _link: RedisLink
    _instance: str

    async def save(self, name: str, text: str, patience_s: float | None = FOREVER) -> None:
        """From now on a restart finds this. Waits for a Redis that is away."""
        key = keys.deployments(self._instance)
        await self._link.command("HSET", key, name, text, patience_s=patience_s, durable=True)

    async def rename(self, name: str, new_name: str, text: str) -> None:
        """From now on a restart finds this under another name, and nothing under the former."""
        key = keys.deployments(self._instance)
        await self._link.commands(
            [("HSET", key, new_name, text), ("HDEL", key, name)],
            patience_s=FOREVER,
            durable=True,
            atomic=True,
        )

    async def forget(self, name: str) -> None:
        """A restart finds nothing of it."""
        key = keys.deployments(self._instance)
        await self._link.command("HDEL", key, name, patience_s=FOREVER, durable=True)

    async def load(self) -> dict[bytes, bytes]:
        """Of all apps."""
        found: dict[bytes, bytes] = await self._link.command(
            "HGETALL", keys.deployments(self._instance), patience_s=FOREVER
        )
        return found

    def record(self, name: bytes) -> Record:
        """Where one lies."""
        return Record("deployment", text(name), keys.deployments(self._instance), name)
