"""What a process in an image has that is not as on the node: places, variables, what it loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rekindle.runtime.agent.starts.volumes import Bind
from rekindle.runtime.images import driver
from rekindle.runtime.images.built import BuiltImage
from rekindle.volumes import registry
from rekindle.wire.environment import OF_ANY_IMAGE, PASSED_INTO_IMAGES, passed_on_environment
from rekindle.wire.images import MODULES, OURS
from rekindle.wire.volumes import VolumeMount

#: Places in its root.
LIBRARY, SOURCE, INSTANCE = f"{OURS}/lib", f"{OURS}/source", f"{OURS}/instance"
SNAPSHOT, VOLUMES = f"{OURS}/snapshot", f"{OURS}/volumes"
DRIVER = f"{OURS}/driver"
#: Where programs of an image look for it.
SMI = "/usr/bin/nvidia-smi"
#: Where programs of an image work, as users of such systems expect it.
DEFAULT_DIRECTORY = "/root"


def environment(image: BuiltImage) -> dict[str, str]:
    """Its variables, but for those of its function."""
    passed_on = passed_on_environment()
    ours = {name: value for name, value in passed_on.items() if name in PASSED_INTO_IMAGES}
    return {**OF_ANY_IMAGE, **ours, **dict(image.env)}


def import_path(image: BuiltImage, env: Mapping[str, str]) -> dict[str, str]:
    """The variable by which it, and Python programs that it starts, find rekindle's runner."""
    own = env.get("PYTHONPATH", dict(image.env).get("PYTHONPATH", ""))
    return {"PYTHONPATH": ":".join(filter(None, (LIBRARY, MODULES, own)))}


def driver_variables(env: Mapping[str, str]) -> dict[str, str]:
    """Of a function with ``gpu=``: where libraries of the node's driver are found, after those
    places that the image itself names."""
    own = env.get("LD_LIBRARY_PATH", "")
    return {"LD_LIBRARY_PATH": ":".join(filter(None, (own, f"{DRIVER}/{driver.LIBRARIES}")))}


def own(runner_env: Mapping[str, str]) -> dict[str, str]:
    """What a runner gets besides: where the instance is there."""
    return {**runner_env, "REKINDLE_DIR": INSTANCE, registry.VARIABLE: VOLUMES}


def volume_place(mount: VolumeMount) -> str:
    """Where a root has the folder of a volume, as a registry has it."""
    return f"{VOLUMES}/{mount.environment}/{mount.name}"


def seen_there(binds: Sequence[Bind], mounts: Sequence[VolumeMount]) -> list[Bind]:
    """The volumes of a root as its runner sees them: they are there already."""
    found: list[Bind] = []
    for one, mount in zip(binds, mounts, strict=True):
        root = one["target"] if mount.url else f"{volume_place(mount)}/files"
        found.append({**one, "root": root, "source": one["target"], "below": ""})
    return found


def seen_from_node(
    loaded: Mapping[str, Sequence[int]], sources: Sequence[Sequence[str]]
) -> dict[str, Sequence[int]]:
    """Of the files that a template loaded, named as the node has them, those that can change: what
    is shown in its root. The image's own never do; that it is another, its name says."""
    places = [f"{source}/" for _target, source in sources]
    return {
        path: state
        for path, state in loaded.items()
        if any(path.startswith(place) or f"{path}/" == place for place in places)
    }


def on_node(path: str, snapshot: Path, layers: Sequence[Path]) -> str:
    """Where the node has what a process sees at ``path``; "" where it is no file of the snapshot
    that it came from, nor of a layer."""
    if path.startswith(f"{SNAPSHOT}/"):
        return f"{snapshot}{path.removeprefix(SNAPSHOT)}"
    for layer in layers:
        found = layer / path.lstrip("/")
        if found.is_file():
            return str(found)
    return ""
