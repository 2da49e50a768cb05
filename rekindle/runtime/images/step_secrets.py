"""Values of named secrets for a step that is built now: from the controller, as for runners.

They go to the step alone; who builds keeps them no longer than that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from rekindle.runtime import asked_secrets
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.images import StepSecret

#: Gives the variables of named secrets, as they are now. Raises Error.
Ask = Callable[[Sequence[StepSecret]], dict[str, str]]


def of_instance(instance: Path) -> Ask:
    """From the controller of an instance directory."""

    def ask(wanted: Sequence[StepSecret]) -> dict[str, str]:
        named = [pb.NamedSecret(**dataclasses.asdict(one)) for one in wanted]
        request = pb.FetchStepSecretsRequest(secrets=named)
        return asked_secrets.ask(instance, "FetchStepSecrets", request, shown(wanted))

    return ask


def shown(wanted: Sequence[StepSecret]) -> str:
    """Their names."""
    return ", ".join(f"the secret {one.name or one.id!r}" for one in wanted)
