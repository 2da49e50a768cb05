"""Where the other packages report what happened: a few additions each time, nothing that waits.

What it costs: a message with results costs about a microsecond for each status in it; the phases
of one of its results are looked at, which takes ten more, at most ``_LOOKS_PER_S`` times a second
however many results come. Then that one speaks for all that were not looked at since.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque

from google.protobuf.message import DecodeError

from rekindle.controller.metrics.lag import LoopLag
from rekindle.controller.metrics.recent import Recent
from rekindle.controller.metrics.series import Book
from rekindle.controller.metrics.starts import failures_of, seconds_of
from rekindle.controller.nodes.agentnews import News
from rekindle.controller.settings import Settings
from rekindle.controller.state import Agent, Function, State
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.phases import Phase

#: Phases of a call. The others are those of a start, and are counted with the start.
_OF_CALLS = {Phase.QUEUE.value, Phase.LOAD_INPUT.value, Phase.EXECUTE.value}
_LOOKS_PER_S = 500
_RECENT_STARTS = 64
_NAMES = {value: name.lower() for name, value in pb.ResultStatus.items()}


class Metrics:
    """The counts of one controller."""

    def __init__(self, state: State, settings: Settings) -> None:
        self._state = state
        self.book = Book(settings.metrics_functions, self._label)
        self.lag = LoopLag()
        #: (agent, "app.function", start), the newest last.
        self.recent_starts: deque[tuple[str, str, pb.RunnerStart]] = deque(maxlen=_RECENT_STARTS)
        #: The last minute of each function.
        self.recent: defaultdict[str, Recent] = defaultdict(Recent)
        self._unseen: dict[str, int] = {}  # inputs that ended since one of theirs was looked at
        self._looks = float(_LOOKS_PER_S)
        self._looked_at = time.monotonic()
        self._tidied = 0.0

    def _label(self, function_id: str) -> str | None:
        function = self._state.functions.get(function_id)
        return function.label if function is not None else None

    # ---- what the other packages say

    def completed(self, function_id: str, status: int, count: int = 1) -> None:
        """Inputs of a function have a result for good, all with this status."""
        series = self.book.of(function_id)
        if series is None:
            return
        name = _NAMES.get(status, "result_unspecified")
        series.calls[name] += count
        self.recent[function_id].ended(time.monotonic(), count)

    def results(self, done: pb.Done) -> None:
        """A message with results came: now and then one of them is looked at."""
        function_id = done.function_id
        weight = self._unseen.pop(function_id, 0) + len(done.indexes)
        now = time.monotonic()
        self._looks = min(_LOOKS_PER_S, self._looks + (now - self._looked_at) * _LOOKS_PER_S)
        self._looked_at = now
        if self._looks < 1 or not done.results:
            if function_id in self._state.functions:
                self._unseen[function_id] = weight
            return
        self._looks -= 1
        self._look(function_id, done.results[-1], weight, now)

    def _look(self, function_id: str, raw: bytes, weight: int, now: float) -> None:
        series = self.book.of(function_id)
        if series is None:
            return
        try:
            result = pb.Result.FromString(raw)
        except DecodeError:
            return  # whoever needs it says so
        last = began = result.submitted_ns
        strategy = result.strategy or "none"
        took: dict[str, int] = {}  # a phase that is marked twice is one
        for mark in result.marks:
            if mark.phase in _OF_CALLS:
                took[mark.phase] = took.get(mark.phase, 0) + max(0, mark.at_ns - last)
            last = max(last, mark.at_ns)
        if not took:
            return
        for phase, spent in took.items():
            series.phases[phase, strategy].add(spent / 1e9, weight)
        home = max(time.time_ns(), last)
        series.phases[Phase.STORE_RESULT.value, strategy].add((home - last) / 1e9, weight)
        if began:
            series.call_seconds.add((home - began) / 1e9, weight)
            self.recent[function_id].took(now, (home - began) / 1e9, weight)

    def again(self, function: Function, *, retries: int = 0, redeliveries: int = 0) -> None:
        """Inputs run once more: their function asked for it, or their runner or agent was lost."""
        series = self.book.of(function.function_id)
        if series is not None:
            series.retries += retries
            series.redeliveries += redeliveries

    def heartbeat(self, agent: Agent, news: News) -> None:
        """An agent reported on itself."""
        now = time.monotonic()
        if now - self._tidied > 5:
            self._tidied = now
            self._tidy(now)
        for called in news.direct:
            self._called_directly(called.function_id, called.calls, called.busy_s, now)
        for start in news.starts:
            self._started(agent.agent_id, start, now)

    def _started(self, agent_id: str, start: pb.RunnerStart, now: float) -> None:
        # What its agent calls it, where the app was closed meanwhile: people know no ids.
        label = self._label(start.function_id) or start.function
        kept = pb.RunnerStart()
        kept.CopyFrom(start)  # the start itself would keep all of its heartbeat in memory
        self.recent_starts.append((agent_id, label, kept))
        series = self.book.of(start.function_id)
        if series is None:
            return
        series.failed_starts.update(failures_of(start))
        if start.error:
            return
        seconds = seconds_of(start)
        series.starts[start.strategy].add(seconds)
        for phase, ms in start.phases_ms.items():
            if phase not in _OF_CALLS:
                series.phases[phase, start.strategy].add(ms / 1000)
        self.recent[start.function_id].started(now, seconds, start.strategy)

    def _called_directly(self, function_id: str, calls: int, busy_s: float, now: float) -> None:
        """Calls between clients and runners."""
        series = self.book.of(function_id)
        if series is None:
            return
        series.direct_calls += calls
        series.direct_seconds += busy_s
        recent = self.recent[function_id]
        recent.ended(now, calls)
        recent.took(now, busy_s / calls, calls)

    # ---- for the status

    def last_minute(self, function_id: str) -> pb.LastMinute | None:
        """The last minute of a function; None where nothing happened."""
        found = self.recent.get(function_id)
        return found.report(time.monotonic()) if found is not None else None

    def _tidy(self, now: float) -> None:
        self.book.tidy(now)
        for table in (self.recent, self._unseen):
            for function_id in [one for one in table if one not in self._state.functions]:
                del table[function_id]
