"""What a build prints: with secrets left out, as read from another process's log, and its last
lines in an error.

Knows of layers only their names, and builds nothing.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rekindle.exception import Error, ImageBuildError, LayerLostError
from rekindle.linux.passing import is_full
from rekindle.runtime.images.steps import StepFailedError
from rekindle.wire.images import Step


def without_secrets(values: Mapping[str, str], line: str) -> str:
    """The line with names for values; of a value of several lines, such as a key, for each."""
    parts = [(part.strip(), name) for name, value in values.items() for part in value.splitlines()]
    for part, name in sorted(parts, key=lambda one: -len(one[0])):  # one may hold another
        if len(part) > 3:
            line = line.replace(part, f"<{name}>")
    return line


@dataclass
class BuildFollower:
    """Shows what a build of the same layer prints that another process has begun."""

    log: Path
    say: Callable[[str], None]
    _offset: int = -1

    def more(self) -> None:
        """Show what was printed since the last time."""
        if self._offset < 0:
            self.say("another process builds it; waiting for it")
            self._offset = 0
        try:
            with open(self.log, encoding="utf-8", errors="replace") as log:
                log.seek(self._offset)
                for line in log:
                    if line.endswith("\n"):
                        self._offset += len(line.encode())
                        self.say(line.rstrip())
        except FileNotFoundError:
            pass


@contextlib.contextmanager
def explained(step: Step, name: str, last: deque[str]) -> Iterator[None]:
    """Failures as ImageBuildError, with what the step printed last."""
    try:
        yield
    except LayerLostError:
        raise  # of a layer below it: that is built, and this one then
    except StepFailedError as error:
        shown = "".join(f"\n    {line}" for line in last) or " (it printed nothing)"
        raise ImageBuildError(
            f"{step.title} {error}; the last that it printed:{shown}\n"
            f"layer {name[:12]}; `rekindle image logs {name[:12]}` shows all of it",
            name,
        ) from None
    except OSError as error:
        what = "the disk is full" if is_full(error) else str(error)
        raise ImageBuildError(
            f"{step.title} could not be built: {what}; `rekindle image gc` and `rekindle image du` "
            f"tell about room for images (layer {name[:12]})",
            name,
        ) from error
    except Error as error:
        shown = "".join(f"\n    {line}" for line in last)
        raise ImageBuildError(f"{error}{shown}\nlayer {name[:12]}", name) from error
