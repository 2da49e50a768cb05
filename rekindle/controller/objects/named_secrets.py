"""Named secrets: kept sealed in Redis, given to agents for runners that start, to nobody else.

One hash has all of them: ``ENVIRONMENT/NAME`` -> a JSON record with names of variables and sealed
values. Nothing here logs or shows a value.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial

from rekindle.controller import names
from rekindle.controller.objects.vault import Vault
from rekindle.controller.storage import keys
from rekindle.controller.storage.damage import Damage, Record, text
from rekindle.controller.storage.redis_link import RedisLink
from rekindle.controller.storage.typed import checked
from rekindle.exception import AlreadyExistsError, InvalidError, NotFoundError, ServiceError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.environment import DEFAULT_ENVIRONMENT, variable_problem

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_KIND = "secret"
_ID = re.compile(r"se-[0-9A-Za-z]{8,32}")


@dataclass(slots=True)
class StoredSecret:
    """A record as it lies in Redis."""

    id: str
    name: str
    environment: str
    keys: list[str]
    created_ns: int
    updated_ns: int
    sealed: str = field(repr=False)

    @property
    def what(self) -> str:
        """What its values are sealed for."""
        return f"the secret {self.environment}/{self.name}"

    def info(self) -> pb.SecretInfo:
        """What clients are told."""
        told = {name: value for name, value in asdict(self).items() if name != "sealed"}
        return pb.SecretInfo(**told)


@dataclass(eq=False)
class NamedSecrets:
    """The secrets of the instances that share a Redis."""

    _link: RedisLink
    _vault: Vault
    _damage: Damage
    #: A change reads what is there first.
    _changing: asyncio.Lock = field(default_factory=asyncio.Lock)

    # ---- what clients ask for ------------------------------------------------------------------

    async def put(self, request: pb.PutSecretRequest) -> pb.SecretInfo:
        """Create, replace or add to a secret. Sent again, it changes nothing.

        Raises AlreadyExistsError, NotFoundError, InvalidError for names and values that cannot be.
        """
        values = dict(request.values)
        for name, value in values.items():
            if problem := variable_problem(name, value):
                raise InvalidError(problem)
        async with self._changing:
            if request.replace and not request.secret.id:
                await self._set_aside(_place(request.secret))
            found = await self._find(request.secret)
            if found is None and (request.merge or request.secret.id):
                raise await self._missing(request.secret)
            if found is not None and found.id != request.new_id:
                if request.keep:
                    return found.info()
                if not (request.replace or request.merge):
                    raise AlreadyExistsError(
                        f"the secret {found.name!r} is there already; change it with .update(), "
                        f"or replace it with `rekindle secret create --force`"
                    )
            if found is not None and request.merge:
                values = {**self._vault.open(found.what, found.sealed.encode()), **values}
            now_ns = time.time_ns()
            environment = request.secret.environment or DEFAULT_ENVIRONMENT
            made = StoredSecret(
                id=found.id if found else _checked_id(request.new_id),
                name=found.name if found else _checked("secret", request.secret.name),
                environment=found.environment if found else _checked("environment", environment),
                keys=sorted(values),
                created_ns=found.created_ns if found else now_ns,
                updated_ns=now_ns,
                sealed="",
            )
            made.sealed = self._vault.seal(made.what, values).decode()
            await self._save([made])
        return made.info()

    async def get(self, ref: pb.SecretRef) -> pb.SecretInfo:
        """What is known of one. Raises NotFoundError with the nearest names."""
        return (await self._there(ref)).info()

    async def listed(self, environment: str) -> list[pb.SecretInfo]:
        """Those of an environment, of all for "", by name."""
        found = await self._all()
        wanted = [one for one in found if environment in ("", one.environment)]
        wanted.sort(key=lambda one: (one.environment, one.name))
        return [one.info() for one in wanted]

    async def delete(self, request: pb.DeleteSecretRequest) -> bool:
        """Forget one; whether it was there. Raises NotFoundError unless it may be missing."""
        async with self._changing:
            if not request.secret.id and await self._set_aside(_place(request.secret)):
                return True
            found = await self._find(request.secret)
            if found is None:
                if request.allow_missing:
                    return False
                raise await self._missing(request.secret)
            place = _field(found.environment, found.name)
            await self._link.command("HDEL", keys.SECRETS, place, durable=True)
        return True

    async def rename_environment(self, name: str, new_name: str) -> None:
        """Have all of an environment lie in another one. Raises ServiceError."""
        async with self._changing:
            found = [one for one in await self._all() if one.environment == name]
            for one in found:
                values = self._vault.open(one.what, one.sealed.encode())
                one.environment = new_name
                one.sealed = self._vault.seal(one.what, values).decode()
            await self._save(found)
            await self._remove(name, found)

    async def forget_environment(self, name: str) -> None:
        """Forget all of an environment."""
        async with self._changing:
            found = [one for one in await self._all() if one.environment == name]
            await self._remove(name, found)

    async def _remove(self, environment: str, secrets: Iterable[StoredSecret]) -> None:
        places = [_field(environment, one.name) for one in secrets]
        if places:
            await self._link.command("HDEL", keys.SECRETS, *places, durable=True)

    async def seal_again(self) -> int:
        """Seal all of them with the newest key; how many.

        Raises ServiceError, for one that does not open once all others are sealed.
        """
        sealed, failed = 0, None
        async with self._changing:
            left: dict[bytes, bytes] = await self._link.command("HGETALL", keys.SECRETS)
            while left := {place: raw for place, raw in left.items() if self._read(place, raw)}:
                swaps: list[bytes | str] = []
                for place, raw in list(left.items()):
                    try:
                        swaps += (place, raw, self._again(raw))
                    except ServiceError as error:
                        failed = error
                        del left[place]
                done: list[int] = await self._link.script(
                    "swap", [keys.SECRETS], swaps, durable=True
                )
                sealed += sum(done)
                # Other controllers on this Redis have changed these meanwhile, or removed them.
                changed = [place for place, swapped in zip(left, done, strict=True) if not swapped]
                left = {}
                for place in changed:
                    if raw := await self._link.command("HGET", keys.SECRETS, place):
                        left[place] = raw
        if failed is not None:
            raise failed
        return sealed

    def _again(self, raw: bytes) -> str:
        one = StoredSecret(**json.loads(raw))
        values = self._vault.open(one.what, one.sealed.encode())
        one.sealed = self._vault.seal(one.what, values).decode()
        return json.dumps(asdict(one))

    # ---- what apps and agents need -------------------------------------------------------------

    async def check(self, wanted: Iterable[pb.NamedSecret]) -> None:
        """Refuse what a function cannot be given: NotFoundError; InvalidError for missing keys."""
        for one in wanted:
            found = await self._there(_ref(one))
            if missing := sorted(set(one.required_keys) - set(found.keys)):
                raise InvalidError(
                    f"the secret {found.name!r} lacks {', '.join(missing)}, which required_keys= "
                    f"asks for; it has {', '.join(found.keys) or 'no variables'}. Add them with "
                    f"`rekindle secret create --force` or Secret.update()"
                )

    async def keys_of(self, one: pb.NamedSecret) -> list[str]:
        """Names of the variables that a secret has now; none where it is gone."""
        found = await self._find(_ref(one))
        return found.keys if found is not None else []

    async def values(
        self, declared: Mapping[str, str], wanted: Iterable[pb.NamedSecret]
    ) -> dict[str, str]:
        """The variables of a function: those declared with their values, named ones over them.

        Raises NotFoundError for a secret that is gone, ServiceError for one that does not open.
        """
        out = dict(declared)
        for one in wanted:
            found = await self._there(_ref(one))
            opened = self._vault.open(found.what, found.sealed.encode())
            out |= {name: value for name, value in opened.items() if name not in one.kept}
        return out

    # ---- records -------------------------------------------------------------------------------

    async def _there(self, ref: pb.SecretRef) -> StoredSecret:
        found = await self._find(ref)
        if found is None:
            raise await self._missing(ref)
        return found

    async def _find(self, ref: pb.SecretRef) -> StoredSecret | None:
        """Raises InternalFailure for one that cannot be read, or that may be the one."""
        if ref.id:
            found = next((one for one in await self._all() if one.id == ref.id), None)
            if found is None:
                for damaged in self._damage.of(_KIND):
                    raise damaged.error()
            return found
        place = _place(ref)
        raw = await self._link.command("HGET", keys.SECRETS, place)
        if raw is None:
            return None
        return self._damage.required(_record(place.encode()), partial(_read, place, raw))

    async def _all(self) -> list[StoredSecret]:
        """Those that can be read."""
        found: dict[bytes, bytes] = await self._link.command("HGETALL", keys.SECRETS)
        read = (self._read(place, raw) for place, raw in found.items())
        return [one for one in read if one is not None]

    def _read(self, place: bytes, raw: bytes) -> StoredSecret | None:
        record = _record(place)
        return self._damage.read(record, partial(_read, record.name, raw))

    async def _set_aside(self, place: str) -> bool:
        """Have one that cannot be read be in the way no more; whether it was one."""
        raw = await self._link.command("HGET", keys.SECRETS, place)
        if raw is None or self._read(place.encode(), raw) is not None:
            return False
        await self._damage.set_aside(_record(place.encode()).id)
        return True

    async def _save(self, secrets: Iterable[StoredSecret]) -> None:
        changes = [
            ("HSET", keys.SECRETS, _field(one.environment, one.name), json.dumps(asdict(one)))
            for one in secrets
        ]
        if changes:
            await self._link.commands(changes, durable=True)

    async def _missing(self, ref: pb.SecretRef) -> NotFoundError:
        environment = ref.environment or DEFAULT_ENVIRONMENT
        known = [one.name for one in await self._all() if one.environment == environment]
        wanted = ref.id or ref.name
        hint = names.nearest(wanted, known, f"there is none in the environment {environment!r}")
        return NotFoundError(
            f"no secret {wanted!r} here; {hint}{'' if hint.endswith('?') else '.'} "
            f"`rekindle secret create {wanted} KEY=-` makes one"
        )


def _ref(one: pb.NamedSecret) -> pb.SecretRef:
    return pb.SecretRef(name=one.name, environment=one.environment, id=one.id)


def _place(ref: pb.SecretRef) -> str:
    return _field(ref.environment or DEFAULT_ENVIRONMENT, ref.name)


def _record(place: bytes) -> Record:
    return Record(_KIND, text(place), keys.SECRETS, place)


def _read(place: str, raw: bytes) -> StoredSecret:
    made: StoredSecret = checked(StoredSecret(**json.loads(raw)))
    if _field(made.environment, made.name) != place:
        raise ValueError(f"it is that of {made.environment}/{made.name}")
    return made


def _field(environment: str, name: str) -> str:
    return f"{environment}/{name}"


def _checked(what: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidError(
            f"the name of a {what} must be 1 to 64 characters out of letters, digits and . _ -, "
            f"not {name!r}"
        )
    return name


def _checked_id(made: str) -> str:
    if not _ID.fullmatch(made):
        raise InvalidError(f"{made!r} is not the id of a secret (se- and 8 to 32 characters)")
    return made
