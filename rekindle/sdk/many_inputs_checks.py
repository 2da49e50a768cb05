"""What ``concurrent`` and ``batched`` may be given, as decorators or for a variant.

Standard library only.
"""

from __future__ import annotations

from typing import Any

from rekindle.exception import InvalidError
from rekindle.execution import annotated
from rekindle.execution.batching import why_not_in_batches
from rekindle.execution.declared import Sharing, is_generator, mark_of
from rekindle.sdk import checks

MOST_INPUTS = 1000
MOST_BATCH = 1000
MOST_WAIT_MS = 600_000


def concurrency(where: str, max_inputs: int, target_inputs: int | None) -> Sharing:
    """Checked. Raises InvalidError."""
    checks.number(f"{where}(max_inputs)", max_inputs, 1, MOST_INPUTS, whole=True)
    target = max_inputs if target_inputs is None else target_inputs
    checks.number(f"{where}(target_inputs)", target, 1, MOST_INPUTS, whole=True)
    if target > max_inputs:
        raise InvalidError(
            f"{where}(target_inputs={target}) must not be more than max_inputs={max_inputs}"
        )
    return Sharing(max_inputs, target)


def batching(where: str, max_batch_size: int, wait_ms: int) -> Sharing:
    """Checked. Raises InvalidError."""
    checks.number(f"{where}(max_batch_size)", max_batch_size, 1, MOST_BATCH, whole=True)
    checks.number(f"{where}(wait_ms)", wait_ms, 0, MOST_WAIT_MS, "of milliseconds", whole=True)
    return Sharing(max_batch_size=max_batch_size, wait_ms=wait_ms)


def check_batched(raw: Any) -> None:
    """Refuse what cannot be called with lists of items. Raises InvalidError."""
    name = raw.__qualname__
    if is_generator(raw):
        raise InvalidError(
            f"@rekindle.batched() is on {name}, a generator: it must return a list, with a value "
            f"for each item"
        )
    mark = mark_of(raw)
    if mark is not None and mark.kind != "method":
        raise InvalidError(f"@rekindle.batched() is on {name}, which is marked {mark.kind!r}")
    parameters = list(annotated.signature(raw).parameters.values())[1 if in_class(raw) else 0 :]
    if reason := why_not_in_batches(parameters):
        raise InvalidError(f"@rekindle.batched() is on {name}, {reason}")


def in_class(raw: Any) -> bool:
    """Whether a function stands in the body of a class."""
    parents = raw.__qualname__.split(".")[:-1]
    return bool(parents) and parents[-1] != "<locals>"
