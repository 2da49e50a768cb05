"""Which lines of a log someone wants to see."""

from __future__ import annotations

from dataclasses import dataclass

from rekindle.wire import lines as chunks
from rekindle.wire import rekindle_pb2 as pb


@dataclass(frozen=True, slots=True)
class LogFilter:
    """A line is wanted when it matches everything that is given."""

    since_ns: int = 0
    until_ns: int = 0  # 0: without end
    function: str = ""
    call_id: str = ""
    runner_id: str = ""
    streams: frozenset[str] = frozenset()
    search: str = ""  # in lower case

    @classmethod
    def of(cls, request: pb.LogsRequest) -> LogFilter | None:
        """What a request asks for; None when every line matches."""
        made = cls(
            since_ns=request.since_ns,
            until_ns=request.until_ns,
            function=request.function,
            call_id=request.call_id,
            runner_id=request.runner_id,
            streams=frozenset(request.streams),
            search=request.search.lower(),
        )
        return None if made == cls() else made

    def of_them(self, line: pb.LogLine) -> list[pb.LogLine]:
        """What is wanted of the lines of a message; neighbours stay together."""
        matches = (
            line.at_ns >= self.since_ns
            and (not self.until_ns or line.at_ns < self.until_ns)
            and (not self.function or _is(line.function, self.function))
            and (not self.call_id or line.call_id == self.call_id)
            and (not self.runner_id or line.runner_id == self.runner_id)
            and (not self.streams or line.stream in self.streams)
        )
        if not matches:
            return []
        return chunks.with_text(line, self.search) if self.search else [line]


def _is(function: str, wanted: str) -> bool:
    """Lines are a class's, whichever of its methods wrote them."""
    return function == wanted or (bool(function) and wanted.startswith(f"{function}."))
