"""What a handle of a Dict or a Queue is: its name or id, an ephemeral one, and how it travels.

A handle asks the controller nothing until it is used. It travels as its name or id, so the other
side finds the same object in its own instance. Standard library only.
"""

from __future__ import annotations

import getpass
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, ClassVar, Never, TypeVar

from rekindle.exception import ConnectionError, InvalidError, NotFoundError
from rekindle.sdk import checks, loop_warning, user_frames
from rekindle.sdk.absent import SaysWhatToUse
from rekindle.sdk.argument_types import typed
from rekindle.sdk.block import Block
from rekindle.sdk.dual import class_block
from rekindle.sdk.environments import declared, environment_of, meant_by, travelling
from rekindle.sdk.objects.hold import Hold
from rekindle.sdk.objects.link import Link, link_of
from rekindle.sdk.objects.steps import Steps, both
from rekindle.sdk.running import arrived_from
from rekindle.sdk.user_frames import trims
from rekindle.wire.object_frames import OPTION, Op, Reply, Request

H = TypeVar("H", bound="Handle")


@dataclass(frozen=True)
class ObjectInfo:
    """What is known of a Dict or Queue."""

    #: None of an ephemeral one.
    name: str | None
    created_at: datetime
    created_by: str | None


@trims
class Handle(SaysWhatToUse):
    """A Dict or a Queue, by name or by id."""

    _kind: ClassVar[str]

    def __init__(self, *_given: Never, **_by_name: Never) -> None:
        raise InvalidError(
            f"use {type(self).__name__}.from_name(...), or `with {type(self).__name__}.ephemeral()`"
        )

    @classmethod
    def _make(
        cls: type[H],
        *,
        name: str = "",
        environment: str = "",
        create: bool = False,
        object_id: str = "",
        instance: str = "",
    ) -> H:
        made = cls.__new__(cls)
        made._name = name
        made._environment = environment
        made._create = create
        made._object_id = object_id
        made._instance = instance
        made._at = None
        made._id = object_id.encode()
        return made

    _name: str
    _environment: str
    _create: bool
    _object_id: str
    _instance: str
    #: Where it was found, and what it has as id there.
    _at: Link | None
    _id: bytes

    @classmethod
    @typed
    def from_name(
        cls: type[H],
        name: str,
        *,
        environment_name: str | None = None,
        create_if_missing: bool = False,
        client: None = None,
    ) -> H:
        """The one of that name; nothing is asked for until it is used.

        Then NotFoundError is raised where there is none, unless ``create_if_missing``.
        """
        checks.of_this_instance(f"{cls.__name__}.from_name", client=client)
        checks.name(f"the name of a {cls.__name__}", name)
        return cls._make(
            name=name, environment=declared(environment_name), create=create_if_missing
        )

    @classmethod
    def from_id(cls: type[H], object_id: str, client: None = None) -> H:
        """The one of that id; nothing is asked for until it is used."""
        checks.of_this_instance(f"{cls.__name__}.from_id", client=client)
        prefix = _PREFIXES[cls._kind]
        if not isinstance(object_id, str) or not object_id.startswith(prefix):
            raise InvalidError(
                f"{object_id!r} is not the id of a {cls.__name__}: these start with {prefix!r}"
            )
        return cls._make(object_id=object_id)

    @class_block
    def ephemeral(
        cls: type[Handle], client: None = None, *, environment_name: str | None = None
    ) -> Block[Any]:
        """``with X.ephemeral() as x:`` or ``async with``: one without a name, gone at the end.

        It goes, too, a few seconds after the program that made it.
        """
        checks.of_this_instance(f"{cls.__name__}.ephemeral", client=client)
        return Ephemeral(cls, environment_of(environment_name))

    # ---- what it is ----------------------------------------------------------------------------

    @property
    def name(self) -> str | None:
        """Its name; None of one that was made from an id, or is ephemeral."""
        return self._name or None

    @property
    def object_id(self) -> str:
        """Its id; asks for it where it has not been used yet. Raises NotFoundError."""
        if not self._id:
            self.hydrate()
        return self._id.decode()

    def __repr__(self) -> str:
        what = repr(self._name) if self._name else self._object_id
        return f"<{type(self).__name__} {what}>"

    def __reduce__(self) -> tuple[Any, ...]:
        environment = travelling(self._environment) if self._name else self._environment
        fields = (self._name, environment, self._create, self._object_id)
        at = self._at
        return _arrived, (type(self), *fields, str(at.instance) if at else self._instance)

    # ---- where it is (steps.Located) -----------------------------------------------------------

    def _link(self) -> Link:
        return link_of(self._instance)

    def _known_id(self, link: Link) -> bytes:
        return self._id if self._at is link or self._object_id else b""

    def _resolving(self) -> Request:
        asked: dict[str, object] = {"kind": self._kind, "name": self._name, "access": True}
        asked["environment"] = meant_by(self._environment)
        if self._create:
            body = json.dumps(asked | {"by": who()}).encode()
            return Request(Op.CREATE, body, flags=OPTION)
        return Request(Op.LOOKUP, json.dumps(asked).encode())

    def _resolved(self, link: Link, reply: Reply) -> bytes:
        self._id = json.loads(reply.body)["object_id"].encode()
        self._at = link
        return self._id

    def _gone(self, error: NotFoundError) -> NotFoundError:
        if not self._name:
            return error
        what, environment = type(self).__name__, meant_by(self._environment)
        return NotFoundError(
            f"the {what} {self._name!r} of the environment {environment!r} was deleted (it was "
            f"{self._id.decode()}); {what}.from_name finds another of that name"
        )

    @both
    def hydrate(self) -> Steps[Handle]:
        """``hydrate()``: find it now. Raises NotFoundError."""
        yield _INFO
        return self

    @both
    def info(self) -> Steps[ObjectInfo]:
        """``info()``: its name, when and by whom it was made. Raises NotFoundError."""
        reply = yield _INFO
        return _info(json.loads(reply.body))


