"""``with_options``: a function or class with other options, and runners of its own.

Standard library only until the variant is called: then the controller makes it, or has it already.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rekindle.exception import InvalidError, of_the_program
from rekindle.execution.context import is_local
from rekindle.execution.declared import Sharing
from rekindle.sdk import checks, environments, many_inputs_checks, options
from rekindle.sdk.declaration import Declaration, handle
from rekindle.sdk.secret import merged, named_in_snapshot, references
from rekindle.wire.spec import check_sharing

if TYPE_CHECKING:
    from rekindle.sdk.connection.client import Client
    from rekindle.sdk.running import RunningApp
    from rekindle.wire import rekindle_pb2 as pb
    from rekindle.wire.class_parameters import ClassParameter

#: What may be given, and what that is of a spec.
_FIELDS: dict[str, tuple[str, ...]] = {
    "timeout": ("timeout_s",),
    "startup_timeout": ("startup_timeout_s",),
    "max_containers": ("max_containers",),
    "buffer_containers": ("buffer_containers",),
    "spare_containers": ("spare_containers",),
    "scaledown_window": ("scaledown_window_s",),
    "single_use_containers": ("single_use_containers",),
    "retries": ("retries",),
    "env": ("env",),
    "secrets": ("secrets_in_snapshot",),
    "cpu": ("cpu", "cpu_limit"),
    "memory": ("memory_mib", "memory_limit_mib"),
    "gpu": ("gpu",),
    "gpu_memory": ("gpu",),
    "gpu_priority": ("gpu_priority",),
    "volumes": ("volumes",),
}
#: Of these, empty is nothing given: a variant takes away none that its function has.
_EMPTY_STAYS = ("secrets", "volumes", "env")
_SHARING = {name: (name,) for name in Sharing._fields}
#: What a variant cannot have in this way, and what to write.
_OF_DECLARATION = "it is the declaration's (@app.function, @app.cls)"
_SOME_STAY = (
    "runners of a variant come with its calls; update_autoscaler(min_containers=...) on the "
    "variant keeps some"
)
_OTHER_WAYS = {
    "min_containers": _SOME_STAY,
    "keep_warm": _SOME_STAY,
    "allow_concurrent_inputs": "use .with_concurrency(max_inputs=...)",
    "max_inputs": "use single_use_containers=True, or .with_concurrency(max_inputs=...)",
    "max_batch_size": "use .with_batching(max_batch_size=..., wait_ms=...)",
    **dict.fromkeys(
        ("image", "name", "schedule", "serialized", "is_generator", "include_source"),
        _OF_DECLARATION,
    ),
    **dict.fromkeys(("enable_memory_snapshot", "experimental_options"), _OF_DECLARATION),
}


@dataclass(eq=False)
class Variant(Declaration):
    """A declaration with other options than the one that it is of."""

    base: Declaration | None = None
    #: As ``with_options`` was given them.
    given: dict[str, Any] = field(default_factory=dict)
    #: By client and id of what it is of.
    _ids: dict[tuple[Client, str], str] = field(default_factory=dict)

    def resolve(self) -> tuple[Client, str, RunningApp | None]:
        """As of the base; the controller makes the variant when it is called first.

        Raises what the base does, and InvalidError for secrets that are not here.
        """
        from rekindle.sdk.connection.background import background
        from rekindle.wire import rekindle_pb2 as pb

        base = self._base()
        client, base_id, app = base.resolve()
        key = (client, base_id)
        function_id = self._ids.get(key)
        if function_id is None:
            made = background().run(
                client.request("Variant", self._request(base_id), pb.FunctionHandle)
            )
            client.know(made.function_id, made.node_token)
            function_id = made.function_id
            # Of a version that is called no more it is not asked for again.
            others = {one: known for one, known in self._ids.items() if one[0] is not client}
            self._ids = {**others, key: function_id}
            if app is not None:
                app.function_ids[made.name] = made.function_id  # its leases end with the app
        return client, function_id, app

    def is_at_hand(self) -> bool:
        """As of a declaration; the variant has to be made already, too."""
        if not self._base().is_at_hand():
            return False
        client, base_id, _ = self._base().resolve()
        return (client, base_id) in self._ids

    def methods_now(self) -> dict[str, str]:
        """As of the base."""
        return self._base().methods_now()

    def methods_at_hand(self) -> Collection[str] | None:
        """As of the base."""
        return self._base().methods_at_hand()

    def check_method(self, name: str) -> None:
        """As of the base."""
        self._base().check_method(name)

    def parameters_at_hand(self) -> tuple[ClassParameter, ...] | None:
        """As of the base."""
        return self._base().parameters_at_hand()

    def parameters_now(self) -> tuple[ClassParameter, ...] | None:
        """As of the base."""
        return self._base().parameters_now()

    def look_again(self) -> bool:
        """As of the base."""
        return self._base().look_again()

    @property
    def pinned(self) -> bool:
        """As of the base."""
        return self._base().pinned

    def _base(self) -> Declaration:
        assert self.base is not None  # it has a default only because the class above it has
        return self.base

    def _request(self, function_id: str) -> pb.VariantRequest:
        if "secrets" in self.given and not is_local():
            raise InvalidError(
                f"{self.name}.with_options(secrets=...): their values are not in a runner; make "
                f"the variant in the program and pass it on as an argument"
            )
        checked = options.check("with_options()", _options_of(self.given))
        with environments.of_app(self._base().lies_in):
            return self._message(function_id, checked)

    def _message(self, function_id: str, checked: options.Options) -> pb.VariantRequest:
        from rekindle.wire import rekindle_pb2 as pb
        from rekindle.wire.messages import spec_message

        secrets, of_app = checked.secrets, {}
        if (own := self.app) is not None:  # as it was registered with
            whole = own.whole()
            secrets = (*whole.secrets, *(own.secrets if own is not whole else ()), *secrets)
            of_app = {**whole.volumes, **own.volumes}
        spec = checked.spec
        if "volumes" in self.given:
            from rekindle.sdk.program.volumes import mounts_of

            spec = dataclasses.replace(spec, volumes=mounts_of(of_app, checked.volumes))
        request = pb.VariantRequest(
            function_id=function_id,
            fields=sorted({name for key in self.given for name in (_FIELDS | _SHARING)[key]}),
            spec=spec_message(dataclasses.replace(spec, **_sharing_of(self.given))),
            replaces_secrets="secrets" in self.given,
            pinned=self.pinned,
        )
        if request.replaces_secrets:
            request.secrets.update(merged(secrets))
            request.named_secrets.extend(pb.NamedSecret(**vars(one)) for one in references(secrets))
            request.spec.secrets_in_snapshot[:] = named_in_snapshot(secrets)
        return request

    def __reduce__(self) -> tuple[Any, ...]:
        if self.running is not None or not (is_local() and environments.travels_as_code()):
            client, function_id, _ = self.resolve()
            names = (self.app_name, self.name, self.kind, self.methods_now())
            version = self._base().version
            known = (False, version, self.generators, "", self.parameters_now())
            return handle, (*names, function_id, str(client.instance), *known)
        # It travels with code, before its app runs. Its secrets are not for that.
        given = {name: value for name, value in self.given.items() if name != "secrets"}
        if len(given) < len(self.given):
            raise InvalidError(
                f"{self.name}.with_options(secrets=...) cannot travel with code: make the variant "
                f"in the program and pass it on as an argument"
            )
        return _made, (self.base, given)


def variant(base: Declaration, given: Mapping[str, Any]) -> Variant:
    """A declaration with these options besides its own, or in their place.

    Raises InvalidError for a value that cannot be, TypeError for an option that it cannot have.
    """
    before: dict[str, Any] = {}
    if isinstance(base, Variant):
        before, base = base.given, base._base()
    for key in given:
        if key in _OTHER_WAYS:
            text = f"with_options() has no {key}=: {_OTHER_WAYS[key]}"
            raise of_the_program(TypeError(text))
    checks.unknown_keywords("with_options()", given, _FIELDS)
    wanted = {name: value for name, value in given.items() if value is not None}
    options.check("with_options()", _options_of({**before, **wanted}))
    wanted = {name: value for name, value in wanted.items() if value or name not in _EMPTY_STAYS}
    both = {**before, **wanted}
    if "env" in before and "env" in wanted:
        both["env"] = {**before["env"], **wanted["env"]}
    if both.get("retries") is not None and base.generators:
        raise InvalidError(f"{base.name} is a generator, which cannot have retries=")
    return _made(base, both)


def concurrent_variant(base: Declaration, max_inputs: int, target_inputs: int | None) -> Variant:
    """With several inputs at a time for each runner. Raises InvalidError."""
    found = many_inputs_checks.concurrency("with_concurrency", max_inputs, target_inputs)
    return _sharing_variant(
        "with_concurrency", base, max_inputs=found.max_inputs, target_inputs=found.target_inputs
    )


def batched_variant(base: Declaration, max_batch_size: int, wait_ms: int) -> Variant:
    """With batches. Raises InvalidError for what cannot be batched."""
    many_inputs_checks.batching("with_batching", max_batch_size, wait_ms)
    if base.kind == "cls" and len(base.methods) > 1:
        raise InvalidError(
            f"{base.name}.with_batching(): it has the methods {', '.join(sorted(base.methods))}; "
            f"a class with batches has one"
        )
    if base.raw is not None:
        methods = [getattr(base.raw, own) for own in base.methods.values()]
        many_inputs_checks.check_batched(methods[0] if base.kind == "cls" else base.raw)
    return _sharing_variant("with_batching", base, max_batch_size=max_batch_size, wait_ms=wait_ms)


def _sharing_variant(where: str, base: Declaration, **given: int) -> Variant:
    before: dict[str, Any] = {}
    if isinstance(base, Variant):
        before, base = base.given, base._base()
    if base.generators and "max_batch_size" in given:
        raise InvalidError(
            f"{base.name}.{where}(): a generator gives its items one by one, and a batch has one "
            f"value for each input"
        )
    both = {**before, **given}
    return _made(base, both)


def _spec_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """What decides how inputs share runners, of what is given."""
    known = (*Sharing._fields, "single_use_containers")
    return {name: value for name, value in given.items() if name in known}


def _options_of(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name not in _SHARING}


def _sharing_of(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name in _SHARING}


def _made(base: Declaration, given: dict[str, Any]) -> Variant:
    if base.options is not None:
        spec = base.options.spec
        check_sharing(base.name, dataclasses.replace(spec, **_spec_fields(given)))
    return Variant(
        base.app_name,
        base.name,
        base.kind,
        base.methods,
        raw=base.raw,
        options=base.options,
        app=base.app,
        generators=base.generators,
        base=base,
        given=given,
    )
