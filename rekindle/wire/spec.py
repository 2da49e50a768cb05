"""FunctionSpec: all that the node needs to know about a function besides its code.

Travels as JSON. Standard library only. Knows nothing of decorators: the SDK has validated it.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rekindle.exception import InvalidError
from rekindle.wire.known_fields import known_fields

if TYPE_CHECKING:
    from rekindle.wire.class_parameters import ClassParameter
    from rekindle.wire.gpus import GpuRequest
    from rekindle.wire.volumes import VolumeMount


#: Inputs of batches that a runner has at most, where two batches are not more.
_MOST_GATHERED = 512


@dataclass(frozen=True, kw_only=True)
class RetrySpec:
    """How often, and after what delays, a failed input runs again."""

    max_retries: int = 0
    backoff_coefficient: float = 1.0
    initial_delay_s: float = 1.0
    max_delay_s: float = 60.0
    min_delay_s: float = 0.0

    def delay_s(self, attempt: int) -> float:
        """Delay before retry number ``attempt`` (1 is the first retry)."""
        delay = self.initial_delay_s * self.backoff_coefficient ** (attempt - 1)
        return min(max(delay, self.min_delay_s), self.max_delay_s)


@dataclass(frozen=True, kw_only=True)
class FunctionSpec:
    """One function or class of an app, as its pool on a node sees it."""

    app_name: str
    name: str  # function name, or class name
    kind: str = "function"  # "function" | "cls"
    methods: tuple[str, ...] = ()  # of a class
    #: Where it is declared: module and qualified name; "" where it travels by value.
    module: str = ""
    qualname: str = ""
    #: The program's own module, which is ``__main__`` in a runner: its name there and its file.
    program: tuple[str, str] = ("", "")
    # Environment: what the template boots with.
    python: str = ""  # interpreter path
    python_version: str = ""
    env: dict[str, str] = field(default_factory=dict)
    cwd: str = ""
    sys_path: tuple[str, ...] = ()  # before the standard library
    sys_path_last: tuple[str, ...] = ()  # behind all
    secrets_in_snapshot: tuple[str, ...] = ()  # names of variables
    # What the code is; the snapshot's name is made from these (snapshot/key.py).
    code_digest: str = ""
    source_digest: str = ""  # of the source bundle; "" is none
    hooks_digest: str = ""
    # Life of a runner.
    timeout_s: float = 300.0
    startup_timeout_s: float = 300.0
    min_containers: int = 0
    max_containers: int | None = None
    buffer_containers: int = 0
    spare_containers: int | None = None  # None: the policy decides
    scaledown_window_s: float = 60.0
    single_use_containers: bool = False
    # Inputs that one runner has at a time: so many, aimed at so many; or in batches of so many, of
    # which the oldest waits so long.
    max_inputs: int = 1
    target_inputs: int = 1
    max_batch_size: int = 0
    wait_ms: int = 0
    enable_memory_snapshot: bool = False
    enable_gpu_snapshot: bool = False
    retries: RetrySpec | None = None
    # Recorded; nothing is held to them yet.
    cpu: float | None = None
    cpu_limit: float | None = None
    memory_mib: int | None = None
    memory_limit_mib: int | None = None
    #: In the order of preference; empty: none.
    gpu: tuple[GpuRequest, ...] = ()
    gpu_priority: int = 0
    gpu_spares: int = 0  # spares that hold their GPU and have its context, at most
    #: Methods (of a function: "") whose items come one by one.
    generators: tuple[str, ...] = ()
    #: What names it among the variants of its function; "" of that itself.
    variant: str = ""
    volumes: tuple[VolumeMount, ...] = ()
    #: Of a class: what an instance is given values for, in the order of their declaration.
    parameters: tuple[ClassParameter, ...] = ()
    #: The image that it runs in, as JSON of ``wire.images.ImageSpec``; "" is the node's own files.
    image: str = ""

    @property
    def most_inputs(self) -> int:
        """Inputs that a runner may have at a time; of batches, the next one gathers meanwhile."""
        return 2 * self.max_batch_size if self.max_batch_size else self.max_inputs

    @property
    def slots(self) -> int:
        """Inputs that a runner has room for where there can be no other: of batches, several."""
        few = self.most_inputs
        return max(few, min(4 * few, _MOST_GATHERED)) if self.max_batch_size else few

    @property
    def aimed_inputs(self) -> int:
        """Inputs at a time beyond which another runner is wanted."""
        return self.max_batch_size or self.target_inputs

    @property
    def takes_many(self) -> bool:
        """Whether a runner has more than one input at a time."""
        return self.most_inputs > 1

    def to_json(self) -> str:
        """Canonical JSON: equal specs give equal text."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> FunctionSpec:
        """The inverse of ``to_json``; unknown fields of a newer peer are ignored."""
        raw = known_fields(cls, json.loads(text))
        raw |= {name: tuple(value) for name, value in raw.items() if isinstance(value, list)}
        if raw.get("retries") is not None:
            raw["retries"] = RetrySpec(**known_fields(RetrySpec, raw["retries"]))
        from rekindle.wire.class_parameters import ClassParameter
        from rekindle.wire.gpus import GpuRequest
        from rekindle.wire.volumes import VolumeMount

        for name, kind in (
            ("gpu", GpuRequest),
            ("volumes", VolumeMount),
            ("parameters", ClassParameter),
        ):
            raw[name] = tuple(kind(**known_fields(kind, one)) for one in raw.get(name) or ())
        return cls(**raw)

    def message_fields(self) -> dict[str, Any]:
        """What its message has: paths and values of variables as bytes, as a system has them."""
        raw = dataclasses.asdict(self)
        for name in ("python", "cwd"):
            raw[name] = os.fsencode(raw[name])
        for name in ("program", "sys_path", "sys_path_last"):
            raw[name] = [os.fsencode(one) for one in raw[name]]
        raw["env"] = {name: os.fsencode(value) for name, value in self.env.items()}
        for mount in raw["volumes"]:
            mount |= {name: os.fsencode(mount[name]) for name in ("path", "sub_path")}
        return raw

    def revision(self) -> str:
        """Content address of code and configuration: 16 hex digits."""
        import hashlib  # and with it OpenSSL, which a template that reads a spec has no use for

        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]


def params_digest(params: bytes) -> str:
    """What names the pool of an instance's packed parameters; "" where there are none."""
    if not params:
        return ""
    import hashlib  # as above

    return hashlib.sha256(params).hexdigest()


def check_sharing(name: str, spec: FunctionSpec) -> None:
    """Refuse inputs that share runners in two ways, or that are to have one each as well.

    Raises InvalidError.
    """
    if spec.max_batch_size and spec.max_inputs > 1:
        raise InvalidError(
            f"{name} is both batched and concurrent: a runner has one batch at a time; leave one "
            f"of them out"
        )
    if spec.takes_many and spec.single_use_containers:
        raise InvalidError(
            f"{name} has single_use_containers=True, a runner for each input: it cannot be batched "
            f"or concurrent too"
        )
    if spec.max_batch_size and len(spec.methods) > 1:
        raise InvalidError(
            f"{name} cannot be batched: it has the methods {', '.join(sorted(spec.methods))}; a "
            f"class with batches has one"
        )
    if spec.max_batch_size and spec.generators:
        raise InvalidError(
            f"{name} is a generator, which cannot be batched: it gives its items one by one, and a "
            f"batch has one value for each input"
        )
