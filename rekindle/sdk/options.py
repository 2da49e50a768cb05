"""What a decorator may be given, checked at decoration time. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from rekindle.exception import InvalidError
from rekindle.sdk import checks
from rekindle.sdk.secret import Secret, check_secrets
from rekindle.wire.spec import FunctionSpec

if TYPE_CHECKING:
    from rekindle.sdk.images.chain import Chain
    from rekindle.sdk.resources import Retries
    from rekindle.sdk.schedules import Cron, Period
    from rekindle.sdk.volume import Volume
    from rekindle.sdk.volume_mounts import CloudBucketMount
    from rekindle.wire.gpus import GpuRequest
    from rekindle.wire.spec import RetrySpec

MAX_TIMEOUT_S = 24 * 3600
#: What a message has room for.
MOST_CONTAINERS = (1 << 31) - 1
_SIZES = ("min_containers", "max_containers", "buffer_containers")


class PoolOptions(TypedDict, total=False):
    """How many runners there are; None for what is to stay as it is."""

    min_containers: int | None
    max_containers: int | None
    buffer_containers: int | None
    spare_containers: int | None
    scaledown_window: float | None


class VariantOptions(PoolOptions, total=False):
    """What ``with_options`` may be given, but for ``min_containers``."""

    timeout: float
    startup_timeout: float | None
    single_use_containers: bool
    retries: int | Retries | None
    cpu: float | tuple[float, float] | None
    memory: int | tuple[int, int] | None
    gpu: str | Sequence[str] | None
    gpu_memory: int | None
    gpu_priority: int
    env: dict[str, str | None] | None
    secrets: Sequence[Secret] | None
    volumes: Mapping[str, Volume | CloudBucketMount] | None


class FunctionOptions(VariantOptions, total=False):
    """What ``@app.function`` and ``@app.cls`` may be given; see there."""

    enable_memory_snapshot: bool
    enable_gpu_snapshot: bool
    experimental_options: Mapping[str, Any] | None
    gpu_spares: int
    include_source: bool | None
    serialized: bool
    schedule: Cron | Period | None
    image: Chain | None


@dataclass(frozen=True, kw_only=True)
class Options:
    """The checked options of one function or class."""

    #: What travels of them; names, code and surroundings are added when the app is run.
    spec: FunctionSpec
    secrets: tuple[Secret, ...]
    volumes: Mapping[str, Volume | CloudBucketMount]
    include_source: bool
    serialized: bool
    #: When it runs by itself, once it is deployed.
    schedule: Cron | Period | None = None
    #: None: the app's.
    image: Chain | None = None


#: Of these, None is the same as the default.
_MAY_BE_NONE = {*PoolOptions.__annotations__, "startup_timeout", "include_source"}


def check(where: str, given: Mapping[str, Any]) -> Options:
    """The options that a decorator was given.

    Raises InvalidError with parameter, value and allowed range; TypeError with the nearest name for
    a keyword that does not exist.
    """
    checks.unknown_keywords(where, given, FunctionOptions.__annotations__)
    values: dict[str, Any] = {**given}
    for name in _MAY_BE_NONE:
        if name in values and values[name] is None:
            del values[name]
    for name in ("timeout", "startup_timeout"):
        if name in values:
            checks.number(name, values[name], 1, MAX_TIMEOUT_S, "of seconds")
    for name, least in (("max_containers", 1), ("spare_containers", 0)):
        if name in values:
            checks.number(name, values[name], least, None, whole=True)
    check_pool(values)
    for name in ("single_use_containers", "enable_memory_snapshot", "include_source", "serialized"):
        if name in values:
            checks.flag(name, values[name])
    gpu, gpu_priority = _gpu(given)
    cpu, cpu_limit = checks.request("cpu", given.get("cpu"), 0.001, 1024, "of cores")
    memory, memory_limit = checks.request(
        "memory", given.get("memory"), 1, None, "of MiB", whole=True
    )
    timeout_s = float(values.get("timeout", 300))
    spec = FunctionSpec(
        app_name="",
        name="",
        env=checks.environment("env", given.get("env") or {}),
        timeout_s=timeout_s,
        startup_timeout_s=float(values.get("startup_timeout", timeout_s)),
        min_containers=values.get("min_containers", 0),
        max_containers=values.get("max_containers"),
        buffer_containers=values.get("buffer_containers", 0),
        spare_containers=values.get("spare_containers"),
        scaledown_window_s=float(values.get("scaledown_window", 60)),
        single_use_containers=values.get("single_use_containers", False),
        enable_memory_snapshot=values.get("enable_memory_snapshot", False),
        enable_gpu_snapshot=_gpu_snapshot(given, gpu),
        retries=_retries(values.get("retries")),
        cpu=cpu and float(cpu),
        cpu_limit=cpu_limit and float(cpu_limit),
        memory_mib=memory,
        memory_limit_mib=memory_limit,
        gpu=gpu,
        gpu_priority=gpu_priority,
        gpu_spares=_gpu_spares(given, gpu),
    )
    return Options(
        spec=spec,
        secrets=check_secrets("secrets", given.get("secrets")),
        volumes=check_volumes(given.get("volumes")),
        include_source=values.get("include_source", True),
        serialized=values.get("serialized", False),
        schedule=_schedule(where, given.get("schedule")),
        image=check_image(given.get("image")),
    )


def check_image(given: Any) -> Chain | None:
    """The same, or None. Raises InvalidError."""
    if given is None:
        return None  # most functions: nothing is loaded for them
    from rekindle.sdk.images.chain import Chain

    if not isinstance(given, Chain):
        raise InvalidError(
            f"image={given!r} must be a rekindle.Image, as in "
            f"rekindle.Image.debian_slim().pip_install('numpy')"
        )
    return given


def check_volumes(given: Any) -> Mapping[str, Volume | CloudBucketMount]:
    """Volumes by their paths. Raises InvalidError."""
    if given is None or given == {}:
        return {}  # most functions: nothing is loaded for them
    from rekindle.sdk import volume_mounts

    return volume_mounts.check_volumes("volumes", given)


def _retries(given: Any) -> RetrySpec | None:
    if given is None:
        return None
    from rekindle.sdk import resources

    return resources.retry_spec(given)


def _schedule(where: str, given: Any) -> Cron | Period | None:
    if given is None:
        return None
    from rekindle.sdk import schedules

    return schedules.check(where, given)


def _gpu(given: Mapping[str, Any]) -> tuple[tuple[GpuRequest, ...], int]:
    """The GPUs that are asked for, and with what priority."""
    if not any(given.get(name) is not None for name in ("gpu", "gpu_memory", "gpu_priority")):
        return (), 0  # most functions: nothing is loaded for them
    from rekindle.gpu_restore import request

    wanted = request.parse(given.get("gpu"), given.get("gpu_memory"))
    return wanted, request.priority(given.get("gpu_priority", 0))


def _gpu_snapshot(given: Mapping[str, Any], gpu: tuple[GpuRequest, ...]) -> bool:
    """Whether GPU snapshots are asked for, in either spelling. Raises InvalidError."""
    name = "enable_gpu_snapshot"
    more = given.get("experimental_options")
    if more is not None and not isinstance(more, Mapping):
        raise InvalidError(f"experimental_options={more!r} must be a dict")
    if unknown := sorted(str(key) for key in more or () if key != name):
        raise InvalidError(
            f"experimental_options: {', '.join(unknown)} means nothing here, leave it out; there "
            f"is {name}"
        )
    asked = [found[name] for found in (given, more or {}) if name in found]
    for one in asked:
        checks.flag(name, one)
    if len(set(asked)) > 1:
        raise InvalidError(f"{name} is both True and False: give it once")
    if not any(asked):
        return False
    if not given.get("enable_memory_snapshot"):
        raise InvalidError(f"{name}=True needs enable_memory_snapshot=True beside it")
    if not gpu:
        raise InvalidError(f"{name}=True needs gpu=: there is no GPU to take a snapshot of")
    return True


def _gpu_spares(given: Mapping[str, Any], gpu: tuple[GpuRequest, ...]) -> int:
    """How many spares are to have their GPU's context. Raises InvalidError."""
    count: int = given.get("gpu_spares", 0)
    checks.number("gpu_spares", count, 0, 64, whole=True)
    if count and not (gpu and given.get("enable_memory_snapshot")):
        raise InvalidError(
            f"gpu_spares={count} needs gpu= and enable_memory_snapshot=True: spares are forked "
            f"from a template, and these hold a GPU"
        )
    return count


def check_pool(given: Mapping[str, Any]) -> None:
    """Refuse sizes that cannot be, of those that are given and not None. Raises InvalidError."""
    for name in _SIZES:
        if given.get(name) is not None:
            checks.number(name, given[name], 0, None, whole=True)
    if given.get("spare_containers") is not None:
        checks.number("spare_containers", given["spare_containers"], -1, None, whole=True)
    for name in (*_SIZES, "spare_containers"):
        if (given.get(name) or 0) > MOST_CONTAINERS:
            raise InvalidError(f"{name}={given[name]} must be {MOST_CONTAINERS} or less")
    if given.get("scaledown_window") is not None:
        checks.number("scaledown_window", given["scaledown_window"], 2, 3600, "of seconds")
    least, most = given.get("min_containers"), given.get("max_containers")
    if least and most and least > most:
        raise InvalidError(f"min_containers={least} must not be more than max_containers={most}")
