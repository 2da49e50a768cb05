"""Many files put into a volume together: all written first, beside it, then moved into place."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

from rekindle.exception import VolumeError
from rekindle.volumes.tree import DRAFT, Tree


@dataclass(eq=False)
class Staging:
    """Files that are written and not in place yet."""

    tree: Tree
    _name: str = field(default_factory=lambda: f"{DRAFT}{secrets.token_hex(8)}")
    #: Where each is to go, in the order in which they were written.
    _targets: list[str] = field(default_factory=list)

    def __enter__(self) -> Staging:
        try:
            os.mkdir(self.tree.root / self._name, 0o700)
        except OSError as error:
            raise VolumeError(f"{self.tree.label}: nothing can be written: {error}") from error
        return self

    def __exit__(self, *_error: object) -> None:
        shutil.rmtree(self.tree.root / self._name, ignore_errors=True)

    @contextmanager
    def file(self, target: str, mode: int) -> Iterator[BinaryIO]:
        """One that is to go to ``target``."""
        place = self.tree.root / self._name / str(len(self._targets))
        with open(place, "xb") as file:
            os.fchmod(file.fileno(), mode & 0o777)
            yield file
        self._targets.append(target)

    def place(self, *, force: bool) -> None:
        """Move all into place. Raises VolumeFileExistsError without ``force``, VolumePathError."""
        for number, target in enumerate(self._targets):
            self.tree.move_in(f"{self._name}/{number}", target, force=force)
