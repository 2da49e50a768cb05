"""A base that is an OCI image: where it comes from. Standard library only."""

from __future__ import annotations

from pathlib import Path

from rekindle.exception import InvalidError
from rekindle.sdk import image_files
from rekindle.wire.images import INPUTS, Step, StepKind

#: What skopeo calls them; each names a file or folder of the client's machine.
LOCAL = ("oci", "oci-archive", "docker-archive", "dir")
REGISTRY = "docker"


def step(tag: str, title: str, add_python: str, *, force: bool) -> Step:
    """The base. A local one is hashed by its content. Raises InvalidError."""
    transport, _, rest = tag.partition(":")
    arguments = {"python": add_python} if add_python else {}
    if transport not in LOCAL:
        arguments["image"] = f"{REGISTRY}://{tag.removeprefix(f'{REGISTRY}://')}"
        return Step(kind=StepKind.OCI, title=title, arguments=arguments, force=force)
    path, _, name = rest.partition(":")
    if not Path(path).exists():
        raise InvalidError(f"{title}: there is no {path}")
    arguments["image"] = f"{transport}:{INPUTS}{f':{name}' if name else ''}"
    files = (image_files.keep(Path(path), INPUTS),)
    return Step(kind=StepKind.OCI, title=title, arguments=arguments, files=files, force=force)
