"""Whether what an image is given can be at its place there: asked before anything is built for it.

Knows nothing of what is below a layer that is one file, which is mounted by who builds or runs.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence
from pathlib import Path

from rekindle.exception import ImageError
from rekindle.linux.stacked import Kind, kind_of


def check_workdir(title: str, workdir: str, layers: Sequence[str]) -> None:
    """``layers``: their directories, the topmost first. Raises ImageError."""
    if kind_of(layers, workdir) is Kind.FILE:
        raise ImageError(
            f"{title}: {workdir}, or what it is below, is a file of the image, and nothing can "
            f"work in it: name a folder"
        )


def check_files(title: str, files: Iterable[tuple[Path, str]], workdir: str) -> None:
    """Of local files that are shown at start. Raises ImageError."""
    for source, target in files:
        if target == workdir and not source.is_dir():
            raise ImageError(
                f"{title} shows a file at {target}, which is the working directory of the image: "
                f"name another place, or another workdir()"
            )


def check_copies(
    title: str, files: Iterable[tuple[Path, str]], into: str, layers: Sequence[str]
) -> None:
    """Of local files that are copied; ``into``: the name of one that goes into a folder which is
    there. Raises ImageError."""
    for source, target in files:
        there = kind_of(layers, target)
        if into and there in (Kind.EMPTY, Kind.FOLDER):
            target = posixpath.join(target, into)
            there = kind_of(layers, target)
        if source.is_dir() and there is Kind.FILE:
            raise ImageError(
                f"{title}: {target}, or what it is below, is a file of the image, and a folder is "
                f"to be put there: name another place"
            )
        if not source.is_dir() and there in (Kind.EMPTY, Kind.FOLDER):
            raise ImageError(
                f"{title}: {target} is a folder of the image, and a file is to be put there: name "
                f"the file, too, or end the path with a slash to have it in the folder"
            )
