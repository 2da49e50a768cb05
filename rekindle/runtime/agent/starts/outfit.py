"""What a process gets with its start besides orders: pipes for its output, its page, variables.

Spares are given theirs while they wait: of their variables those that no start changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rekindle.exception import StartError
from rekindle.runtime.agent.runners.output import Output
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.page import RunnerPage


@dataclass(eq=False)
class Outfit:
    """Of one process."""

    output: Output
    page: RunnerPage
    #: Variables that the process has been given already.
    env: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def make(cls) -> Outfit:
        """Raises StartError."""
        return cls.around(Output(_nobody_writes))

    @classmethod
    def around(cls, output: Output) -> Outfit:
        """With output that is there already; closes it where the rest cannot be made. Raises
        StartError."""
        try:
            return cls(output, RunnerPage.create())
        except OSError as error:
            output.close()
            raise StartError(f"no page for a new process: {error}") from error

    @property
    def descriptors(self) -> list[int]:
        """What of it the process has not been given yet."""
        if self.page.fd < 0:
            return []
        return [*(() if self.output.is_handed_over else self.output.write_fds), self.page.fd]

    def handed_over(self) -> None:
        """Close our copies of what the process has by now."""
        if not self.output.is_handed_over:
            self.output.handed_over()
        self.page.handed_over()

    def close(self) -> None:
        """Close all of it: it goes to no process."""
        self.output.close()
        self.page.close()


def _nobody_writes(_line: pb.LogLine) -> None:
    """The process that will has not got its end."""
