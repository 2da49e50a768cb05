"""From declarations to the message that makes an app known to a controller."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rekindle import paths
from rekindle.exception import RequestSizeError
from rekindle.execution.declared import contents, hooks_of
from rekindle.sdk import environments, fingerprint
from rekindle.sdk.calls.arguments import packed
from rekindle.sdk.declaration import AppState, Declaration, packing
from rekindle.sdk.options import Options
from rekindle.sdk.program import main_module, source
from rekindle.sdk.program.main_module import Program
from rekindle.sdk.secret import Secret, merged, named_in_snapshot, references
from rekindle.wire import pickling
from rekindle.wire.environment import split_name
from rekindle.wire.serialization import serialize
from rekindle.wire.spec import FunctionSpec

if TYPE_CHECKING:
    from rekindle.sdk.images.chain import Chain
    from rekindle.wire import rekindle_pb2 as pb
    from rekindle.wire.volumes import VolumeMount

#: Code is small; what is larger carries data along.
MAX_CODE_BYTES = 64 * 1024 * 1024


def request_for(
    app: AppState,
    app_name: str,
    app_id: str,
    script: Program | None,
    instance: Callable[[], Path],
) -> pb.RegisterAppRequest:
    """The message of ``form_of``."""
    from rekindle.wire import rekindle_pb2 as pb

    return pb.RegisterAppRequest(**form_of(app, app_name, app_id, script, instance))


def form_of(
    app: AppState,
    app_name: str,
    app_id: str,
    script: Program | None,
    instance: Callable[[], Path],
    *,
    detached: bool = False,
    only: Declaration | None = None,
) -> dict[str, Any]:
    """Everything about an app: the fields of a ``RegisterAppRequest`` that makes it known.

    ``app_name``: as the instance knows it, with its environment. ``instance``: waits for the one
    that it is for, where that is to be asked before (named secrets of images). ``detached``: it
    ends when nothing of it is undone, and not with its client. ``only``: this one of its
    declarations, for an app that is known already. Raises SerializationError for code
    that cannot travel.
    """
    with environments.of_app(split_name(app_name)[0]):
        return _form_of(app, app_name, app_id, script, instance, detached, only)


def _form_of(
    app: AppState,
    app_name: str,
    app_id: str,
    script: Program | None,
    instance: Callable[[], Path],
    detached: bool,
    only: Declaration | None,
) -> dict[str, Any]:
    declarations = list(app.declarations.values()) if only is None else [only]
    if script is not None:
        main_module.alias(script)
        if script.is_main:
            pickling.main_is_imported(main_module.guarded(script.file).names)
    wanted = app.include_source and any(
        d.options is not None and d.options.include_source for d in declarations
    )
    bundle = source.collect(script) if wanted else None
    specs = [spec_of(app, one, app_name, bundle, script) for one in declarations]
    specs = _in_images(specs, [image_of(app, one) for one in declarations], instance)
    functions = [
        {
            "spec": spec.message_fields(),
            "code": b"" if declaration.place else pack(declaration),
            "secrets": merged(_secrets(app, declaration)),
            "named_secrets": [vars(one) for one in references(_secrets(app, declaration))],
            "schedule": _schedule(declaration),
        }
        for declaration, spec in zip(declarations, specs, strict=True)
    ]
    return {
        "app_id": app_id,
        "name": app_name,
        "functions": functions,
        "ephemeral": True,
        "tags": app.tags,
        "detached": detached,
        "source": bundle and {"digest": bundle.digest, "data": bundle.data},
    }


def spec_of(
    app: AppState,
    declaration: Declaration,
    app_name: str,
    bundle: source.Bundle | None,
    script: Program | None,
) -> FunctionSpec:
    """What the node needs to know of a declaration besides its code."""
    options = _options(declaration)
    raw = declaration.raw
    place = declaration.place
    first, last = source.import_path(script)
    hooks_digest = ""
    if declaration.kind == "cls":
        hooks = hooks_of(raw)
        in_snapshots = [*hooks["enter_snap"], *hooks["enter_gpu"]]
        hooks_digest = fingerprint.hooks_digest(raw, in_snapshots, place)
    return dataclasses.replace(
        options.spec,
        app_name=app_name,
        name=declaration.name,
        kind=declaration.kind,
        methods=tuple(sorted(declaration.methods)),
        generators=tuple(sorted(declaration.generators or ())),
        parameters=declaration.parameters_at_hand() or (),
        module=place.module if place is not None else "",
        qualname=place.name if place is not None else "",
        program=(script.name, str(script.file)) if script is not None else ("", ""),
        python=sys.executable,
        python_version=sys.version.partition(" ")[0],
        cwd=paths.working_directory(),
        sys_path=first,
        sys_path_last=last,
        secrets_in_snapshot=named_in_snapshot(_secrets(app, declaration)),
        code_digest=fingerprint.code_digest(raw, place),
        source_digest=bundle.digest if bundle is not None and options.include_source else "",
        hooks_digest=hooks_digest,
        volumes=_volumes(app, declaration),
    )


def _in_images(
    specs: list[FunctionSpec], images: list[Chain | None], instance: Callable[[], Path]
) -> list[FunctionSpec]:
    """The same with the images that functions run in, which are built by then."""
    if not any(images):
        return specs
    from rekindle.sdk.images import builds

    return builds.placed(specs, images, instance)


def image_of(app: AppState, declaration: Declaration) -> Chain | None:
    """Its own, or that of the app that it comes from, or of the app that runs."""
    own = declaration.app.image if declaration.app is not None else None
    return _options(declaration).image or own or app.image


def _volumes(app: AppState, declaration: Declaration) -> tuple[VolumeMount, ...]:
    """As ``_secrets``."""
    of_app = {**app.volumes, **(declaration.app.volumes if declaration.app is not None else {})}
    own = _options(declaration).volumes
    if not of_app and not own:
        return ()
    from rekindle.sdk.program import volumes

    return volumes.mounts_of(of_app, own)


def pack(declaration: Declaration) -> bytes:
    """The payload of code that travels by value: its pickle, with handles to functions of its app.

    Raises SerializationError, naming the global or closure variable that cannot be pickled, and
    RequestSizeError when it carries too much data.
    """
    what = f"the code of {declaration.name}"
    before = packing.get()
    try:
        packing.set(declaration.app)  # in here: a signal's exception may come behind it
        with environments.code_travels():
            data = serialize(contents(declaration.raw), what)
    finally:
        packing.set(before)
    if len(data) > MAX_CODE_BYTES:
        raise RequestSizeError(
            f"{what} takes {len(data) / (1 << 20):.0f} MiB, more than {MAX_CODE_BYTES >> 20} MiB: "
            f"it carries the values of the globals that it mentions. Load large ones in an "
            f"@rekindle.enter() method, or in a module that is imported"
        )
    return data


def _secrets(app: AppState, declaration: Declaration) -> tuple[Secret, ...]:
    """All that a function is given, those of the app that it comes from included."""
    own = declaration.app
    of_part = own.secrets if own is not None and own is not app else ()
    return (*app.secrets, *of_part, *_options(declaration).secrets)


def _schedule(declaration: Declaration) -> dict[str, Any] | None:
    schedule = _options(declaration).schedule
    if schedule is None:
        return None
    fields = {field.name: value for field, value in schedule.message().ListFields()}
    return {**fields, "payload": packed(declaration.name, (), {})}


def _options(declaration: Declaration) -> Options:
    assert declaration.options is not None  # only handles have none, and these are not registered
    return declaration.options
