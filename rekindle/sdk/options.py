"""What a decorator may be told, checked at decoration time. Standard library only."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rekindle.exception import InvalidError
from rekindle.sdk import checks
from rekindle.sdk.resources import Retries, Secret, check_secrets, retry_spec

MAX_TIMEOUT_S = 24 * 3600

#: Keywords that such decorators have elsewhere and that rekindle will have.
_LATER = frozenset(
    {
        "image",
        "schedule",
        "volumes",
        "network_file_systems",
        "ephemeral_disk",
        "proxy",
        "is_generator",
        "cloud",
        "region",
        "nonpreemptible",
        "block_network",
        "experimental_options",
        "mounts",
        "tags",
    }
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """The checked options of one function or class. Times in seconds, memory in MiB."""

    timeout: float = 300
    startup_timeout: float | None = None
    min_containers: int = 0
    max_containers: int | None = None
    buffer_containers: int = 0
    scaledown_window: float = 60
    single_use_containers: bool = False
    enable_memory_snapshot: bool = False
    retries: int | Retries | None = None
    cpu: float | None = None
    cpu_limit: float | None = None
    memory: int | None = None
    memory_limit: int | None = None
    env: dict[str, str]
    secrets: tuple[Secret, ...] = ()
    include_source: bool = True
    serialized: bool = False


def check(
    *,
    timeout: Any,
    startup_timeout: Any,
    min_containers: Any,
    max_containers: Any,
    buffer_containers: Any,
    scaledown_window: Any,
    single_use_containers: Any,
    enable_memory_snapshot: Any,
    retries: Any,
    cpu: Any,
    memory: Any,
    gpu: Any,
    env: Any,
    secrets: Any,
    include_source: Any,
    serialized: Any,
) -> Options:
    """The options, or InvalidError with parameter, value and allowed range."""
    checks.number("timeout", timeout, 1, MAX_TIMEOUT_S, "of seconds")
    if startup_timeout is not None:
        checks.number("startup_timeout", startup_timeout, 1, MAX_TIMEOUT_S, "of seconds")
    for name, value in (
        ("min_containers", min_containers),
        ("buffer_containers", buffer_containers),
    ):
        if value is not None:
            checks.number(name, value, 0, None, whole=True)
    if max_containers is not None:
        checks.number("max_containers", max_containers, 1, None, whole=True)
        if (min_containers or 0) > max_containers:
            raise InvalidError(
                f"min_containers={min_containers} must not be more than "
                f"max_containers={max_containers}"
            )
    if scaledown_window is not None:
        checks.number("scaledown_window", scaledown_window, 2, 3600, "of seconds")
    checks.flag("single_use_containers", single_use_containers)
    checks.flag("enable_memory_snapshot", enable_memory_snapshot)
    retry_spec(retries)
    cpu, cpu_limit = checks.request("cpu", cpu, 0.001, 1024, "of cores")
    memory, memory_limit = checks.request("memory", memory, 1, None, "of MiB", whole=True)
    if gpu is not None:
        raise InvalidError(f"gpu={gpu!r}: GPUs are not supported yet; leave it out")
    if include_source is not None:
        checks.flag("include_source", include_source)
    checks.flag("serialized", serialized)
    return Options(
        timeout=timeout,
        startup_timeout=startup_timeout,
        min_containers=min_containers or 0,
        max_containers=max_containers,
        buffer_containers=buffer_containers or 0,
        scaledown_window=60 if scaledown_window is None else scaledown_window,
        single_use_containers=single_use_containers,
        enable_memory_snapshot=enable_memory_snapshot,
        retries=retries,
        cpu=cpu,
        cpu_limit=cpu_limit,
        memory=memory,
        memory_limit=memory_limit,
        env=checks.environment("env", env or {}),
        secrets=check_secrets("secrets", secrets),
        include_source=include_source if include_source is not None else True,
        serialized=serialized,
    )


def refuse_unknown(where: str, decorator: Callable[..., Any], unknown: dict[str, Any]) -> None:
    """Refuse keywords that ``decorator`` does not have; see ``checks.unknown_keywords``."""
    known = [
        name
        for name, parameter in inspect.signature(decorator).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    ]
    checks.unknown_keywords(where, unknown, known, _LATER)
