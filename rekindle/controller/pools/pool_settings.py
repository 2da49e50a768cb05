"""The settings of pools: what a function declares, and what was changed since it was registered.

Changes are kept in Redis, as a restart must not undo them; they end with the app that was running.
Asks no one to follow them: that is the scaler's.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from rekindle.controller import policies
from rekindle.controller.policies.policy import PoolSettings
from rekindle.controller.storage import keys
from rekindle.controller.storage.damage import Damage, Record, text
from rekindle.controller.storage.redis_link import RedisLink
from rekindle.controller.storage.typed import checked
from rekindle.exception import InvalidError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.messages import option_messages, option_values
from rekindle.wire.spec import FunctionSpec

#: In place of the digest of an instance's parameters: every instance.
EVERY = "*"
#: What the SDK accepts, too.
WINDOW_S = (2.0, 3600.0)
#: In place of a number of spares.
POLICY_DECIDES = -1
_KIND = "pool settings"


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What was set for a pool; None is as it was before."""

    min_containers: int | None = None
    max_containers: int | None = None  # 0: no limit
    buffer_containers: int | None = None
    spare_containers: int | None = None  # -1: the policy decides
    scaledown_window_s: float | None = None
    policy: str | None = None
    policy_options: Mapping[str, Any] | None = None

    def then(self, newer: Changes) -> Changes:
        """These, and newer ones over them. Options go with their policy."""
        mine, theirs = _set(self), _set(newer)
        if "policy" in theirs:
            mine.pop("policy_options", None)
        return Changes(**{**mine, **theirs})


def _set(changes: Changes) -> dict[str, Any]:
    found = {f.name: getattr(changes, f.name) for f in dataclasses.fields(changes)}
    return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class EffectiveSettings:
    """What holds for a pool."""

    settings: PoolSettings
    policy: str
    options: Mapping[str, Any]
    changed: Changes

    def report(self) -> pb.PoolSettings:
        """As ``rekindle pool`` shows it."""
        changed = _set(self.changed)
        if "policy_options" in changed:
            changed["policy_options"] = option_messages(changed["policy_options"])
        return pb.PoolSettings(
            min_containers=self.settings.min_containers,
            max_containers=self.settings.max_containers,
            buffer_containers=self.settings.buffer_containers,
            spare_containers=self.settings.spare_containers,
            scaledown_window=self.settings.scaledown_window_s,
            policy=self.policy,
            policy_options=option_messages(self.options),
            changed=pb.PoolChanges(**changed) if changed else None,
        )


def resolve(
    spec: FunctionSpec, every: Changes, own: Changes, default_policy: str
) -> EffectiveSettings:
    """Declared, then what was set for every instance, then what was set for this one."""
    changed = every.then(own)
    given = _set(changed)
    policy, options = given.pop("policy", default_policy), given.pop("policy_options", {})
    if "max_containers" in given:
        given["max_containers"] = given["max_containers"] or None
    if given.get("spare_containers") == POLICY_DECIDES:
        given["spare_containers"] = None
    declared = {f.name: getattr(spec, f.name) for f in dataclasses.fields(PoolSettings)}
    return EffectiveSettings(PoolSettings(**{**declared, **given}), policy, options, changed)


def changes_of(asked: pb.PoolChanges) -> Changes:
    """What a request sets. Raises InvalidError, naming the value and what is allowed."""
    given: dict[str, Any] = {}
    for name in ("min_containers", "max_containers", "buffer_containers", "spare_containers"):
        if asked.HasField(name):
            value = getattr(asked, name)
            least = POLICY_DECIDES if name == "spare_containers" else 0
            if value < least:
                raise InvalidError(f"{name}={value} must be {least} or more")
            given[name] = value
    if asked.HasField("scaledown_window_s"):
        seconds = asked.scaledown_window_s
        low, high = WINDOW_S
        if not low <= seconds <= high:
            raise InvalidError(
                f"scaledown_window={seconds:g} must be from {low:g} to {high:g} seconds"
            )
        given["scaledown_window_s"] = seconds
    if asked.HasField("policy"):
        options = option_values(asked.policy_options)
        policies.make(asked.policy, **options)  # names the nearest, or the bad option
        given |= {"policy": asked.policy, "policy_options": options}
    elif asked.policy_options:
        raise InvalidError("options of a policy need the policy: give --policy, too")
    return Changes(**given)


