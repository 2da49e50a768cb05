"""Versions of deployed apps on Redis: called otherwise, run by newer code, and at last forgotten.

To be registered, put away and opened again is what each has in common with other apps
(registry.py). Knows nothing of which version is the present one.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from rekindle.controller.storage import keys, parsed
from rekindle.controller.storage.damage import text
from rekindle.controller.storage.redis_link import FOREVER, Command, RedisLink
from rekindle.controller.storage.registry import Registry, function_record, variant_record
from rekindle.wire.environment import split_name
from rekindle.wire.spec import FunctionSpec

#: What a function's hash has besides whose it is.
_CONTENT = ("spec", "code", "secrets", "named", "source", "code_from")
#: In place of the seconds that a key has left.
_WITHOUT_END = -1


@dataclass(eq=False)
class VersionStore:
    """What is kept of each version, by the id of its app."""

    _link: RedisLink
    _registry: Registry

    # ---- the next version takes its place

    async def run_code_of(self, function_ids: Mapping[str, str]) -> None:
        """From now on each of these functions runs the code of another one."""
        await self._link.commands(
            [
                ("HSET", keys.function(one), "code_from", other)
                for one, other in function_ids.items()
            ],
            patience_s=FOREVER,
        )

    async def was_recreated(self, app_id: str) -> bool:
        """Whether what ran of a version when it was replaced has been given to newer code."""
        found = await self._link.command(
            "HEXISTS", keys.app(app_id), "recreated", patience_s=FOREVER
        )
        return bool(found)

    async def note_recreated(self, app_id: str) -> None:
        """It has: what runs of it from now on is to end by itself, also after a restart."""
        await self._link.command("HSET", keys.app(app_id), "recreated", 1, patience_s=FOREVER)

    # ---- called otherwise

    async def rename(self, app_id: str, name: str) -> None:
        """Have a version be of an app of another environment.

        What it declared to lie in its own environment lies in the new one.
        """
        former = await self._link.command("HGET", keys.app(app_id), "name")
        if former is None:
            return
        before, after = split_name(former.decode())[0], split_name(name)[0]
        commands: list[Command] = [("HSET", keys.app(app_id), "name", name)]
        required = self._registry.damage.required
        for function_id in await self._registry.function_ids(app_id):
            key = keys.function(function_id)
            spec, named, variant = await self._link.command(
                "HMGET", key, "spec", "named", "variant"
            )
            if spec is None:
                continue
            if variant is not None:
                read = partial(parsed.variant_of, variant)
                made = required(variant_record(function_id), read)
                asked = _moved(made.spec, made.spec.app_name, before, after)
                made = dataclasses.replace(made, spec=asked)
                commands.append(("HSET", key, "variant", made.to_json()))
            known = required(function_record(function_id), partial(parsed.spec_of, spec))
            moved = _moved(known, name, before, after)
            fields = {b"named": named or b"[]"}
            required(function_record(function_id), partial(parsed.named_of, fields))
            secrets = json.loads(fields[b"named"])
            for one in secrets:
                if one.get("environment") == before:
                    one["environment"] = after
            written = ("spec", moved.to_json(), "named", json.dumps(secrets))
            commands.append(("HSET", key, *written))
        # In one step: which environment something lies in is told by its app's name.
        await self._link.commands(commands, atomic=True)

    # ---- forgotten

    async def forget(self, app_id: str, ttl_s: int) -> None:
        """Remove a version that was put away; whose its functions were is known for a while.

        So is what its variants were made from, unless they had secrets of their own.
        """
        fields: dict[bytes, bytes] = await self._link.command(
            "HGETALL", keys.app(app_id), patience_s=FOREVER
        )
        functions = {
            text(name[2:]): text(raw) for name, raw in fields.items() if name.startswith(b"f:")
        }
        commands: list[Command] = [
            ("UNLINK", keys.source(app_id, digest)) for digest in set(functions.values()) if digest
        ]
        variants = await self._link.commands(
            [("HGET", keys.function(one), "variant") for one in functions], patience_s=FOREVER
        )
        damage = self._registry.damage
        for function_id, variant in zip(functions, variants, strict=True):
            key = keys.function(function_id)
            commands.append(("HDEL", key, *_CONTENT))
            if variant is not None:
                read = partial(parsed.variant_of, variant)
                made = damage.read(variant_record(function_id), read)
                if made is None or made.replaces_secrets:
                    commands.append(("HDEL", key, "variant"))
                    damage.forget("variant", function_id)
            commands.append(("EXPIRE", key, ttl_s))
        commands.append(("EXPIRE", keys.app(app_id), ttl_s))
        await self._link.commands(commands, patience_s=FOREVER)

    async def is_forgotten(self, app_id: str) -> bool:
        """Whether ``forget`` has come to its end."""
        ttl: int = await self._link.command("TTL", keys.app(app_id), patience_s=FOREVER)
        return ttl != _WITHOUT_END


def _moved(spec: FunctionSpec, app_name: str, before: str, after: str) -> FunctionSpec:
    """A function's spec as of an app of another environment, its volumes included."""
    volumes = tuple(
        dataclasses.replace(one, environment=after) if one.environment == before else one
        for one in spec.volumes
    )
    return dataclasses.replace(spec, app_name=app_name, volumes=volumes)
