"""The settings that are tried: a policy, its parameters, and what a user sets for a function."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rekindle.bench.tune.trace import Trace
from rekindle.controller import policies
from rekindle.controller.policies.policy import Policy, Prices
from rekindle.exception import InvalidError
from rekindle.wire.pools import Level

#: Windows of ``fixed``: from the least to the most that ``scaledown_window`` takes.
KEEP_S = (2.0, 10.0, 60.0, 300.0, 600.0, 1200.0, 3600.0)
#: What an hour of callers waiting is worth to ``snapshot-aware``.
WAITING = (0.05, 1.0, 4.0, 20.0)
#: Spares that are tried with the setting that is best without a number of them.
SPARES = (0, 1, 2, 4, 8)


@dataclass(frozen=True)
class Setting:
    """One way to run: a policy with parameters, and overrides of the functions' own settings."""

    policy: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, int] = field(default_factory=dict)
    #: What is in force now; the others are compared with it.
    current: bool = False

    @property
    def label(self) -> str:
        """Short, unique among those tried."""
        parts = [self.policy]
        for name, value in self.parameters.items():
            if name == "waiting_hour":
                parts.append(f"wait {value:g}/h")
            elif name in ("gib_hour", "gpu_hour", "cpu_hour", "disk_gib_hour"):
                continue  # of all settings alike
            elif name == "keep_s":
                parts.append(f"{value:g} s")
            elif name == "target_ms":
                parts.append(f"{value:g} ms")
            elif name == "quantile":
                parts += [f"p{100 * value:g}"] if value != 0.95 else []
            elif name == "rest":
                parts.append(f"rest {value}")
            else:
                parts.append(f"{name}={value}")
        parts += [f"{name.split('_')[0]} {value}" for name, value in self.overrides.items()]
        label = parts[0] + (" " if len(parts) > 1 else "") + ", ".join(parts[1:])
        return label + (" (now)" if self.current else "")

    def make(self) -> Policy:
        """The policy; a new one for each simulation."""
        return policies.make(self.policy, **self.parameters)

    def on(self, trace: Trace) -> Trace:
        """The trace with the overrides in force."""
        if not self.overrides:
            return trace
        functions = [
            dataclasses.replace(f, settings=dataclasses.replace(f.settings, **self.overrides))
            for f in trace.functions
        ]
        return dataclasses.replace(trace, functions=functions)

    def to_dict(self) -> dict[str, Any]:
        """For JSON and for what puts it in force."""
        return {
            "policy": self.policy,
            "options": dict(self.parameters),
            "overrides": dict(self.overrides),
        }


def candidates(
    names: Sequence[str], trace: Trace, *, target_ms: float, quantile: float, prices: Prices
) -> list[Setting]:
    """What to try of the policies named: a coarse net over their parameters."""
    found: list[Setting] = []
    single = len(trace.functions) == 1
    for name in names:
        if name not in policies.REGISTRY:
            raise InvalidError(f"no policy {name!r}; there are: {', '.join(policies.REGISTRY)}")
        if name == "fixed":
            found += [Setting(name, {"keep_s": keep_s}) for keep_s in KEEP_S]
            found.append(Setting(name, {"keep_s": 60.0, "rest": "cached"}))
            if single:
                found.append(Setting(name, {"keep_s": 60.0}, {"min_containers": 1}))
                found.append(Setting(name, {"keep_s": 60.0}, {"buffer_containers": 1}))
                both = {"min_containers": 1, "buffer_containers": 1}
                found.append(Setting(name, {"keep_s": 60.0}, both))
        elif name == "snapshot-aware":
            found += [snapshot_aware(target_ms, quantile, prices, waiting) for waiting in WAITING]
            tight = snapshot_aware(1.0, max(quantile, 0.99), prices, prices.waiting_hour)
            found.append(tight)
        else:
            found.append(Setting(name))
    return found


def spare_counts(setting: Setting, trace: Trace) -> list[Setting]:
    """The setting with so many spares each; none where no function of the trace can have any."""
    possible = any(Level.SPARE in function.levels for function in trace.functions)
    if not possible or "spare_containers" in setting.overrides:
        return []
    return [
        Setting(
            setting.policy, setting.parameters, {**setting.overrides, "spare_containers": count}
        )
        for count in SPARES
    ]


def snapshot_aware(
    target_ms: float, quantile: float, prices: Prices, waiting_hour: float
) -> Setting:
    """That policy at these prices."""
    usual = Prices()
    paid = {
        name: value
        for name, value in dataclasses.asdict(prices).items()
        if name != "waiting_hour" and value != getattr(usual, name)
    }
    parameters = {"target_ms": target_ms, "quantile": quantile, "waiting_hour": waiting_hour}
    return Setting("snapshot-aware", parameters | paid)
