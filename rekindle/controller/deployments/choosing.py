"""Which version of a deployed app is meant, and what is said where there is none."""

from __future__ import annotations

from rekindle.controller import names
from rekindle.controller.deployments.records import KEPT_VERSIONS, STRATEGIES, Deployment, Version
from rekindle.exception import ExecutionError, InvalidError, NotFoundError
from rekindle.wire import rekindle_pb2 as pb


def checked(strategy: str) -> str:
    """A strategy of a deployment. Raises InvalidError for what is none."""
    if strategy and strategy not in STRATEGIES:
        hint = names.nearest(strategy, STRATEGIES, "")
        raise InvalidError(f"no deployment strategy {strategy!r}; {hint}")
    return strategy or STRATEGIES[0]


def present(deployment: Deployment) -> Version:
    """The version that is called. Raises ExecutionError where the app is stopped."""
    if deployment.stopped:
        raise stopped(deployment)
    return deployment.present


def stopped(deployment: Deployment) -> ExecutionError:
    """The error of whoever calls an app that is stopped."""
    name = deployment.name
    return ExecutionError(
        f"the app {name!r} is stopped; deploy it again, or `rekindle app rollback {name}`"
    )


def kept(deployment: Deployment, number: int) -> Version:
    """A version by its number. Raises NotFoundError, InvalidError where it is not kept."""
    version = deployment.numbered(number)
    if version is None:
        raise NotFoundError(
            f"the app {deployment.name!r} has no version {number}; "
            f"the newest is {deployment.present.version}"
        )
    if not version.kept:
        raise InvalidError(
            f"version {number} of {deployment.name!r} is not kept any more: the newest "
            f"{KEPT_VERSIONS} are"
        )
    return version


def source(deployment: Deployment, request: pb.RollbackRequest) -> Version:
    """The version whose content is to be the next one's. Raises as ``kept``."""
    if request.version:
        return kept(deployment, request.version)
    present = deployment.present
    if request.same or deployment.stopped:
        return present
    number = (present.rolled_back_to or present.version) - 1  # not what a rollback has replaced
    if number < 1:
        raise InvalidError(f"the app {deployment.name!r} has no version before the present one")
    return kept(deployment, number)
