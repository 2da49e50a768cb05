"""What is kept of versions, so that they can be deployed again: read, renamed, and let go."""

from __future__ import annotations

from dataclasses import dataclass

from rekindle.controller.core import Core
from rekindle.controller.deployments.function_finder import until_put_away
from rekindle.controller.deployments.records import Deployment, Version
from rekindle.controller.storage.registry import Registry
from rekindle.controller.storage.version_store import VersionStore
from rekindle.exception import ExecutionError
from rekindle.wire import rekindle_pb2 as pb


@dataclass(eq=False)
class Contents:
    """Of the versions of all deployed apps."""

    _core: Core
    _registry: Registry
    _versions: VersionStore

    async def read(self, name: str, source: Version, app_id: str) -> pb.RegisterAppRequest:
        """What was deployed as the version ``source`` of ``name``, to be deployed under ``app_id``.

        Raises ExecutionError where its code is gone.
        """
        wanted = pb.RegisterAppRequest(app_id=app_id, name=name, tags=source.tags)
        for function, function_id in source.functions.items():
            code = await self._registry.load_code(function_id, own=True)
            if code is None:
                raise ExecutionError(f"the code of {function} in version {source.version} is gone")
            definition = code.function
            if (schedule := source.schedule(function)) is not None:
                definition.schedule.CopyFrom(schedule)
            wanted.functions.append(definition)
            if code.source.digest:
                wanted.source.CopyFrom(code.source)
        return wanted

    async def rename(self, deployment: Deployment, new_name: str) -> None:
        """Have all versions that are kept be of an app of another environment."""
        for version in deployment.versions:
            if version.kept:
                await self._versions.rename(version.app_id, new_name)

    async def forget(self, version: Version) -> None:
        """Let a version go that is not kept any more, once it has ended."""
        while (app := self._core.state.apps.get(version.app_id)) is not None:
            await until_put_away(app)
        ttl_s = self._core.settings.result_ttl_s
        await self._versions.forget(version.app_id, ttl_s)

    async def forget_rest(self, version: Version) -> None:
        """The same where a controller was killed that was to."""
        if not await self._versions.is_forgotten(version.app_id):
            await self.forget(version)
