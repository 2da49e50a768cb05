"""Messages of the contract as what the packages work with: specs, plans, options, JSON for people.

Knows nothing of who sends them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

from rekindle.exception import InternalFailure, InvalidError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.class_parameters import ClassParameter
from rekindle.wire.gpus import GpuRequest
from rekindle.wire.pools import Level, PoolPlan, Rest
from rekindle.wire.spec import FunctionSpec, RetrySpec, params_digest
from rekindle.wire.volumes import VolumeMount

if TYPE_CHECKING:
    from google.protobuf.message import Message


def read_result(raw: bytes, of: str) -> pb.Result:
    """A result ``of`` a call, as it was stored or sent. Raises InternalFailure for what is none."""
    try:
        return pb.Result.FromString(raw)
    except Exception as error:  # protobuf's own, or what wire/plain_messages.py raises
        raise InternalFailure(
            f"a result of {of} cannot be read ({error}): it is damaged, or comes "
            f"from a node with another version of rekindle. See that all processes of the instance "
            f"are of one version (`rekindle status`), and call again"
        ) from error


def spec_message(spec: FunctionSpec) -> pb.FunctionSpec:
    """What a controller and an agent are sent of a function."""
    return pb.FunctionSpec(**spec.message_fields())


def spec_of(message: pb.FunctionSpec) -> FunctionSpec:
    """The inverse of ``spec_message``."""
    raw: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        name, value = field.name, getattr(message, field.name)
        if field.has_presence and not message.HasField(name):
            raw[name] = None
        elif isinstance(value, pb.RetrySpec):
            raw[name] = RetrySpec(**as_dict(value))
        elif name == "gpu":
            raw[name] = tuple(GpuRequest(**as_dict(one)) for one in value)
        elif name == "volumes":
            raw[name] = tuple(_mount_of(one) for one in value)
        elif name == "parameters":
            raw[name] = parameters_of(value)
        elif isinstance(value, Mapping):
            raw[name] = {key: os.fsdecode(value[key]) for key in value}
        elif isinstance(value, str | bytes):
            raw[name] = os.fsdecode(value)
        elif isinstance(value, Sequence):
            raw[name] = tuple(map(os.fsdecode, value))
        else:
            raw[name] = value
    return FunctionSpec(**raw)


def parameters_of(messages: Iterable[pb.ClassParameter]) -> tuple[ClassParameter, ...]:
    """What a spec or a handle says of the parameters of a class."""
    return tuple(
        ClassParameter(one.name, one.type, one.default if one.HasField("default") else None)
        for one in messages
    )


def parameter_messages(parameters: Iterable[ClassParameter]) -> list[pb.ClassParameter]:
    """The inverse of ``parameters_of``."""
    return [pb.ClassParameter(**vars(one)) for one in parameters]


def _mount_of(message: pb.VolumeMount) -> VolumeMount:
    raw = as_dict(message)
    raw |= {name: os.fsdecode(raw[name]) for name in ("path", "sub_path")}
    return VolumeMount(**raw)


def payload_too_large(what: str, size: int, limit: int) -> str:
    """What is said of a payload over the limit (bytes), with how to raise it."""
    return (
        f"{what}: {size / 2**20:.1f} MiB, over the limit of {limit / 2**20:.1f} MiB "
        f"({size} > {limit} bytes); pass large data by file, or raise REKINDLE_MAX_PAYLOAD_BYTES "
        "where the controller is started"
    )


def refuse_too_large(result: pb.Result, limit: int) -> bool:
    """Make a result over the limit an error that says so; whether it was."""
    size = len(result.data)
    if size <= limit:
        return False
    result.ClearField("data")
    if result.status == pb.SUCCESS:  # of an exception, type, text and traceback come home
        result.status = pb.FAILURE
        result.error_type = "rekindle.exception.RequestSizeError"
        result.message = payload_too_large("the result", size, limit)
    return True


def plan_message(plan: PoolPlan) -> pb.PoolPlan:
    """What an agent is sent of a plan."""
    return pb.PoolPlan(
        runners=plan.runners,
        buffer=plan.buffer,
        active_s=plan.active_s,
        keep_s=plan.keep_s,
        max_runners=plan.max_runners,
        patience_s=plan.patience_s,
        base=plan.base.value,
        rest=[pb.RestStep(level=step.level.value, for_s=step.for_s) for step in plan.rest],
        priority={level.value: value for level, value in plan.priority.items()},
        again_s=plan.again_s,
        why=plan.why,
        spares=plan.spares,
        ahead=plan.ahead,
    )


def plan_of(message: pb.PoolPlan) -> PoolPlan:
    """The inverse of ``plan_message``."""
    return PoolPlan(
        runners=message.runners,
        buffer=message.buffer,
        active_s=message.active_s,
        keep_s=message.keep_s,
        max_runners=message.max_runners if message.HasField("max_runners") else None,
        patience_s=message.patience_s,
        base=Level(message.base),
        rest=tuple(Rest(Level(step.level), step.for_s) for step in message.rest),
        priority={Level(name): value for name, value in message.priority.items()},
        again_s=message.again_s if message.HasField("again_s") else None,
        why=message.why,
        spares=message.spares,
        ahead=message.ahead,
    )


def option_messages(options: Mapping[str, object]) -> dict[str, pb.OptionValue]:
    """The options of a policy. Raises InvalidError for a value that is no number, text or flag."""
    made = {}
    for name, value in options.items():
        if value is None:
            made[name] = pb.OptionValue()
        elif isinstance(value, bool):
            made[name] = pb.OptionValue(flag=value)
        elif isinstance(value, int | float):
            made[name] = pb.OptionValue(number=value)
        elif isinstance(value, str):
            made[name] = pb.OptionValue(text=value)
        else:
            raise InvalidError(f"option {name}={value!r} of a policy is no number, text or flag")
    return made


def option_values(options: Mapping[str, pb.OptionValue]) -> dict[str, float | str | bool | None]:
    """The inverse of ``option_messages``."""
    return {name: _option(value) for name, value in options.items()}


def _option(message: pb.OptionValue) -> float | str | bool | None:
    kind = message.WhichOneof("kind")
    if kind is None:
        return None
    value: float | str | bool = getattr(message, kind)
    return int(value) if isinstance(value, float) and value.is_integer() else value


# ---- JSON ----------------------------------------------------------------------------------

#: Messages whose fields stand in the object around them.
_INLINE = {"last_minute", "settings", "costs", "report"}
#: Fields that are null rather than left out where they are absent: there is no limit, or the policy
#: decides.
_NULL = {
    "rekindle.v1.PoolSettings.max_containers",
    "rekindle.v1.PoolSettings.spare_containers",
    "rekindle.v1.PoolPlan.max_runners",
}
#: Messages that are not an object.
_OTHERWISE: dict[str, Callable[[Any], object]] = {
    "OptionValue": _option,
    "PoolChanges": lambda message: {name: v for name, v in as_dict(message).items() if v != {}},
    "LostRunners": lambda message: dict(message.by_reason),
    "DirectCalls": lambda message: as_dict(message) | {"params": params_digest(message.params)},
}


def as_dict(message: Message) -> dict[str, Any]:
    """What ``--json`` prints of a message: the names of its fields, all of them.

    An absent scalar is left out, an absent message is empty; an infinite number is None.
    """
    made: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        name, value = field.name, getattr(message, field.name)
        if isinstance(value, Mapping):
            made[name] = {key: _plain(value[key]) for key in value}
        elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
            made[name] = [_plain(one) for one in value]
        elif field.has_presence and not message.HasField(name):
            if field.full_name in _NULL:
                made[name] = None
            elif _is_message(value) and name not in _INLINE:
                made[name] = {}
        elif name in _INLINE:
            made |= as_dict(value)
        else:
            made[name] = _plain(value)
    return made


def _is_message(value: object) -> TypeGuard[Message]:
    """Protobuf's, or what stands for them where there is none (plain_messages.py)."""
    return hasattr(value, "DESCRIPTOR")


def _plain(value: object) -> object:
    if _is_message(value):
        otherwise = _OTHERWISE.get(value.DESCRIPTOR.name)
        return otherwise(value) if otherwise else as_dict(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
