"""The end of a deployed app for good: its versions, and what is kept by its name and theirs.

Only of one that is stopped: to end what runs is another decision. What it leaves is what has an end
by itself: results of its calls, whose handles anybody may hold, and whose they are.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from rekindle.controller.deployments.deployments import Deployments
from rekindle.controller.deployments.records import Deployment
from rekindle.controller.logs.appnames import AppNames
from rekindle.controller.pools.pool_service import PoolService
from rekindle.controller.queue.dead_letters import DeadLetters
from rekindle.controller.schedules.scheduler import Scheduler
from rekindle.exception import InvalidError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Deletion:
    """Removes apps."""

    _deployments: Deployments
    _schedules: Scheduler
    _letters: DeadLetters
    _app_names: AppNames
    _pools: PoolService

    async def delete(self, wanted: str) -> pb.DeletedApp:
        """Remove one that is stopped. Raises NotFoundError; InvalidError for one that is not."""
        deployment = self._deployments.book.find(wanted)
        if not deployment.stopped:
            raise InvalidError(_runs(deployment))
        return await self._deployments.forget(deployment.name, self._remove, stop=False)

    async def stop_and_delete(self, name: str) -> None:
        """End one, and remove it. Raises NotFoundError."""
        await self._deployments.forget(name, self._remove, stop=True)

    async def _remove(self, deployment: Deployment) -> pb.DeletedApp:
        """What is not the versions' own: those, and that there is such an app, go after this.

        So one that a controller did not end with is there to be deleted again.
        """
        if not deployment.stopped:  # deployed again meanwhile
            raise InvalidError(_runs(deployment))
        app_ids = [one.app_id for one in deployment.versions]
        letters = await self._letters.drop_of_apps(app_ids)
        schedules = await self._schedules.forget(deployment.name)
        await self._app_names.forget(app_ids)
        functions = {name for one in deployment.versions for name in one.functions}
        await self._pools.forget({f"{deployment.name}.{function}" for function in functions})
        log.info("app deleted", extra=kv(app=deployment.name, versions=len(app_ids)))
        return pb.DeletedApp(
            name=deployment.name,
            versions=len(app_ids),
            schedules=schedules,
            dead_letters=letters,
        )


def _runs(deployment: Deployment) -> str:
    name = deployment.name
    return (
        f"the app {name!r} is deployed (version {deployment.present.version}) and can "
        f"be called: `rekindle app stop {name}` ends it, then it can be deleted"
    )