#: About the object whose id the request carries.
_INFO = Request(Op.LOOKUP, b"{}")
_PREFIXES = {"dict": "di-", "queue": "qu-"}


def _info(record: dict[str, Any]) -> ObjectInfo:
    return ObjectInfo(
        record["name"] or None,
        datetime.fromtimestamp(record["created_ns"] / 1e9, UTC),
        record["created_by"] or None,
    )


def _arrived(
    cls: type[H], name: str, environment: str, create: bool, object_id: str, instance: str
) -> H:
    """A handle that has travelled: to another process of its instance, as a rule."""
    return cls._make(
        name=name,
        environment=environment,
        create=create,
        object_id=object_id,
        instance=arrived_from(instance),
    )


def who() -> str:
    """Who makes an object, as its record says."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an id without a name
        return str(os.getuid())


# ---- ephemeral ones ----------------------------------------------------------------------------


@trims
class Ephemeral(Block[H]):
    """The context manager, sync and async, that ``ephemeral()`` gives."""

    def __init__(self, cls: type[H], environment: str) -> None:
        self._cls = cls
        self._environment = environment
        self._made: H | None = None
        self._hold: Hold | None = None

    @user_frames.trims_itself
    def __enter__(self) -> H:
        try:
            if loop_warning.loop_runs():
                what = f"with {self._cls.__name__}.ephemeral():"
                loop_warning.warn_of_with(what, f"async {what}")
            self._made = made = self._make()
            return made
        except BaseException as error:
            if self._hold is not None:
                self._hold.end()
            user_frames.only(error)
            raise

    def _make(self) -> H:
        link = link_of("")
        asked: dict[str, object] = {"kind": self._cls._kind, "environment": self._environment}
        asked |= {"by": who(), "access": True}
        reply = link.ask(b"", Request(Op.CREATE, json.dumps(asked).encode()))
        object_id = json.loads(reply.body)["object_id"]
        self._hold = Hold(link, object_id)
        self._hold.begin()
        return self._cls._make(
            object_id=object_id, environment=self._environment, instance=str(link.instance)
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        made, hold = self._made, self._hold
        if made is None or hold is None or hold.owner != os.getpid():
            return
        hold.end()
        link, object_id = made._link(), made._object_id.encode()
        try:
            link.ask(object_id, Request(Op.DELETE, b"{}"))
        except (NotFoundError, ConnectionError):
            pass  # it goes with its instance, or has gone
        finally:
            link.let_go(object_id)
