"""``Dict.objects`` and ``Queue.objects``: those that have names, made, listed and deleted.

Standard library only.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Generic, TypeVar

from rekindle.exception import InvalidError, NotFoundError
from rekindle.sdk import checks
from rekindle.sdk.environments import environment_of
from rekindle.sdk.newest import newest
from rekindle.sdk.objects.handle import Handle, who
from rekindle.sdk.objects.link import Link, link_of
from rekindle.sdk.objects.steps import Steps, both
from rekindle.sdk.user_frames import trims
from rekindle.wire.object_frames import OPTION, Op, Reply, Request

H = TypeVar("H", bound=Handle)


@trims
class Objects(Generic[H]):
    """``Dict.objects``, ``Queue.objects``: those that have names."""

    def __init__(self, cls: type[H]) -> None:
        self._cls = cls

    def _link(self) -> Link:
        return link_of("")

    def _known_id(self, link: Link) -> bytes:
        return b"-"  # what it asks names its own

    def _resolving(self) -> Request:
        raise InvalidError("there is nothing to resolve")

    def _resolved(self, link: Link, reply: Reply) -> bytes:
        raise InvalidError("there is nothing to resolve")

    def _gone(self, error: NotFoundError) -> NotFoundError:
        return error

    def _about(self, environment: str, name: str = "") -> bytes:
        asked = {"kind": self._cls._kind, "environment": environment, "name": name, "by": who()}
        return json.dumps(asked).encode()

    @both
    def create(
        self, name: str, *, allow_existing: bool = False, environment_name: str | None = None
    ) -> Steps[None]:
        """``create(name, *, allow_existing=False)``: make one. Raises AlreadyExistsError."""
        checks.name("the name", name)
        body = self._about(environment_of(environment_name), name)
        yield Request(Op.CREATE, body, flags=OPTION if allow_existing else 0)

    @both
    def list(
        self,
        *,
        max_objects: int | None = None,
        created_before: datetime | str | None = None,
        environment_name: str | None = None,
    ) -> Steps[list[H]]:
        """``list(*, max_objects=None, created_before=None)``: handles, the newest first."""
        environment = environment_of(environment_name)
        reply = yield Request(Op.LIST, self._about(environment))
        found = newest(
            *(json.loads(reply.body), lambda one: one["created_ns"] / 1e9),
            *(max_objects, created_before),
        )
        return [self._cls._make(name=one["name"], environment=environment) for one in found]

    @both
    def delete(
        self, name: str, *, allow_missing: bool = False, environment_name: str | None = None
    ) -> Steps[None]:
        """``delete(name, *, allow_missing=False)``: and all that is in it. Raises NotFoundError.

        Handles to it raise NotFoundError from then on, also when one of that name is made again.
        """
        checks.name("the name", name)
        body = self._about(environment_of(environment_name), name)
        yield Request(Op.DELETE, body, flags=OPTION if allow_missing else 0)
