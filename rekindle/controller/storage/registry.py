"""Apps and functions on Redis: what they are, which apps are open, and their queues.

An app that is closed is forgotten, or put away as a version of a deployed app: what becomes of such
a one is in version_store.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from rekindle.controller.objects.vault import Vault
from rekindle.controller.storage import keys, parsed
from rekindle.controller.storage.call_store import CALLS_OF
from rekindle.controller.storage.damage import WRONG_TYPE, Damage, Record, text
from rekindle.controller.storage.records import FunctionOwner, StoredApp, StoredVariant
from rekindle.controller.storage.redis_link import FOREVER, Command, RedisLink, RefusedError
from rekindle.exception import InternalFailure, NotFoundError, ServiceError, VersionError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.messages import as_dict, spec_message
from rekindle.wire.spec import FunctionSpec
from rekindle.wire.version import PROTOCOL, __version__

_NEW_FUNCTION = (
    "start from a backup of before (docs/operating.md), or run or deploy its app again; what was "
    "submitted to this function is not run"
)
#: In the error of a queue that is to be made.
_THERE_ALREADY = "BUSYGROUP"
#: What of a function's keys tells of its queue.
_QUEUE_KEYS = (keys.queue, keys.backlog, keys.undone, keys.changes)


@dataclass(eq=False)
class Registry:
    """Apps and functions on Redis."""

    _link: RedisLink
    _instance: str
    _vault: Vault
    damage: Damage

    async def note_protocol(self) -> None:
        """Note whose form what is kept has from now on. Raises VersionError for a newer one's."""
        key = keys.protocol(self._instance)
        raw = await self._link.command("GET", key)
        found = self.damage.read(Record("protocol", self._instance, key), lambda: int(raw or 0))
        if found is None:
            return
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
        key, digest = keys.app(app.app_id), app.source.digest
        commands: list[Command] = [
            *_new_queues(functions),
            (
                *("HSET", key, "name", app.name, "ephemeral", int(app.ephemeral), "closed", 0),
                *("version", version, "detached", int(app.detached)),
            ),
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
        commands.append(("SADD", keys.apps(self._instance), app.app_id))
        await self._link.commands(commands, harmless=_THERE_ALREADY, durable=True, atomic=True)
        self.damage.forget("app", app.app_id)
        for function_id in functions:
            self.damage.forget("function", function_id)

    def _sealed(self, function_id: str, definition: pb.FunctionDef) -> bytes:
        values = dict(definition.secrets)
        return self._vault.seal(f"the secrets of {function_id}", values) if values else b""

    async def load_apps(self) -> list[StoredApp]:
        """The open apps of this instance."""
        raw_ids = await self._link.command(
            "SMEMBERS", keys.apps(self._instance), patience_s=FOREVER
        )
        apps = []
        for app_id in sorted(map(text, raw_ids)):
            try:
                app = await self.load_app(app_id, is_open=True)
            except InternalFailure:
                continue  # it is noted
            if app is not None:
                apps.append(app)
        return apps

    async def load_app(self, app_id: str, *, is_open: bool = False) -> StoredApp | None:
        """An app, also one that was put away; None where nothing is known of it.

        Functions that cannot be read are left out, and noted; so are those that are missing of an
        app that ``is_open``: of another they are not kept any more. Raises InternalFailure for an
        app that cannot be read.
        """
        record = Record("app", app_id, keys.app(app_id))
        fields = await self._fields(record)
        if not fields or not (is_open or b"name" in fields):
            return None
        app = self.damage.required(record, partial(parsed.app_of, app_id, fields))
        ids = list(parsed.functions_of(fields))
        replies = await self._link.commands(
            [("HMGET", keys.function(one), "name", "spec") for one in ids],
            patience_s=FOREVER,
            harmless=WRONG_TYPE,
        )
        for function_id, reply in zip(ids, replies, strict=True):
            if not is_open and isinstance(reply, list) and None in reply:
                continue
            of = self._function(function_id, app, reply)
            if (spec := self.damage.read(of, partial(parsed.function_of, reply))) is not None:
                app.functions[function_id] = spec
        return app

    def _function(self, function_id: str, app: StoredApp, reply: object) -> Record:
        named = isinstance(reply, list) and reply[0] is not None
        name = text(reply[0]) if named and isinstance(reply, list) else ""
        return Record(
            *("function", function_id, keys.function(function_id)),
            app=app.app_id,
            label=f"{app.name}.{name}" if name else "",
            remedy=_NEW_FUNCTION,
        )

    async def _fields(self, record: Record) -> dict[bytes, bytes]:
        """A hash. Raises InternalFailure where it is none."""
        try:
            found: dict[bytes, bytes] = await self._link.command(
                "HGETALL", record.key, patience_s=FOREVER
            )
        except RefusedError as error:
            if WRONG_TYPE not in str(error):
                raise
            raise self.damage.note(record, error).error() from error
        return found

    async def load_code(
        self, function_id: str, *, own: bool = False
    ) -> pb.FetchFunctionReply | None:
        """Code, secrets and source of a function; None when it is not there.

        ``own``: what it was registered with, also where it runs another one's (``run_code_of``).
        """
        fields = await self._fields(function_record(function_id))
        if b"app" not in fields:
            return None
        app_id, content_of = text(fields[b"app"]), function_id
        if b"code_from" in fields and not own:
            newer = await self._fields(function_record(text(fields[b"code_from"])))
            if newer:
                content_of, fields = text(fields[b"code_from"]), newer
        source: bytes | None = b""
        if digest := text(fields.get(b"source", b"")):
            source_of = text(fields.get(b"app", b""))
            source = await self._link.command("GET", keys.source(source_of, digest))

        def parse() -> pb.FetchFunctionReply:
            if source is None:
                raise ValueError("the modules of its program are missing")
            return pb.FetchFunctionReply(
                app_id=app_id,
                function=pb.FunctionDef(
                    spec=spec_message(parsed.spec_of(fields[b"spec"])),
                    code=fields[b"code"],
                    named_secrets=parsed.named_of(fields),
                ),
                source=pb.SourceBundle(digest=digest, data=source),
            )

        reply = self.damage.required(function_record(content_of), parse)
        reply.function.secrets.update(self._opened(content_of, fields))
        return reply

    async def load_secrets(self, function_id: str) -> tuple[dict[str, str], list[pb.NamedSecret]]:
        """What a function declares of secrets: values, and those kept by name.

        Raises NotFoundError where that was forgotten.
        """
        names = (b"secrets", b"named", b"code_from")
        values = await self._link.command("HMGET", keys.function(function_id), *names)
        if values[-1]:  # one step, as of its code: it does not run what that one may run by now
            function_id = text(values[-1])
            values = await self._link.command("HMGET", keys.function(function_id), *names)
        if values[0] is None:
            raise NotFoundError(f"the secrets of {function_id!r} are not kept any more")
        fields = {name: value for name, value in zip(names, values, strict=True) if value}
        named = self.damage.required(function_record(function_id), partial(parsed.named_of, fields))
        return self._opened(function_id, fields), named

    async def function_ids(self, app_id: str) -> list[str]:
        """Of an app, also of one that was put away; variants are among them."""
        record = Record("app", app_id, keys.app(app_id))
        fields = await self._fields(record)
        return list(self.damage.required(record, partial(parsed.functions_of, fields)))

    async def owner_of(self, function_id: str) -> FunctionOwner | None:
        """Whose a function is; None where it is not known (any more)."""
        app_id, name, variant = await self._link.command(
            "HMGET", keys.function(function_id), "app", "name", "variant"
        )
        if app_id is None:
            return None
        app, version = await self._link.command("HMGET", keys.app(text(app_id)), "name", "version")
        if app is None:
            return None

        def parse() -> FunctionOwner:
            return FunctionOwner(
                *(app_id.decode(), app.decode(), name.decode(), int(version or 0)),
                variant=parsed.variant_of(variant) if variant is not None else None,
            )

        return self.damage.required(variant_record(function_id), parse)

    async def seal_again(self, function_ids: Iterable[str]) -> int:
        """Seal the values that functions declare with the newest key; how many functions.

        Raises ServiceError, for values that do not open once all others are sealed.
        """
        count, failed = 0, None
        for function_id in function_ids:
            key = keys.function(function_id)
            sealed = await self._link.command("HGET", key, "secrets")
            if sealed:
                what = f"the secrets of {function_id}"
                try:
                    again = self._vault.seal(what, self._vault.open(what, sealed))
                except ServiceError as error:
                    failed = error
                    continue
                # Not where it was forgotten meanwhile: that would leave a key for ever.
                (done,) = await self._link.script("swap", [key], ["secrets", sealed, again])
                count += done
        if failed is not None:
            raise failed
        return count

    def _opened(self, function_id: str, fields: Mapping[bytes, bytes]) -> dict[str, str]:
        sealed = fields.get(b"secrets", b"")
        return self._vault.open(f"the secrets of {function_id}", sealed) if sealed else {}

    # ---- closed apps

    async def mark_closing(self, app_id: str) -> None:
        """From now on the app takes no inputs, also after a restart."""
        key = keys.app(app_id)
        await self._link.command("HSET", key, "closed", 1, patience_s=FOREVER, durable=True)

    async def forget_app(self, app_id: str, function_ids: Sequence[str], log_ttl_s: int) -> None:
        """Remove a closed app with its queues; results and log lines stay for their time."""
        fields: dict[bytes, bytes] = await self._link.command(
            "HGETALL", keys.app(app_id), patience_s=FOREVER
        )
        digests = {text(raw) for name, raw in fields.items() if name.startswith(b"f:")}
        damaged = [one.record.name for one in self.damage.of("function", app=app_id)]
        commands: list[Command] = [
            ("UNLINK", key(function_id))
            for function_id in (*function_ids, *damaged)
            for key in (*_QUEUE_KEYS, keys.function, keys.once, keys.pool)
        ]
        commands += [("UNLINK", keys.source(app_id, digest)) for digest in digests if digest]
        commands += [
            ("EXPIRE", keys.logs(app_id), log_ttl_s),
            ("UNLINK", keys.app(app_id)),
            ("SREM", keys.apps(self._instance), app_id),
        ]
        await self._link.commands(commands, patience_s=FOREVER, atomic=True)
        self._forget_damage(app_id, function_ids)

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
        await self._link.commands(commands, patience_s=FOREVER, atomic=True)
        self._forget_damage(app_id, function_ids)  # who opens it again finds what is there yet

    def _forget_damage(self, app_id: str, function_ids: Sequence[str]) -> None:
        self.damage.forget_app(app_id)
        for function_id in function_ids:
            self.damage.forget(CALLS_OF, function_id)

    async def bring_back(self, app_id: str, function_ids: Sequence[str]) -> None:
        """The opposite of ``put_away``."""
        commands = _new_queues(function_ids)
        commands += [("PERSIST", keys.once(one)) for one in function_ids]
        commands += [
            ("PERSIST", keys.logs(app_id)),
            ("HSET", keys.app(app_id), "recreated", 1),  # who opens it means its own code
            ("SADD", keys.apps(self._instance), app_id),
        ]
        await self._link.commands(commands, harmless=_THERE_ALREADY, atomic=True)


def _new_queues(function_ids: Iterable[str]) -> list[Command]:
    """What makes them, where they are not there."""
    return [
        ("XGROUP", "CREATE", keys.queue(function_id), keys.GROUP, "0", "MKSTREAM")
        for function_id in function_ids
    ]


def function_record(function_id: str) -> Record:
    """What is kept of a function."""
    key = keys.function(function_id)
    return Record("function", function_id, key, remedy=_NEW_FUNCTION)


def variant_record(function_id: str) -> Record:
    """What is kept of what a variant was made from."""
    return Record("variant", function_id, keys.function(function_id), "variant")
