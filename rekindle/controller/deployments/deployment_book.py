"""Which apps are deployed, and the versions of each: in memory, as it is in Redis.

Knows nothing of what of them is open, and how one version follows another.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from rekindle.controller import names
from rekindle.controller.deployments.records import Deployment
from rekindle.controller.storage.damage import Damage
from rekindle.controller.storage.deployment_store import DeploymentStore
from rekindle.controller.storage.redis_link import FOREVER
from rekindle.exception import NotFoundError

_KIND = "deployment"


@dataclass(eq=False)
class DeploymentBook:
    """The deployed apps of an instance."""

    _store: DeploymentStore
    _damage: Damage
    #: By name.
    known: dict[str, Deployment] = field(default_factory=dict)

    async def load(self) -> None:
        """What the controller before this one had."""
        for name, text in (await self._store.load()).items():
            record = self._store.record(name)
            read = partial(Deployment.from_json, text, name=record.name)
            if (deployment := self._damage.read(record, read)) is not None:
                self.known[deployment.name] = deployment

    # ---- asked

    def find(self, wanted: str) -> Deployment:
        """By a name or the id of one of its versions. Raises NotFoundError with the nearest."""
        if wanted in self.known:
            return self.known[wanted]
        if (deployment := self.of_version(wanted)) is not None:
            return deployment
        self.check_damage(wanted)
        hint = names.nearest(wanted, self.known, "no app is deployed here (`rekindle deploy`)")
        raise NotFoundError(f"no app {wanted!r} is deployed here; {hint}")

    def of_version(self, app_id: str, name: str = "") -> Deployment | None:
        """The app that has a version of this id. ``name``: what it is called, as far as is known.

        It is looked for there first: a restart asks of each version that is open.
        """
        named = self.known.get(name)
        if named is not None and named.is_version(app_id):
            return named
        return next((one for one in self.known.values() if one.is_version(app_id)), None)

    def is_damaged(self, name: str) -> bool:
        """Whether an app is deployed of which it cannot be read what its versions are."""
        return bool(self._damage.of(_KIND, name))

    def check_damage(self, name: str) -> None:
        """Raise InternalFailure for such an app."""
        self._damage.check(_KIND, name)

    def all(self) -> list[Deployment]:
        """All deployed apps, by name."""
        return [self.known[name] for name in sorted(self.known)]

    def kept_apps(self) -> list[str]:
        """The ids of all versions that are kept."""
        return [
            version.app_id
            for deployment in self.known.values()
            for version in deployment.versions
            if version.kept
        ]

    # ---- changed, in Redis first

    async def keep(self, deployment: Deployment, patience_s: float | None = FOREVER) -> None:
        """What an app is from now on.

        ``patience_s``: as of the link; what nothing has been done for yet need not wait for ever.
        """
        await self._store.save(deployment.name, deployment.to_json(), patience_s)
        self.known[deployment.name] = deployment

    async def rename(self, name: str, renamed: Deployment) -> None:
        """The same for an app that was called ``name``."""
        await self._store.rename(name, renamed.name, renamed.to_json())
        del self.known[name]
        self.known[renamed.name] = renamed

    async def forget(self, name: str) -> None:
        """There is no such app any more."""
        await self._store.forget(name)
        del self.known[name]
