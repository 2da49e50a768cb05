"""Agents on Redis: one field of a hash for each that is connected."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial

from rekindle.controller.storage import keys
from rekindle.controller.storage.damage import Damage, Record, text
from rekindle.controller.storage.records import StoredAgent
from rekindle.controller.storage.redis_link import FOREVER, RedisLink
from rekindle.controller.storage.typed import checked

_KIND = "agent"


@dataclass(eq=False)
class AgentStore:
    """The agents of one instance."""

    _link: RedisLink
    _instance: str
    _damage: Damage

    async def save(self, agent: StoredAgent) -> None:
        """Remember a connected agent, so that a restarted controller waits for it."""
        kept = json.dumps({"host": agent.host, "pid": agent.pid, "local": agent.local})
        key = keys.agents(self._instance)
        await self._link.command("HSET", key, agent.agent_id, kept, patience_s=FOREVER)
        self._damage.forget(_KIND, agent.agent_id)

    async def forget(self, agent_id: str) -> None:
        """An agent is gone for good."""
        key = keys.agents(self._instance)
        await self._link.command("HDEL", key, agent_id, patience_s=FOREVER)
        self._damage.forget(_KIND, agent_id)

    async def load(self) -> list[StoredAgent]:
        """The agents that were connected when the controller before this one ended.

        Of one that cannot be read the name is known: it may come back.
        """
        key, agents = keys.agents(self._instance), []
        for name, kept in (await self._link.command("HGETALL", key, patience_s=FOREVER)).items():
            record = Record(_KIND, text(name), key, name)
            found = self._damage.read(record, partial(_read, record.name, kept))
            agents.append(found or StoredAgent(record.name, host="", pid=0, local=False))
        return agents


def _read(agent_id: str, kept: bytes) -> StoredAgent:
    made: StoredAgent = checked(StoredAgent(agent_id, **json.loads(kept)))
    return made
