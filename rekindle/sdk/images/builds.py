"""The images of an app are there before it is known to the controller: built by a process beside.

A build shows what it prints where the program shows what runners print. Layers that are there cost
a look at each. Standard library only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rekindle import exception, paths
from rekindle.exception import ImageBuildError, ImageError, InvalidError
from rekindle.linux.stacked import Kind, kind_of
from rekindle.sdk import notes, running
from rekindle.sdk.images.chain import Chain
from rekindle.wire.images import ImageSpec, StepKind, layers, names, why_not_by_value
from rekindle.wire.spec import FunctionSpec

_MODULE = "rekindle.runtime.images"
#: (step, line): the line is "" when the step begins.
Watch = Callable[[str, str], None]


def placed(
    specs: Sequence[FunctionSpec], images: Sequence[Chain | None], instance: Callable[[], Path]
) -> list[FunctionSpec]:
    """Functions in their images, whose layers are there by then; each image is looked at once.

    ``instance``: whose secrets steps are given; asked where one is built that has some. Raises
    what ``Image.spec`` does, InvalidError for local files that would be shown in a volume, and
    ImageBuildError, ImageError.
    """
    declared = {
        image: image.spec()
        for image in dict.fromkeys(images)
        if image is not None and not image.is_host
    }
    for spec, image in zip(specs, images, strict=True):
        if image in declared:
            _check_volumes(spec, declared[image])
    found = {image: _have(image, spec, instance, None) for image, spec in declared.items()}
    return [
        spec if image is None else _in_image(spec, image, found.get(image))
        for spec, image in zip(specs, images, strict=True)
    ]


def _check_volumes(spec: FunctionSpec, image: ImageSpec) -> None:
    """Refuse what would be shown in a volume: the places for it would be made there, for all who
    have that volume. Raises InvalidError."""
    for step in image.steps:
        for shown in step.files if step.kind is StepKind.MOUNT else ():
            for volume in spec.volumes:
                if f"{shown.target}/".startswith(f"{volume.path}/"):
                    raise InvalidError(
                        f"{spec.name}: {step.title} would be shown at {shown.target}, which is in "
                        f"{volume.label}, mounted at {volume.path}: give it a place outside of "
                        f"that, or put it into the volume (`rekindle volume put`)"
                    )


def _in_image(spec: FunctionSpec, image: Chain, travels: ImageSpec | None) -> FunctionSpec:
    if travels is not None:
        why = "" if spec.module else why_not_by_value(spec.python_version, _python_of(travels))
        if why:
            raise InvalidError(f"{spec.name} cannot run: {why}")
        return dataclasses.replace(spec, image=travels.to_json())
    # The node itself: what can be set there is a matter of the function.
    settings = image.spec().steps[1:]
    env = {name: value for step in settings for name, value in step.env.items()}
    workdirs = [step.arguments["workdir"] for step in settings if "workdir" in step.arguments]
    return dataclasses.replace(spec, env={**env, **spec.env}, cwd=[spec.cwd, *workdirs][-1])


def _python_of(spec: ImageSpec) -> str:
    """The version of the Python in an image that is built, as in "3.13"; "" where none is known."""
    *_, (_step, top) = layers(spec.steps)
    return str(_record(top).get("python_version") or "")


def _record(layer: str) -> dict[str, Any]:
    """What is noted of a layer; nothing where it is not there, or cannot be read: who builds looks
    at it, and says why."""
    try:
        found = json.loads((paths.images_dir() / "layers" / layer / "layer.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def built(image: Chain, instance: Callable[[], Path], watch: Watch | None = None) -> ImageSpec:
    """Have the layers of an image on this machine; what travels of it."""
    return _have(image, image.spec(), instance, watch)


def _have(
    image: Chain, spec: ImageSpec, instance: Callable[[], Path], watch: Watch | None
) -> ImageSpec:
    if not all_there(spec):
        named = any(step.named_secrets for step in spec.steps)
        place = str(instance().absolute()) if named else ""
        _build(spec, image.secret_values(), place, watch or _note)
    # It was built again just now, where that was asked for.
    return dataclasses.replace(
        spec, steps=tuple(dataclasses.replace(step, force=False) for step in spec.steps)
    )


def all_there(spec: ImageSpec) -> bool:
    """Whether nothing is to be built, nor refused by who builds."""
    store = paths.images_dir() / "layers"
    below: str | None = ""
    lowers: list[str] = []
    for step, name in zip(spec.steps, names(spec.steps), strict=True):
        if not step.kind.makes_layer:
            workdir = step.arguments.get("workdir", "")
            if workdir.startswith("/") and kind_of(lowers, workdir) is Kind.FILE:
                return False
            continue
        record = _record(name)
        if not record or step.force or record.get("parent_build") != below:
            return False
        below = record.get("build")
        lowers.insert(0, str(store / name / "root"))
    return True


def _build(spec: ImageSpec, secrets: dict[str, str], instance: str, watch: Watch) -> None:
    argv = [sys.executable, "-P", "-m", _MODULE]
    request = json.dumps({"spec": spec.to_json(), "secrets": secrets, "instance": instance})
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None and child.stdout is not None
        try:
            with contextlib.suppress(BrokenPipeError):  # it has ended: its status says so
                child.stdin.write(request)
                child.stdin.close()
            last: dict[str, Any] = {}
            for line in child.stdout:
                said = _said(line)
                if "step" in said:
                    watch(said["step"], said["line"])
                else:
                    last = said
        except BaseException:
            child.kill()
            raise
    if "error" in last:
        raise _error(last)
    if child.returncode != 0 or "built" not in last:
        raise ImageError(f"the build of the image ended with status {child.returncode}")


def _said(line: str) -> dict[str, Any]:
    """What a build says in a line. What it did not write itself (a module that Python loads at its
    start did, say, or it was killed within the line) is shown as what a step prints."""
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"step": "", "line": line.rstrip() or " "}


def _error(said: dict[str, Any]) -> Exception:
    if said["kind"] == "ImageBuildError":
        return ImageBuildError(said["error"], said["layer"])
    kind = getattr(exception, said["kind"], ImageError)
    found: Exception = kind(said["error"])
    return found


def _note(step: str, line: str) -> None:
    """A line of a build, for who watches; the steps for everybody who sees what runners print."""
    if not running.shows_output():
        return
    if not line:
        notes.write_note(f"Building {step}")
    else:
        notes.write_note(f"  {line}")
