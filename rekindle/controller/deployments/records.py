"""A deployed app and its versions, as plain data, and what makes one version differ from another.

Knows nothing of Redis, agents and calls.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rekindle.controller.storage.typed import checked
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.known_fields import known_fields
from rekindle.wire.messages import spec_of

STRATEGIES = ("rolling", "recreate")
#: So many versions can be called and rolled back to, the present one included.
KEPT_VERSIONS = 10
#: So many are remembered for people.
_HISTORY = 100


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version of a deployed app: an app of the controller, with an id of its own."""

    version: int
    app_id: str
    at: float  # seconds since the epoch
    digest: str
    tag: str = ""
    strategy: str = "rolling"
    rolled_back_to: int = 0
    functions: dict[str, str] = field(default_factory=dict)  # name -> id
    schedules: dict[str, str] = field(default_factory=dict)  # name -> Schedule message, base64
    tags: dict[str, str] = field(default_factory=dict)
    kept: bool = True

    def schedule(self, name: str) -> pb.Schedule | None:
        """When a function runs by itself; None for one that does not."""
        raw = self.schedules.get(name)
        return pb.Schedule.FromString(base64.b64decode(raw)) if raw else None


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A deployed app: its versions, oldest first. The last one is the present one."""

    name: str
    versions: tuple[Version, ...]
    stopped: bool = False

    @property
    def present(self) -> Version:
        """The version that is called; of a stopped app, the one that was."""
        return self.versions[-1]

    def of_app(self, app_id: str) -> Version | None:
        """The version of an app id."""
        return next((one for one in self.versions if one.app_id == app_id), None)

    def is_version(self, app_id: str) -> bool:
        """Whether an app is one of its versions: of one that is none, nothing is kept."""
        return self.of_app(app_id) is not None

    def numbered(self, version: int) -> Version | None:
        """The version of a number."""
        return next((one for one in self.versions if one.version == version), None)

    def recreated_by(self, version: Version) -> Version | None:
        """The version that took a former one's place, and was to run what that one ran."""
        for former, following in itertools.pairwise(self.versions):
            if former is version and following.strategy == "recreate" and not self.stopped:
                return following
        return None

    def with_next(self, version: Version) -> tuple[Deployment, list[Version]]:
        """With one more, which is the present one; and those that are not kept from now on."""
        left = [*self.versions, version]
        dropped = [one for one in left[:-KEPT_VERSIONS] if one.kept]
        gone = {one.version for one in dropped}
        left = [dataclasses.replace(o, kept=False) if o.version in gone else o for o in left]
        made = Deployment(name=self.name, versions=tuple(left[-_HISTORY:]))
        return made, dropped

    def to_json(self) -> str:
        """As it is stored."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes, *, name: str) -> Deployment:
        """The inverse of ``to_json``; what is unknown here is left out.

        Raises one of ``damage.UNREADABLE`` for what is not that of the app ``name``.
        """
        raw: dict[str, Any] = json.loads(text)
        versions = tuple(Version(**known_fields(Version, one)) for one in raw["versions"])
        made: Deployment = checked(cls(name=raw["name"], versions=versions, stopped=raw["stopped"]))
        if made.name != name:
            raise ValueError(f"it is that of {made.name!r}")
        if not versions:
            raise ValueError("it has no version")
        for one in versions:
            if one.strategy not in STRATEGIES:
                raise ValueError(f"strategy is {one.strategy!r}")
            for function in one.schedules:
                one.schedule(function)
        return made

    def message(self, draining: list[str]) -> pb.DeployedApp:
        """As clients see it."""
        present = self.present
        return pb.DeployedApp(
            name=self.name,
            app_id="" if self.stopped else present.app_id,
            version=present.version,
            at=present.at,
            stopped=self.stopped,
            tags=present.tags,
            draining=draining,
            versions=[
                pb.AppVersion(
                    version=one.version,
                    app_id=one.app_id,
                    at=one.at,
                    tag=one.tag,
                    strategy=one.strategy,
                    functions=sorted(one.functions),
                    rolled_back_to=one.rolled_back_to,
                    kept=one.kept,
                )
                for one in reversed(self.versions)
            ],
        )


def schedules_of(request: pb.RegisterAppRequest) -> dict[str, str]:
    """The schedules of an app's functions, as a Version has them."""
    return {
        one.spec.name: base64.b64encode(one.schedule.SerializeToString()).decode()
        for one in request.functions
        if one.HasField("schedule")
    }


def digest_of(request: pb.RegisterAppRequest) -> str:
    """What two requests have in common that make the same version, but for the tags, which can be
    set later.

    Of code that travels by value the spec's digest counts: equal code need not have equal pickles.
    """
    content = {
        "schedules": schedules_of(request),
        "functions": {
            one.spec.name: [
                spec_of(one.spec).revision(),
                _digest(one.secrets),
                [
                    secret.SerializeToString(deterministic=True).hex()
                    for secret in one.named_secrets
                ],
            ]
            for one in request.functions
        },
    }
    return _digest(content)


def _digest(value: Mapping[str, Any]) -> str:
    text = json.dumps(dict(value), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
