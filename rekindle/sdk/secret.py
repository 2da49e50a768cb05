"""Secret: environment variables of runners that are in no snapshot, log or error.

Standard library only until one is asked for or changed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rekindle.exception import InvalidError
from rekindle.sdk import checks
from rekindle.sdk.absent import SaysWhatToUse
from rekindle.sdk.argument_types import typed
from rekindle.sdk.dual import dual
from rekindle.sdk.environments import declared, meant_by, travelling
from rekindle.sdk.user_frames import trims

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from rekindle.sdk.calls.callers import Caller
    from rekindle.sdk.secret_info import SecretInfo, SecretReference


class SecretObjects:
    """Named secrets of an instance: ``Secret.objects``."""

    @dual
    async def create(
        self: SecretObjects,
        caller: Caller,
        name: str,
        env_dict: Mapping[str, str | None],
        *,
        allow_existing: bool = False,
        overwrite: bool = False,
        environment_name: str | None = None,
    ) -> SecretInfo:
        """Keep variables under a name, encrypted.

        Raises AlreadyExistsError where there is one of that name, unless ``allow_existing`` leaves
        it as it is or ``overwrite`` replaces it.
        """
        from rekindle.sdk import secret_requests

        return await secret_requests.create(
            caller, name, env_dict, environment_name, keep=allow_existing, replace=overwrite
        )

    @dual
    async def list(
        self: SecretObjects,
        caller: Caller,
        *,
        max_objects: int | None = None,
        created_before: datetime | str | None = None,
        environment_name: str | None = None,
    ) -> list[Secret]:
        """Those of an environment, the newest first: their names, and more by ``info()``."""
        from rekindle.sdk import secret_requests
        from rekindle.sdk.newest import newest

        found = await secret_requests.listed(caller, environment_name)
        chosen = newest(found, lambda one: one.created_at.timestamp(), max_objects, created_before)
        return [_unpickled(one.name, one.environment, "") for one in chosen]

    @dual
    async def delete(
        self: SecretObjects,
        caller: Caller,
        name: str,
        *,
        allow_missing: bool = False,
        environment_name: str | None = None,
    ) -> None:
        """Forget one; runners that have its variables keep them. Raises NotFoundError."""
        from rekindle.sdk import secret_requests

        await secret_requests.delete(caller, name, environment_name, allow_missing)

    @dual
    async def rotate_key(self: SecretObjects, caller: Caller) -> str:
        """Seal all that is kept with a new key; the path of the key file."""
        from rekindle.sdk import secret_requests

        return (await secret_requests.rotate(caller)).key_file


@trims
class Secret(SaysWhatToUse):
    """Environment variables for a function's runners. They are in no log, nor in a snapshot
    unless ``in_snapshot=True`` allows it.

    ``from_name`` is one that the instance keeps (``rekindle secret create``); its values, as they
    are at that moment, go to each runner that starts. ``from_dict``, ``from_local_environ`` and
    ``from_dotenv`` take the values of this process. Where several secrets of a function name the
    same variable, the later one counts. A function without snapshots has them while its module is
    imported. One with snapshots has not, unless ``in_snapshot=True`` allows that the values are in
    the snapshot's memory, on the node's disk; other values are another snapshot then. Inside a
    runner a Secret has no values.
    """

    __slots__ = ("_environment", "_id", "_in_snapshot", "_name", "_required", "_values")

    objects = SecretObjects()

    def __init__(self, values: Mapping[str, str], *, in_snapshot: bool = False) -> None:
        from rekindle.execution.context import is_local

        checks.flag("Secret(in_snapshot)", in_snapshot)
        # A runner has been given them by then; what its template kept would be in its snapshot.
        self._values = dict(values) if is_local() else {}
        self._in_snapshot = in_snapshot
        self._name = self._environment = self._id = ""
        self._required: tuple[str, ...] = ()

    def __repr__(self) -> str:
        if self.is_named:
            return f"Secret({self._name or self._id})"
        return f"Secret({', '.join(sorted(self._values))})"  # never the values

    def __reduce__(self) -> tuple[object, ...]:
        # Code that mentions one is pickled: the values do not travel with it.
        environment = travelling(self._environment) if self._name else ""
        named = (self._name, environment, self._id, self._required)
        return _unpickled, (*named, self._in_snapshot)

    # ---- by name -------------------------------------------------------------------------------

    @classmethod
    @typed
    def from_name(
        cls,
        name: str,
        *,
        environment_name: str | None = None,
        required_keys: Sequence[str] = (),
        client: None = None,
    ) -> Secret:
        """One that the instance keeps under a name; looked up when an app that uses it is run.

        ``required_keys``: variables that it must have. Raises InvalidError for a bad name; running
        the app raises NotFoundError where there is none, InvalidError where one lacks a variable.
        """
        checks.of_this_instance("Secret.from_name", client=client)
        checks.name("the secret name", name)
        if isinstance(required_keys, str):
            raise InvalidError(
                f"Secret.from_name(required_keys={required_keys!r}): give a list of names"
            )
        return _unpickled(name, declared(environment_name), "", tuple(required_keys))

    @classmethod
    @typed
    def from_id(cls, object_id: str, client: None = None) -> Secret:
        """One by the id that ``info()`` and ``rekindle secret list`` show."""
        checks.of_this_instance("Secret.from_id", client=client)
        if not object_id.startswith("se-"):
            raise InvalidError(f"{object_id!r} is not the id of a secret (se-...)")
        return _unpickled("", "", object_id)

    @property
    def is_named(self) -> bool:
        """Whether the instance keeps it."""
        return bool(self._name or self._id)

    @property
    def name(self) -> str | None:
        """Its name; None for one that has none."""
        return self._name or None

    @dual
    async def update(self: Secret, caller: Caller, env_dict: Mapping[str, str | None]) -> None:
        """Change or add variables of a named secret. Runners that start from now on have them,
        those that run keep what they have. Raises InvalidError, NotFoundError.
        """
        from rekindle.sdk import secret_requests

        await secret_requests.update(caller, self._reference("update"), env_dict)

    @dual
    async def info(self: Secret, caller: Caller) -> SecretInfo:
        """What is known of a named secret. Raises NotFoundError."""
        from rekindle.sdk import secret_requests

        return await secret_requests.info(caller, self._reference("info"))

    def _reference(self, what: str) -> SecretReference:
        if not self.is_named:
            raise InvalidError(
                f"Secret.{what}() is for one that has a name; make one with "
                f"Secret.objects.create(name, values) and use Secret.from_name(name)"
            )
        from rekindle.sdk.secret_info import SecretReference

        return SecretReference(
            self._name, meant_by(self._environment) if self._name else "", self._id, self._required
        )

    # ---- with values ---------------------------------------------------------------------------

    @classmethod
    def from_dict(
        cls, env_dict: Mapping[str, str | None] | None = None, *, in_snapshot: bool = False
    ) -> Secret:
        """From names and values; those that are None are left out. Raises InvalidError."""
        values = checks.environment("Secret.from_dict", {} if env_dict is None else env_dict)
        return cls(values, in_snapshot=in_snapshot)

    @classmethod
    def from_local_environ(cls, env_keys: Sequence[str], *, in_snapshot: bool = False) -> Secret:
        """From variables of this process. Raises InvalidError, naming those that are not set.

        Not looked up inside a runner.
        """
        from rekindle.execution.context import is_local

        if isinstance(env_keys, str):
            raise InvalidError(
                f"Secret.from_local_environ({env_keys!r}): give a list of names, [{env_keys!r}]"
            )
        if not is_local():
            return cls({})
        missing = [key for key in env_keys if key not in os.environ]
        if missing:
            raise InvalidError(
                f"Secret.from_local_environ: not set in this process: {', '.join(missing)}; "
                f"export them before starting the program"
            )
        values = checks.environment("Secret", {key: os.environ[key] for key in env_keys})
        return cls(values, in_snapshot=in_snapshot)

    @classmethod
    def from_dotenv(
        cls,
        path: str | Path | None = None,
        *,
        filename: str = ".env",
        in_snapshot: bool = False,
    ) -> Secret:
        """From a file of ``NAME=value`` lines.

        ``path`` is the file; or a directory, or code (``__file__``), to search upwards from for
        ``filename``: the working directory where it is None. ``${NAME}`` is what stands above it
        in the file, else in this process's environment. Raises InvalidError where there is no
        file, a line is wrong or a ``${NAME}`` is set nowhere. Not read inside a runner.
        """
        from rekindle.execution.context import is_local
        from rekindle.sdk import dotenv

        if not is_local():
            return cls({})
        values = checks.environment("Secret.from_dotenv", dotenv.load(path, filename))
        return cls(values, in_snapshot=in_snapshot)


def _unpickled(
    name: str,
    environment: str,
    object_id: str,
    required: tuple[str, ...] = (),
    in_snapshot: bool = False,
) -> Secret:
    made = Secret({}, in_snapshot=in_snapshot)
    made._name, made._environment, made._id, made._required = name, environment, object_id, required
    return made


def merged(secrets: Sequence[Secret]) -> dict[str, str]:
    """All variables of the secrets that have values here; later ones count."""
    out: dict[str, str] = {}
    for secret in secrets:
        out.update(secret._values)
    return out


def references(secrets: Sequence[Secret]) -> list[SecretReference]:
    """Those that have names: they are put over ``merged``, in this order."""
    found: list[SecretReference] = []
    for at, secret in enumerate(secrets):
        if secret.is_named:
            kept = tuple(sorted(merged(secrets[at + 1 :])))
            environment = meant_by(secret._environment) if secret._name else ""
            named = (secret._name, environment, secret._id, secret._required)
            from rekindle.sdk.secret_info import SecretReference

            found.append(SecretReference(*named, kept))
    return found


def named_in_snapshot(secrets: Sequence[Secret]) -> tuple[str, ...]:
    """Variables whose values may be in a snapshot: those whose last secret says so."""
    said: dict[str, bool] = {}
    for secret in secrets:
        said.update(dict.fromkeys(secret._values, secret._in_snapshot))
    return tuple(sorted(name for name, may in said.items() if may))


def check_secrets(parameter: str, secrets: object) -> tuple[Secret, ...]:
    """A sequence of Secret, as a tuple; None is none. Raises InvalidError, which shows no value."""
    if secrets is None:
        return ()
    if isinstance(secrets, (list, tuple)) and all(isinstance(s, Secret) for s in secrets):
        return tuple(secrets)
    kind = type(secrets).__name__
    raise InvalidError(
        f"{parameter}= must be a list of rekindle.Secret, for example "
        f"[rekindle.Secret.from_name('my-secret')]; this is of type {kind}, or has something else "
        f"in it"
    )
