"""An app as its declarations know it: what is declared in it, and what runs or is deployed of it.

Does nothing: that is App's (sdk/app.py). Standard library only: templates load it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from rekindle.sdk.absent import SaysWhatToUse

if TYPE_CHECKING:
    from rekindle.sdk.connection.client import Client
    from rekindle.sdk.declaration import Declaration
    from rekindle.sdk.image_chain import Chain
    from rekindle.sdk.running import RunningApp
    from rekindle.sdk.secret import Secret
    from rekindle.sdk.volume import Volume
    from rekindle.sdk.volume_mounts import CloudBucketMount

#: The app whose code is being pickled, if any: its handles then carry code and no ids.
packing: ContextVar[AppState | None] = ContextVar("rekindle_packing", default=None)


class AppState(SaysWhatToUse):
    """What is declared in an app, and what runs of it."""

    def __init__(
        self,
        name: str | None,
        secrets: tuple[Secret, ...],
        include_source: bool,
        volumes: Mapping[str, Volume | CloudBucketMount] = MappingProxyType({}),
        tags: dict[str, str] | None = None,
        image: Chain | None = None,
    ) -> None:
        self.name = name
        self.image = image
        self.tags = dict(tags or {})
        self.secrets = secrets
        self.volumes = volumes
        self.include_source = include_source
        self.declarations: dict[str, Declaration] = {}
        #: What ``run()`` made, while it runs.
        self.running: RunningApp | None = None
        #: Where it was deployed from here, or looked up.
        self.deployed: DeployedHere | None = None
        #: Apps that have all of it (``App.include``).
        self.included_in: list[AppState] = []

    def runs_as(self) -> RunningApp | None:
        """What runs of it, by itself or as a part of another app."""
        if self.running is not None:
            return self.running
        return next((one.running for one in self.included_in if one.running is not None), None)

    def shares_a_whole_with(self, other: AppState | None) -> bool:
        """Whether both are parts of one app; True where it is not known of which the other is."""
        if other is None or other is self:
            return True
        return not {self, *self.included_in}.isdisjoint((other, *other.included_in))

    def whole(self) -> AppState:
        """The app as a part of which it runs or is deployed; itself where it is by itself."""
        for one in (self, *self.included_in):
            if one.running is not None or one.deployed is not None:
                return one
        return self

    def deployed_as(self) -> DeployedHere | None:
        """The same for what was deployed."""
        if self.deployed is not None:
            return self.deployed
        return next((one.deployed for one in self.included_in if one.deployed is not None), None)


@dataclass(frozen=True)
class DeployedHere:
    """A deployed app: its name, the instance, and the id that its version has or had."""

    name: str
    client: Client
    app_id: str
