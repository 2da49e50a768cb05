"""Environment: a name space of apps and objects, as something to make, list and delete.

Most programs only name one (``environment_name=``, sdk/environments.py). Standard library only
until it is used.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

from rekindle.exception import AlreadyExistsError, InvalidError, NotFoundError
from rekindle.sdk import checks, environments, running
from rekindle.sdk.absent import SaysWhatToUse
from rekindle.sdk.argument_types import typed
from rekindle.sdk.dual import dual, dual_of_itself
from rekindle.sdk.user_frames import trims
from rekindle.wire.environment import DEFAULT_ENVIRONMENT

if TYPE_CHECKING:
    from rekindle.sdk.calls.callers import Caller


class EnvironmentObjects:
    """``Environment.objects``: all that there are."""

    @dual
    async def create(
        self, caller: Caller, name: str, *, allow_existing: bool = False, client: None = None
    ) -> None:
        """``create(name, *, allow_existing=False)``: make an empty one.

        Raises AlreadyExistsError, and InvalidError for what can be no name.
        """
        checks.of_this_instance("Environment.objects.create", client=client)
        checks.name("the environment name", name)
        await _create(caller, name, allow_existing=allow_existing)

    @dual
    async def list(
        self, caller: Caller, *, max_objects: int | None = None, client: None = None
    ) -> list[Environment]:
        """``list(*, max_objects=None)``: those that have something in them, or were made empty."""
        checks.of_this_instance("Environment.objects.list", client=client)
        known, with_volumes = await _names(caller)
        return [Environment(name) for name in [*known, *with_volumes][:max_objects]]

    @dual
    async def delete(
        self, caller: Caller, name: str, *, allow_missing: bool = False, client: None = None
    ) -> None:
        """``delete(name, *, allow_missing=False)``: end and remove all that is in it, and itself.

        Raises NotFoundError, and InvalidError for the one that is always there.
        """
        checks.of_this_instance("Environment.objects.delete", client=client)
        if name == DEFAULT_ENVIRONMENT:
            raise InvalidError(f"the environment {name} is always there; it cannot be deleted")
        known, with_volumes = await _names(caller)
        if name not in known and name not in with_volumes:
            if not allow_missing:
                raise unknown(name, [*known, *with_volumes])
            return
        if name in known:  # first: what is ended there may have its volumes
            await _ask(caller, "DeleteEnvironment", name)
        await caller.in_thread(lambda: _delete_volumes(name))


@trims
class Environment(SaysWhatToUse):
    """A name space. ``Environment.from_name(name)``, ``Environment.objects``."""

    objects = EnvironmentObjects()

    def __init__(self, name: str, *, create: bool = False) -> None:
        self._name = environments.environment_of(name)
        self._create = create

    @classmethod
    @typed
    def from_name(
        cls, name: str, *, create_if_missing: bool = False, client: None = None
    ) -> Environment:
        """The one of that name; nothing is asked for until it is hydrated."""
        checks.of_this_instance("Environment.from_name", client=client)
        return cls(name, create=create_if_missing)

    @classmethod
    def from_context(cls, *, client: None = None) -> Environment:
        """The one that names without ``environment_name=`` lie in, here and now."""
        checks.of_this_instance("Environment.from_context", client=client)
        return cls(environments.environment_of(None))

    @property
    def name(self) -> str:
        """Its name; what ``environment_name=`` takes."""
        return self._name

    @dual_of_itself
    async def hydrate(self, caller: Caller, client: None = None) -> Self:
        """``hydrate()``: make sure that it is there; itself. Raises NotFoundError."""
        checks.of_this_instance("Environment.hydrate", client=client)
        known, with_volumes = await _names(caller)
        if self._name in known or self._name in with_volumes:
            return self
        if not self._create:
            raise unknown(self._name, [*known, *with_volumes])
        await _create(caller, self._name, allow_existing=True)
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Environment) and other._name == self._name

    def __hash__(self) -> int:
        return hash(self._name)

    def __repr__(self) -> str:
        return f"<rekindle.Environment {self._name!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Environment, (self._name,)


async def _names(caller: Caller) -> tuple[list[str], list[str]]:
    """Those that the controller knows, and those that have nothing but volumes, which it does not
    know of."""
    from rekindle.wire import rekindle_pb2 as pb

    client = running.client_of()
    request = client.request(
        "ListEnvironments", pb.ListEnvironmentsRequest(), pb.ListEnvironmentsReply
    )
    known = [one.name for one in (await caller.run(request)).environments]
    with_volumes = await caller.in_thread(_with_volumes)
    return known, sorted(with_volumes.difference(known))


def _with_volumes() -> set[str]:
    from rekindle.sdk import volume_waits
    from rekindle.volumes.registry import Registry

    with volume_waits.told():
        return set(Registry.default().environments())


def _delete_volumes(name: str) -> None:
    from rekindle.volumes.registry import Registry

    registry = Registry.default()
    for error in registry.damaged(name):  # it would be left behind
        raise error
    for record in registry.all(name):
        registry.delete(record)


async def _create(caller: Caller, name: str, *, allow_existing: bool) -> None:
    try:
        await _ask(caller, "CreateEnvironment", name)
    except AlreadyExistsError:  # perhaps since a moment ago
        if not allow_existing:
            raise


async def _ask(caller: Caller, method: str, name: str) -> None:
    from rekindle.wire import rekindle_pb2 as pb

    request = pb.EnvironmentRequest(name=name)
    await caller.run(running.client_of().request(method, request, pb.EnvironmentInfo))


def unknown(name: str, known: Iterable[str]) -> NotFoundError:
    """What is raised where there is none of that name. ``known``: those that there are."""
    near = checks.nearest(name, known) or ";"
    return NotFoundError(
        f"there is no environment {name!r}{near} `rekindle environment list` shows all"
    )
