"""A second simulator of fixed keep-alive, written another way: slow, plain, for one pool.

It shares no code with the first: no heap, no plans, no pools; at each step it looks at everything
that could happen next.
"""

import math
from dataclasses import dataclass, field


@dataclass
class Reference:
    """Runners of one function, each kept for ``keep_s`` after its last input."""

    start_s: float
    keep_s: float
    most: float = math.inf
    waits: dict[int, float] = field(default_factory=dict)
    starts: int = 0
    runner_s: float = 0.0

    def run(self, arrivals: list[tuple[float, float]], until: float) -> "Reference":
        """Serve all; runners that are left are counted until ``until``, or the last end."""
        starting: list[tuple[float, float]] = []  # (ready at, born)
        busy: list[tuple[float, float]] = []  # (free at, born)
        idle: list[tuple[float, float]] = []  # (idle since, born), longest first
        waiting: list[int] = []
        to_come = list(range(len(arrivals)))
        end = until

        def begin(index: int, now: float, born: float) -> None:
            self.waits[index] = now - arrivals[index][0]
            busy.append((now + arrivals[index][1], born))

        def free(now: float, born: float) -> None:
            if waiting:
                begin(waiting.pop(0), now, born)
            else:
                idle.append((now, born))

        quiet_since = math.inf
        while to_come or waiting or busy or starting:
            # A runner that is ready when nobody needs it any more goes when the others do.
            leaves = min(idle[0][0], quiet_since) + self.keep_s if idle else math.inf
            events = [
                (min(starting)[0], "ready") if starting else (math.inf, "none"),
                (min(busy)[0], "free") if busy else (math.inf, "none"),
                (leaves, "expired") if idle else (math.inf, "none"),
                (arrivals[to_come[0]][0], "arrival") if to_come else (math.inf, "none"),
            ]
            now, what = min(events)
            if what == "ready":
                one = min(starting)
                starting.remove(one)
                free(now, one[1])
            elif what == "free":
                one = min(busy)
                busy.remove(one)
                end = max(end, now)
                free(now, one[1])
                if not busy:
                    quiet_since = now
            elif what == "expired":
                since, born = idle.pop(0)
                now = max(now, since)
                over = not (to_come or waiting or busy)  # a start goes on that nobody needs
                self.runner_s += (min(now, end) if over else now) - born
            else:
                index = to_come.pop(0)
                quiet_since = math.inf
                if idle:
                    _, born = idle.pop()
                    begin(index, now, born)
                else:
                    waiting.append(index)
                    size = len(starting) + len(busy) + len(idle)
                    if len(waiting) > len(starting) and size < self.most:
                        starting.append((now + self.start_s, now))
                        self.starts += 1
        for since, born in idle:
            leaves = max(min(since, quiet_since) + self.keep_s, since)
            self.runner_s += min(leaves, end) - born
        return self
