"""State on Redis: apps, functions and agents of one instance."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from rekindle.controller.objects.vault import Vault
from rekindle.controller.storage import keys
from rekindle.controller.storage.records import FunctionOwner, StoredAgent, StoredApp, StoredVariant
from rekindle.controller.storage.redis_link import FOREVER, Command, RedisLink
from rekindle.exception import NotFoundError, VersionError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.environment import split_name
from rekindle.wire.messages import as_dict, spec_message
from rekindle.wire.spec import FunctionSpec
from rekindle.wire.version import PROTOCOL, __version__

#: What a function's hash has besides whose it is.
_CONTENT = ("spec", "code", "secrets", "named", "source", "code_from")
#: What of a function's keys tells of its queue.
_QUEUE_KEYS = (keys.queue, keys.backlog, keys.undone, keys.changes)


@dataclass(eq=False)
class Registry:
    """Apps, functions and agents on Redis."""

    _link: RedisLink
    _instance: str
    _vault: Vault

    async def note_protocol(self) -> None:
        """Note whose form what is kept has from now on. Raises VersionError for a newer one's."""
        key = keys.protocol(self._instance)
        found = int(await self._link.command("GET", key) or 0)
        if found > PROTOCOL:
            raise VersionError(
                f"what is kept here was written by a newer rekindle (protocol {found}; this one, "
                f"{__version__}, has {PROTOCOL}) and would be misread: install that one again, or "
                f"set REKINDLE_HOME to another directory"
            )
        if found < PROTOCOL:
            await self._link.command("SET", key, PROTOCOL)

    # ---- apps and functions

    async def save_app(
        self,
        app: pb.RegisterAppRequest,
        functions: Mapping[str, tuple[FunctionSpec, pb.FunctionDef]],
        version: int = 0,
        variants: Mapping[str, StoredVariant] = MappingProxyType({}),
    ) -> None:
        """Keep an app, its functions by id and their queues; the same app again is added to.

        ``version``: of a deployed app. ``variants``: those of the functions that are some.
        """
        await self._make_queues(functions)
        key, digest = keys.app(app.app_id), app.source.digest
        commands: list[Command] = [
            (
                *("HSET", key, "name", app.name, "ephemeral", int(app.ephemeral), "closed", 0),
                *("version", version, "detached", int(app.detached)),
            )
        ]
        if digest:
            commands.append(("SET", keys.source(app.app_id, digest), app.source.data))
        for function_id, (spec, definition) in functions.items():
            commands.append(("HSET", key, f"f:{function_id}", digest))
            commands.append(
                (
                    *("HSET", keys.function(function_id), "app", app.app_id, "name", spec.name),
                    *("spec", spec.to_json(), "code", definition.code),
                    *("secrets", self._sealed(function_id, definition), "source", digest),
                    *("named", json.dumps([as_dict(one) for one in definition.named_secrets])),
                )
            )
        for function_id, variant in variants.items():
            commands.append(("HSET", keys.function(function_id), "variant", variant.to_json()))
        # Last: now a restart finds the app.
        commands.append(("SADD", keys.apps(self._instance), app.app_id))
        await self._link.commands(commands, durable=True)

    async def _make_queues(self, function_ids: Iterable[str]) -> None:
        await self._link.commands(
            [
                ("XGROUP", "CREATE", keys.queue(function_id), keys.GROUP, "0", "MKSTREAM")
                for function_id in function_ids
            ],
            harmless="BUSYGROUP",  # it is there already
        )

    def _sealed(self, function_id: str, definition: pb.FunctionDef) -> bytes:
        values = dict(definition.secrets)
        return self._vault.seal(f"the secrets of {function_id}", values) if values else b""

    async def load_apps(self) -> list[StoredApp]:
        """The open apps of this instance."""
        raw_ids = await self._link.command(
            "SMEMBERS", keys.apps(self._instance), patience_s=FOREVER
        )
        apps = []
        for app_id in sorted(raw.decode() for raw in raw_ids):
            app = await self.load_app(app_id)
            if app is not None:
                apps.append(app)
        return apps

    async def load_app(self, app_id: str) -> StoredApp | None:
        """An app, also one that was put away; None where nothing is known of it."""
        fields: dict[bytes, bytes] = await self._link.command(
            "HGETALL", keys.app(app_id), patience_s=FOREVER
        )
        if b"name" not in fields:
            return None
        ids = list(_functions_of(fields))
        replies = await self._link.commands(
            [("HMGET", keys.function(function_id), "name", "spec") for function_id in ids],
            patience_s=FOREVER,
        )
        functions = {
            function_id: FunctionSpec.from_json(spec.decode())
            for function_id, (name, spec) in zip(ids, replies, strict=True)
            if name is not None and spec is not None
        }
        return StoredApp(
            app_id=app_id,
            name=fields[b"name"].decode(),
            ephemeral=fields.get(b"ephemeral") == b"1",
            closed=fields.get(b"closed") == b"1",
            functions=functions,
            version=int(fields.get(b"version", 0)),
            detached=fields.get(b"detached") == b"1",
        )

    async def load_code(
        self, function_id: str, *, own: bool = False
    ) -> pb.FetchFunctionReply | None:
        """Code, secrets and source of a function; None when it is not there.

        ``own``: what it was registered with, also where it runs another one's (``run_code_of``).
        """
        fields: dict[bytes, bytes] = await self._link.command("HGETALL", keys.function(function_id))
        if b"app" not in fields:
            return None
        app_id = source_of = fields[b"app"].decode()
        secrets_of = function_id
        if b"code_from" in fields and not own:
            newer: dict[bytes, bytes] = await self._link.command(
                "HGETALL", keys.function(fields[b"code_from"].decode())
            )
            if newer:
                secrets_of = fields[b"code_from"].decode()
                fields, source_of = newer, newer[b"app"].decode()
        digest = fields[b"source"].decode()
        source = b""
        if digest:
            source = await self._link.command("GET", keys.source(source_of, digest))
        return pb.FetchFunctionReply(
            app_id=app_id,
            function=pb.FunctionDef(
                spec=spec_message(FunctionSpec.from_json(fields[b"spec"].decode())),
                code=fields[b"code"],
                secrets=self._opened(secrets_of, fields),
                named_secrets=_named(fields),
            ),
            source=pb.SourceBundle(digest=digest, data=source or b""),
        )

    async def load_secrets(self, function_id: str) -> tuple[dict[str, str], list[pb.NamedSecret]]:
        """What a function declares of secrets: values, and those kept by name.

        Raises NotFoundError where that was forgotten.
        """
        names = (b"secrets", b"named", b"code_from")
        values = await self._link.command("HMGET", keys.function(function_id), *names)
        if values[-1]:  # one step, as of its code: it does not run what that one may run by now
            function_id = values[-1].decode()
            values = await self._link.command("HMGET", keys.function(function_id), *names)
        if values[0] is None:
            raise NotFoundError(f"the secrets of {function_id!r} are not kept any more")
        fields = {name: value for name, value in zip(names, values, strict=True) if value}
        return self._opened(function_id, fields), _named(fields)

    async def function_ids(self, app_id: str) -> list[str]:
        """Of an app, also of one that was put away; variants are among them."""
        return list(_functions_of(await self._link.command("HGETALL", keys.app(app_id))))

    async def seal_again(self, function_ids: Iterable[str]) -> int:
        """Seal the values that functions declare with the newest key; how many functions."""
        count = 0
        for function_id in function_ids:
            key = keys.function(function_id)
            sealed = await self._link.command("HGET", key, "secrets")
            if sealed:
                what = f"the secrets of {function_id}"
                again = self._vault.seal(what, self._vault.open(what, sealed))
                # Not where it was forgotten meanwhile: that would leave a key for ever.
                (done,) = await self._link.script("swap", [key], ["secrets", sealed, again])
                count += done
        return count

    def _opened(self, function_id: str, fields: Mapping[bytes, bytes]) -> dict[str, str]:
        sealed = fields.get(b"secrets", b"")
        return self._vault.open(f"the secrets of {function_id}", sealed) if sealed else {}

    async def mark_closing(self, app_id: str) -> None:
        """From now on the app takes no inputs, also after a restart."""
        key = keys.app(app_id)
        await self._link.command("HSET", key, "closed", 1, patience_s=FOREVER, durable=True)

    async def forget_app(self, app_id: str, function_ids: Sequence[str], log_ttl_s: int) -> None:
        """Remove a closed app with its queues; results and log lines stay for their time."""
        fields: dict[bytes, bytes] = await self._link.command(
            "HGETALL", keys.app(app_id), patience_s=FOREVER
        )
        digests = set(_functions_of(fields).values())
        commands: list[Command] = [
            ("UNLINK", key(function_id))
            for function_id in function_ids
            for key in (*_QUEUE_KEYS, keys.function, keys.once, keys.pool)
        ]
        commands += [("UNLINK", keys.source(app_id, digest)) for digest in digests if digest]
        commands += [
            ("EXPIRE", keys.logs(app_id), log_ttl_s),
            ("UNLINK", keys.app(app_id)),
            ("SREM", keys.apps(self._instance), app_id),
        ]
        await self._link.commands(commands, patience_s=FOREVER)

    # ---- versions of deployed apps

    async def put_away(self, app_id: str, function_ids: Sequence[str], log_ttl_s: int) -> None:
        """Keep an app's definition alone: it has no queues, and a restart does not find it."""
        commands: list[Command] = [
            ("UNLINK", key(function_id))
            for function_id in function_ids
            for key in (*_QUEUE_KEYS, keys.pool)
        ]
        for function_id in function_ids:
            commands.append(("HDEL", keys.function(function_id), "code_from"))
            commands.append(("EXPIRE", keys.once(function_id), log_ttl_s))
        commands += [
            ("SREM", keys.apps(self._instance), app_id),
            ("EXPIRE", keys.logs(app_id), log_ttl_s),
            ("HSET", keys.app(app_id), "closed", 0),
        ]
        await self._link.commands(commands, patience_s=FOREVER)

    async def bring_back(self, app_id: str, function_ids: Sequence[str]) -> None:
        """The opposite of ``put_away``."""
        await self._make_queues(function_ids)
        commands: list[Command] = [("PERSIST", keys.once(one)) for one in function_ids]
        commands += [
            ("PERSIST", keys.logs(app_id)),
            ("HSET", keys.app(app_id), "recreated", 1),  # who opens it means its own code
            ("SADD", keys.apps(self._instance), app_id),
        ]
        await self._link.commands(commands)

    async def forget_version(self, app_id: str, ttl_s: int) -> None:
        """Remove a version that was put away; whose its functions were is known for a while.

        So is what its variants were made from, unless they had secrets of their own.
        """
        fields: dict[bytes, bytes] = await self._link.command(
            "HGETALL", keys.app(app_id), patience_s=FOREVER
        )
        functions = _functions_of(fields)
        commands: list[Command] = [
            ("UNLINK", keys.source(app_id, digest)) for digest in set(functions.values()) if digest
        ]
        variants = await self._link.commands(
            [("HGET", keys.function(one), "variant") for one in functions], patience_s=FOREVER
        )
        for function_id, variant in zip(functions, variants, strict=True):
            key = keys.function(function_id)
            commands.append(("HDEL", key, *_CONTENT))
            if variant is not None and StoredVariant.from_json(variant).replaces_secrets:
                commands.append(("HDEL", key, "variant"))
            commands.append(("EXPIRE", key, ttl_s))
        commands.append(("EXPIRE", keys.app(app_id), ttl_s))
        await self._link.commands(commands, patience_s=FOREVER)

    async def rename_app(self, app_id: str, name: str) -> None:
        """Have an app's definition be that of an app of another environment.

        What it declared to lie in its own environment lies in the new one.
        """
        former = await self._link.command("HGET", keys.app(app_id), "name")
        if former is None:
            return
        before, after = split_name(former.decode())[0], split_name(name)[0]
        commands: list[Command] = [("HSET", keys.app(app_id), "name", name)]
        for function_id in await self.function_ids(app_id):
            key = keys.function(function_id)
            spec, named, variant = await self._link.command(
                "HMGET", key, "spec", "named", "variant"
            )
            if spec is None:
                continue
            if variant is not None:
                made = StoredVariant.from_json(variant)
                asked = moved_spec(made.spec, made.spec.app_name, before, after)
                made = dataclasses.replace(made, spec=asked)
                commands.append(("HSET", key, "variant", made.to_json()))
            moved = moved_spec(FunctionSpec.from_json(spec.decode()), name, before, after)
            secrets = json.loads(named or b"[]")
            for one in secrets:
                if one.get("environment") == before:
                    one["environment"] = after
            fields = ("spec", moved.to_json(), "named", json.dumps(secrets))
            commands.append(("HSET", key, *fields))
        await self._link.commands(commands)

    async def owner_of(self, function_id: str) -> FunctionOwner | None:
        """Whose a function is; None where it is not known (any more)."""
        app_id, name, variant = await self._link.command(
            "HMGET", keys.function(function_id), "app", "name", "variant"
        )
        if app_id is None:
            return None
        app, version = await self._link.command(
            "HMGET", keys.app(app_id.decode()), "name", "version"
        )
        if app is None:
            return None
        return FunctionOwner(
            *(app_id.decode(), app.decode(), name.decode(), int(version or 0)),
            variant=StoredVariant.from_json(variant) if variant is not None else None,
        )

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

    # ---- agents

    async def save_agent(self, agent: StoredAgent) -> None:
        """Remember a connected agent, so that a restarted controller waits for it."""
        text = json.dumps({"host": agent.host, "pid": agent.pid, "local": agent.local})
        key = keys.agents(self._instance)
        await self._link.command("HSET", key, agent.agent_id, text, patience_s=FOREVER)

    async def forget_agent(self, agent_id: str) -> None:
        """An agent is gone for good."""
        key = keys.agents(self._instance)
        await self._link.command("HDEL", key, agent_id, patience_s=FOREVER)

    async def load_agents(self) -> list[StoredAgent]:
        """The agents that were connected when the controller before this one ended."""
        fields: dict[bytes, bytes] = await self._link.command(
            "HGETALL", keys.agents(self._instance), patience_s=FOREVER
        )
        return [StoredAgent(name.decode(), **json.loads(text)) for name, text in fields.items()]


def moved_spec(spec: FunctionSpec, app_name: str, before: str, after: str) -> FunctionSpec:
    """A function's spec as of an app of another environment, its volumes included."""
    volumes = tuple(
        dataclasses.replace(one, environment=after) if one.environment == before else one
        for one in spec.volumes
    )
    return dataclasses.replace(spec, app_name=app_name, volumes=volumes)


def _named(fields: Mapping[bytes, bytes]) -> list[pb.NamedSecret]:
    return [pb.NamedSecret(**one) for one in json.loads(fields.get(b"named", b"[]"))]


def _functions_of(app: Mapping[bytes, bytes]) -> dict[str, str]:
    """Id -> digest of the source, "" without one, of an app's functions; ``app``: its hash."""
    return {
        name[2:].decode(): digest.decode() for name, digest in app.items() if name.startswith(b"f:")
    }