def check(settings: PoolSettings) -> None:
    """Raise InvalidError where the settings contradict each other."""
    most = settings.max_containers
    if most is not None and settings.min_containers > most:
        raise InvalidError(
            f"min_containers={settings.min_containers} must not be more than max_containers={most}"
        )


class SettingsBook:
    """Changes of all functions: function id -> digest, or EVERY -> what was set."""

    def __init__(self, link: RedisLink, default_policy: str, damage: Damage) -> None:
        self._link = link
        self._damage = damage
        self._of: dict[str, dict[str, Changes]] = {}
        self.default_policy = default_policy

    def effective(self, function_id: str, spec: FunctionSpec, key: str) -> EffectiveSettings:
        """What holds for a pool; ``key`` EVERY for instances that nothing was set for."""
        return self._resolved(self._of.get(function_id, {}), spec, key)

    def _resolved(
        self, found: Mapping[str, Changes], spec: FunctionSpec, key: str
    ) -> EffectiveSettings:
        own = found.get(key, Changes()) if key != EVERY else Changes()
        return resolve(spec, found.get(EVERY, Changes()), own, self.default_policy)

    async def change(
        self, function_id: str, spec: FunctionSpec, key: str, changes: Changes, *, reset: bool
    ) -> EffectiveSettings:
        """Set something. Raises InvalidError for what cannot be; nothing is changed then.

        Raises InternalFailure where what was set before cannot be read, unless that is dropped.
        """
        self._damage.check(_KIND, function_id)
        if not reset:
            self._damage.check(_KIND, _name(function_id, key))
        found = self._of.get(function_id, {})
        made = changes if reset else found.get(key, Changes()).then(changes)
        effective = self._resolved({**found, key: made}, spec, key)
        check(effective.settings)
        kept = json.dumps(_set(made))
        await self._link.command("HSET", keys.pool(function_id), key, kept, durable=True)
        self._of.setdefault(function_id, {})[key] = made
        self._damage.forget(_KIND, _name(function_id, key))
        return effective

    def has_own(self, function_id: str, key: str) -> bool:
        """Whether something was set for just this pool."""
        return key in self._of.get(function_id, {})

    async def load(self, function_id: str) -> None:
        """Read what was set before a restart; where that cannot be read, it is as declared."""
        where = keys.pool(function_id)
        whole = Record(_KIND, function_id, where)
        empty: dict[bytes, bytes] = {}
        raw = await self._damage.answer(whole, self._link.command("HGETALL", where), empty)
        for field, kept in raw.items():
            record = Record(_KIND, _name(function_id, text(field)), where, field)
            if (made := self._damage.read(record, partial(_read, kept))) is not None:
                self._of.setdefault(function_id, {})[text(field)] = made

    async def forget(self, function_id: str) -> None:
        """Drop the settings of a function whose app is closed."""
        for one in self._damage.of(_KIND):
            if one.record.key == keys.pool(function_id):
                self._damage.forget(_KIND, one.record.name)
        if self._of.pop(function_id, None) is not None:
            await self._link.command("UNLINK", keys.pool(function_id))


def _name(function_id: str, key: str) -> str:
    return f"{function_id}/{key}"


def _read(kept: bytes) -> Changes:
    made: Changes = checked(Changes(**json.loads(kept)))
    if made.policy is not None:
        policies.make(made.policy, **(made.policy_options or {}))
    return made
