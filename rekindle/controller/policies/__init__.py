"""Policies that size the pools of a node, behind one protocol (policy.py); the registry by name.

Pure logic, used by the controller and by the simulator alike.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from rekindle.controller.policies.concurrency import Concurrency
from rekindle.controller.policies.greedy_dual import GreedyDual
from rekindle.controller.policies.histogram import HistogramPolicy
from rekindle.controller.policies.policy import Policy
from rekindle.controller.policies.snapshot_aware import SnapshotAware
from rekindle.controller.policies.windows import Declared, Fixed
from rekindle.exception import InvalidError

#: Name -> the policy; its fields are its parameters.
REGISTRY: dict[str, type[Any]] = {
    "declared": Declared,
    "fixed": Fixed,
    "histogram": HistogramPolicy,
    "greedy-dual": GreedyDual,
    "concurrency": Concurrency,
    "snapshot-aware": SnapshotAware,
}


def make(name: str, **parameters: Any) -> Policy:
    """The policy of that name; InvalidError for an unknown name or parameter."""
    kind = REGISTRY.get(name)
    if kind is None:
        raise InvalidError(f"no policy {name!r}; there are: {', '.join(REGISTRY)}")
    known = parameters_of(name)
    for parameter in parameters:
        if parameter not in known:
            has = ", ".join(known) if known else "none"
            raise InvalidError(f"policy {name!r} has no parameter {parameter!r}; it has: {has}")
    numbers = {f.name for f in dataclasses.fields(kind) if str(f.type).startswith("float")}
    for parameter, value in parameters.items():
        if parameter not in numbers or value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            raise InvalidError(f"policy {name!r}: {parameter} is a number, not {value!r}")
    policy: Policy = kind(**parameters)
    return policy


def parameters_of(name: str) -> tuple[str, ...]:
    """The names of a policy's parameters."""
    return tuple(f.name for f in dataclasses.fields(REGISTRY[name]) if f.init)
