"""Retries and Secret: what a function is given besides its code. Standard library only."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rekindle.exception import InvalidError
from rekindle.sdk import checks
from rekindle.wire.spec import RetrySpec

if TYPE_CHECKING:
    from pathlib import Path


#: No retry is sooner.
_MIN_DELAY_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Retries:
    """How a failed input runs again, by the controller.

    ``max_retries``: 0 to 10. Retry *n* starts ``initial_delay * backoff_coefficient ** (n - 1)``
    seconds after the failure, at least 1 and at most ``max_delay``; coefficient 1 to 10, initial
    delay 0 to 60, longest delay 1 to 60 seconds. Exceptions and timeouts are retried,
    cancellation is not. Raises InvalidError for values outside.
    """

    max_retries: int
    backoff_coefficient: float = 2.0
    initial_delay: float = 1.0
    max_delay: float = 60.0

    def __post_init__(self) -> None:
        checks.number("Retries(max_retries)", self.max_retries, 0, 10, whole=True)
        checks.number("Retries(backoff_coefficient)", self.backoff_coefficient, 1, 10)
        checks.number("Retries(initial_delay)", self.initial_delay, 0, 60, "of seconds")
        checks.number("Retries(max_delay)", self.max_delay, 1, 60, "of seconds")


def retry_spec(retries: int | Retries | None) -> RetrySpec | None:
    """What travels: a plain number means that many retries, 1 second apart."""
    if retries is None:
        return None
    if isinstance(retries, Retries):
        return RetrySpec(
            max_retries=retries.max_retries,
            backoff_coefficient=float(retries.backoff_coefficient),
            initial_delay_s=float(retries.initial_delay),
            max_delay_s=float(retries.max_delay),
            min_delay_s=_MIN_DELAY_S,
        )
    if isinstance(retries, bool) or not isinstance(retries, int):
        raise InvalidError(f"retries={retries!r} must be a whole number or rekindle.Retries(...)")
    checks.number("retries", retries, 0, 10, whole=True)
    return RetrySpec(max_retries=retries, initial_delay_s=_MIN_DELAY_S)


class Secret:
    """Environment variables for a function's runners. They are in no log, nor in a snapshot
    unless ``in_snapshot=True`` allows it.

    Make one with ``from_dict``, ``from_local_environ`` or ``from_dotenv``. Where several secrets
    of a function name the same variable, the later one counts. A function without snapshots has
    them while its module is imported. One with snapshots has not, unless ``in_snapshot=True``
    allows that the values are in the snapshot's memory, on the node's disk; other values are
    another snapshot then. Inside a runner a Secret is empty.
    """

    __slots__ = ("_in_snapshot", "_values")

    def __init__(self, values: Mapping[str, str], *, in_snapshot: bool = False) -> None:
        from rekindle.execution.context import is_local

        checks.flag("Secret(in_snapshot)", in_snapshot)
        # A runner has been given them by then; what its template kept would be in its snapshot.
        self._values = dict(values) if is_local() else {}
        self._in_snapshot = in_snapshot

    def __repr__(self) -> str:
        return f"Secret({', '.join(sorted(self._values))})"  # never the values

    @classmethod
    def from_dict(
        cls, env_dict: Mapping[str, str | None] | None = None, *, in_snapshot: bool = False
    ) -> Secret:
        """From names and values; those that are None are left out. Raises InvalidError."""
        values = checks.environment("Secret.from_dict", dict(env_dict or {}))
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

        ``path`` is the file, or a directory to search upwards from for ``filename`` (the working
        directory where it is None). Raises InvalidError where there is none or a line is wrong.
        Not read inside a runner.
        """
        from rekindle.execution.context import is_local
        from rekindle.sdk import dotenv

        if not is_local():
            return cls({})
        values = checks.environment("Secret.from_dotenv", dotenv.load(path, filename))
        return cls(values, in_snapshot=in_snapshot)


def merged(secrets: Sequence[Secret]) -> dict[str, str]:
    """All variables of the secrets; later ones count."""
    out: dict[str, str] = {}
    for secret in secrets:
        out.update(secret._values)
    return out


def named_in_snapshot(secrets: Sequence[Secret]) -> tuple[str, ...]:
    """Variables whose values may be in a snapshot: those whose last secret says so."""
    said: dict[str, bool] = {}
    for secret in secrets:
        said.update(dict.fromkeys(secret._values, secret._in_snapshot))
    return tuple(sorted(name for name, may in said.items() if may))


def check_secrets(parameter: str, secrets: object) -> tuple[Secret, ...]:
    """A sequence of Secret, as a tuple. Raises InvalidError."""
    if isinstance(secrets, (list, tuple)) and all(isinstance(s, Secret) for s in secrets):
        return tuple(secrets)
    raise InvalidError(
        f"{parameter}={secrets!r} must be a list of rekindle.Secret, "
        f"for example [rekindle.Secret.from_local_environ(['TOKEN'])]"
    )
