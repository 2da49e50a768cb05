"""Variants: functions with other options than the declared ones, and runners of their own.

A variant is a function of the same app, with the code of the one that it is of. Its id comes from
what it is, so that equal options, from whichever program, are one variant. What it was made from
is kept: of another version of a deployed app it is made again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass

from rekindle.controller.apps import Apps
from rekindle.controller.state import Function
from rekindle.controller.storage.records import StoredVariant
from rekindle.controller.storage.registry import Registry
from rekindle.exception import ExecutionError, InvalidError, ResourceExhaustedError
from rekindle.wire import functionid
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.messages import spec_message, spec_of
from rekindle.wire.spec import FunctionSpec, check_sharing

#: What a variant may have of its own.
FIELDS = frozenset(
    {
        *("timeout_s", "startup_timeout_s", "max_containers", "buffer_containers"),
        *("spare_containers", "scaledown_window_s", "single_use_containers", "retries", "env"),
        *("cpu", "cpu_limit", "memory_mib", "memory_limit_mib", "gpu", "gpu_priority"),
        *("secrets_in_snapshot", "max_inputs", "target_inputs", "max_batch_size", "wait_ms"),
        "volumes",
    }
)

#: Of one app, or of one version of a deployed app.
MOST_VARIANTS = 1000


@dataclass(eq=False)
class Variants:
    """Makes variants of functions that are open."""

    _apps: Apps
    _registry: Registry

    async def make(self, base: Function, request: pb.VariantRequest) -> Function:
        """The variant of ``base``. The same request again changes nothing.

        Raises NotFoundError, ExecutionError, InvalidError for what cannot differ, and
        ResourceExhaustedError where the app has too many.
        """
        if strange := set(request.fields) - FIELDS:
            raise InvalidError(f"a variant cannot have its own {', '.join(sorted(strange))}")
        spec = variant_of(base.spec, request)
        function_id = functionid.of(spec.revision(), base.app.app_id)
        if (known := base.app.functions.get(function_id)) is not None:
            return known
        if sum(1 for one in base.app.functions.values() if one.spec.variant) >= MOST_VARIANTS:
            raise ResourceExhaustedError(
                f"the app {base.app.name!r} has {MOST_VARIANTS:,} variants (with_options(), "
                f"with_concurrency(), with_batching()), and each has runners of its own for as "
                f"long as the app runs: choose among a few sets of options, and pass what differs "
                f"from call to call as an argument or a parameter of the class; another run or "
                f"version of the app begins with none"
            )
        stored = await self._registry.load_code(base.function_id)
        if stored is None or base.app.closing:
            raise ExecutionError(f"the app {base.app.name!r} is closed; run it again")
        given = request if request.replaces_secrets else stored.function
        definition = pb.FunctionDef(
            spec=spec_message(spec),
            code=stored.function.code,
            secrets=dict(given.secrets),
            named_secrets=given.named_secrets,
        )
        variant = StoredVariant(
            of=base.function_id,
            fields=tuple(request.fields),
            spec=spec_of(request.spec),
            replaces_secrets=request.replaces_secrets,
        )
        return await self._apps.add_variant(
            base.app, function_id, variant, definition, stored.source
        )

    async def again(self, function_id: str, variant: StoredVariant, base: Function) -> Function:
        """The variant of ``base`` that has the options of ``function_id``, a variant of another.

        Raises as ``make``.
        """
        request = pb.VariantRequest(
            fields=variant.fields,
            spec=spec_message(variant.spec),
            replaces_secrets=variant.replaces_secrets,
        )
        if variant.replaces_secrets:
            declared, named = await self._registry.load_secrets(function_id)
            request.secrets.update(declared)
            request.named_secrets.extend(named)
        return await self.make(base, request)


def variant_of(base: FunctionSpec, request: pb.VariantRequest) -> FunctionSpec:
    """The spec of a variant. Runners that are kept are the declared function's alone.

    Raises InvalidError for inputs that are to share runners in two ways.
    """
    given = spec_of(request.spec)
    changes = {name: getattr(given, name) for name in request.fields}
    if "env" in changes:
        changes["env"] = {**base.env, **changes["env"]}
    spec = dataclasses.replace(base, min_containers=0, **changes)
    check_sharing(base.name, spec)
    of = [base.variant, spec.to_json()]
    if request.replaces_secrets:
        of += sorted(f"{name}={value}" for name, value in request.secrets.items())
        of += [one.SerializeToString(deterministic=True).hex() for one in request.named_secrets]
    digest = hashlib.sha256(json.dumps(of).encode()).hexdigest()[:8]
    name = base.name.partition("[")[0]
    return dataclasses.replace(spec, name=f"{name}[{digest}]", variant=digest)
