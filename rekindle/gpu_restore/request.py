"""How GPUs are asked for: ``gpu="H100:2"``, lists, ``"any"``, sizes, MIG profiles, shares.

Read where a decorator runs, so that what cannot be is refused there. Standard library only; asks no
driver: whether a machine has the GPU, its placement says.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rekindle.exception import InvalidError
from rekindle.gpu_restore import models
from rekindle.wire.gpus import ANY, GpuRequest

MAX_COUNT = 16
#: Far beyond what any GPU has, and within what is sent as a number.
MAX_MEMORY_MIB = 1 << 24
PRIORITIES = (-100, 100)

_REQUEST = re.compile(r"(?P<model>[^:]*?)(?P<mark>[!+]?)\s*(?::\s*(?P<count>.*))?")
_LIKE = "for example 'H100', 'A100-80GB:2', 'any' or ['H100', 'A100']"


def parse(gpu: object, gpu_memory: object = None) -> tuple[GpuRequest, ...]:
    """What ``gpu=`` and ``gpu_memory=`` ask for, in the order of preference; empty for no GPU.

    Raises InvalidError that says what to write.
    """
    if gpu is None:
        if gpu_memory is not None:
            raise InvalidError(
                f"gpu_memory={gpu_memory!r} is a share of a GPU: say of which, for example "
                f"gpu='any', gpu_memory={gpu_memory!r}"
            )
        return ()
    memory_mib = _memory(gpu_memory)
    entries: Sequence[object] = gpu if isinstance(gpu, (list, tuple)) else (gpu,)
    if not entries:
        raise InvalidError(f"gpu={gpu!r} names no GPU; leave it out, or name some, {_LIKE}")
    wanted = tuple(_one(entry, memory_mib) for entry in entries)
    if doubled := next((one for one in wanted if wanted.count(one) > 1), None):
        raise InvalidError(f"gpu={gpu!r} names {doubled} twice")
    return wanted


def priority(value: object) -> int:
    """What ``gpu_priority=`` says; who has more may take the GPU of who has less."""
    low, high = PRIORITIES
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidError(f"gpu_priority={value!r} must be a whole number from {low} to {high}")
    return value


def _memory(value: object) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidError(
            f"gpu_memory={value!r} must be a whole number of MiB of at least 1: 8192 is 8 GiB"
        )
    if value > MAX_MEMORY_MIB:
        raise InvalidError(f"gpu_memory={value!r} is in MiB, and no GPU has so many: 8192 is 8 GiB")
    return value


def _one(entry: object, memory_mib: int) -> GpuRequest:
    if not isinstance(entry, str):
        raise InvalidError(f"gpu={entry!r} must be a string or a list of strings, {_like(entry)}")
    text = entry.strip()
    matched = _REQUEST.fullmatch(text)
    if matched is None or not matched["model"]:
        raise InvalidError(f"gpu={entry!r} names no GPU; write it {_LIKE}")
    model = _model(entry, matched["model"], matched["mark"])
    count = _count(entry, model, matched["count"])
    if memory_mib and count > 1:
        raise InvalidError(
            f"gpu={entry!r}, gpu_memory={memory_mib}: a share is of one GPU; write "
            f"gpu={model!r}, or leave gpu_memory= out for {count} whole ones"
        )
    if memory_mib and models.PROFILE.fullmatch(model):
        raise InvalidError(
            f"gpu={entry!r}, gpu_memory={memory_mib}: a MIG instance is a share already; leave "
            f"gpu_memory= out, or write gpu='any' for whatever share there is"
        )
    return GpuRequest(model=model, count=count, memory_mib=memory_mib)


def _model(entry: str, name: str, mark: str) -> str:
    if models.PROFILE.fullmatch(name.lower()):
        if mark:
            raise InvalidError(f"gpu={entry!r}: a MIG profile has no {mark!r}; write {name!r}")
        return name.lower()
    if name.lower() == ANY:
        if mark:
            raise InvalidError(f"gpu={entry!r}: 'any' has no {mark!r}; write 'any'")
        return ANY
    upper = name.upper().replace("_", "-").replace(" ", "-")
    if not models.is_known(upper):
        raise InvalidError(f"gpu={entry!r} is no model of GPU{_nearest(upper)}")
    if mark == "+" and upper != "B200":
        raise InvalidError(
            f"gpu={entry!r}: only 'B200+' takes newer models; list them, the best first: "
            f"[{upper!r}, ...]"
        )
    return upper + mark


def _count(entry: str, model: str, text: str | None) -> int:
    if text is None:
        return 1
    is_number = text.isascii() and text.isdecimal() and len(text) < 4
    if not is_number or not 1 <= int(text) <= MAX_COUNT:
        raise InvalidError(
            f"gpu={entry!r}: the number of GPUs is from 1 to {MAX_COUNT}; write {model + ':2'!r}"
        )
    if models.PROFILE.fullmatch(model) and int(text) != 1:
        raise InvalidError(
            f"gpu={entry!r}: CUDA uses one MIG instance in a process; write {model!r}"
        )
    return int(text)


def _nearest(name: str) -> str:
    import difflib

    all_of_them = models.known()
    if near := difflib.get_close_matches(name, all_of_them, n=3, cutoff=0.5):
        said = " or ".join(map(repr, near))
        return f"; did you mean {said}? 'any' takes whatever there is"
    return f"; write {ANY!r} for whatever there is, or one of {', '.join(all_of_them)}"


def _like(entry: object) -> str:
    """What to write for an object that describes a GPU, as older SDKs of this kind had them."""
    name = type(entry).__name__
    if models.is_known(name.upper()):
        count = getattr(entry, "count", 1)
        text = name.upper() if count in (1, None) else f"{name.upper()}:{count}"
        return f"here {text!r}"
    if isinstance(entry, int) and not isinstance(entry, bool) and entry > 0:
        return f"here 'any:{entry}'"
    return _LIKE
