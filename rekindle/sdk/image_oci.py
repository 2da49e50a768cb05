"""A base that is an OCI image: where it comes from. Standard library only."""

from __future__ import annotations

from pathlib import Path

from rekindle.exception import InvalidError
from rekindle.sdk import image_commands, image_files
from rekindle.wire.images import INPUTS, Step, StepKind

#: What skopeo calls them; each names a file or folder of the client's machine.
LOCAL = ("oci", "oci-archive", "docker-archive", "dir")
REGISTRY = "docker"


def steps(tag: str, title: str, add_python: str, *, force: bool) -> list[Step]:
    """The base, and its Python where one is asked for. Raises InvalidError."""
    more = [image_commands.python_by_uv(add_python)] if add_python else []
    return [_base(tag, title, force=force), *more]


def _base(tag: str, title: str, *, force: bool) -> Step:
    """A local one is hashed by its content."""
    transport, _, rest = tag.partition(":")
    if transport not in LOCAL:
        arguments = {"image": f"{REGISTRY}://{tag.removeprefix(f'{REGISTRY}://')}"}
        return Step(kind=StepKind.OCI, title=title, arguments=arguments, force=force)
    path, _, name = rest.partition(":")
    if not Path(path).exists():
        raise InvalidError(f"{title}: there is no {path}")
    arguments = {"image": f"{transport}:{INPUTS}{f':{name}' if name else ''}"}
    files = (image_files.keep(Path(path), INPUTS),)
    return Step(kind=StepKind.OCI, title=title, arguments=arguments, files=files, force=force)
