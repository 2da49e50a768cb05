"""A base that is an OCI image: where it comes from. Standard library only."""

from __future__ import annotations

import re
from pathlib import Path

from rekindle.exception import InvalidError
from rekindle.sdk.images import local_files, step_commands
from rekindle.wire.images import INPUTS, Step, StepKind

#: What skopeo calls them; each names a file or folder of the client's machine.
LOCAL = ("oci", "oci-archive", "docker-archive", "dir")
#: Of those that are folders, a file that is in each.
_IN_FOLDERS = {"oci": "index.json", "dir": "manifest.json"}
#: What else skopeo knows: it is of another machine than the one that builds, or needs its programs.
_OTHERS = ("docker-daemon", "containers-storage", "ostree", "sif", "tarball", "http", "https")
_HOST = r"(?:localhost|[\w-]+(?:\.[\w-]+)+|[\w.-]+(?=:\d)|\[[0-9a-f:]+\])(?::\d+)?/"
_REFERENCE = re.compile(rf"(?:docker://)?(?:{_HOST})?[a-z0-9._/-]+(?::[\w.-]+)?(?:@\w+:\w+)?")
REGISTRY = "docker"


def check(tag: str) -> None:
    """Raises InvalidError for what is no name of an image."""
    transport = tag.partition(":")[0]
    if transport in LOCAL:
        return
    title = f"Image.from_registry({tag!r})"
    if transport in _OTHERS and not tag.partition(":")[2].isdecimal():
        raise InvalidError(
            f"{title}: {transport} is no source of images here: name one of a registry, or save it "
            f"(docker save, skopeo copy) and give docker-archive:FILE or oci:FOLDER"
        )
    if not _REFERENCE.fullmatch(tag):
        raise InvalidError(
            f"{title} is no name of an image: write NAME[:TAG] or HOST[:PORT]/NAME[:TAG], in small "
            f"letters, as in 'python:3.13-slim'"
        )


def steps(tag: str, title: str, add_python: str, *, force: bool) -> list[Step]:
    """The base, and its Python where one is asked for. Raises InvalidError."""
    more = [step_commands.python_by_uv(add_python)] if add_python else []
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
    inside = _IN_FOLDERS.get(transport)
    if inside is None and not Path(path).is_file():
        raise InvalidError(f"{title}: {path} is no file: a folder is oci:FOLDER or dir:FOLDER")
    if inside is not None and not Path(path, inside).is_file():
        raise InvalidError(f"{title}: {path} is no folder of an image: it has no {inside}")
    arguments = {"image": f"{transport}:{INPUTS}{f':{name}' if name else ''}"}
    files = (local_files.keep(Path(path), INPUTS),)
    return Step(kind=StepKind.OCI, title=title, arguments=arguments, files=files, force=force)
