"""Looking for what comes soon, with a clock and processors that are played."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from types import FrameType

import pytest

from rekindle.linux import arrivals
from rekindle.linux.arrivals import LOOK_NS, Arrivals


class Machine:
    """A clock that goes on with each look, and what happens when a thread gives way."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = 1_000_000_000
        self.looks = 0
        self.meanwhile: Callable[[], None] = lambda: None
        #: How long others have the processor when it is given away.
        self.others_ns = 1000
        monkeypatch.setattr(arrivals, "perf_counter_ns", lambda: self.now_ns)
        monkeypatch.setattr(os, "sched_yield", self._give_way)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
        monkeypatch.setattr(arrivals, "_not_before_ns", 0)

    def _give_way(self) -> None:
        self.looks += 1
        self.now_ns += self.others_ns
        self.meanwhile()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair()
    with here, there:
        yield here, there


Ends = tuple[socket.socket, socket.socket]


def quick(machine: Machine, here: socket.socket) -> Arrivals:
    """Of an end at which the last thing came soon."""
    made = Arrivals(here.fileno())
    made.slept(machine.now_ns)
    return made


def test_nobody_looks_before_something_came_soon(machine: Machine, ends: Ends) -> None:
    here, there = ends
    there.send(b"x")
    made = Arrivals(here.fileno())
    assert not made.look(machine.now_ns)
    made.slept(machine.now_ns - LOOK_NS)
    assert not made.look(machine.now_ns)
    made.slept(machine.now_ns)
    assert made.look(machine.now_ns)
    assert machine.looks == 0


def test_what_comes_after_a_start_is_looked_for(machine: Machine, ends: Ends) -> None:
    here, there = ends
    made = Arrivals(here.fileno())
    made.likely()
    machine.meanwhile = lambda: there.send(b"x") and None
    assert made.look(machine.now_ns)
    assert machine.looks == 1


def test_what_comes_while_others_have_the_processor_is_seen(machine: Machine, ends: Ends) -> None:
    here, there = ends
    made = quick(machine, here)
    machine.meanwhile = lambda: machine.looks == 3 and there.send(b"x") and None
    assert made.look(machine.now_ns)
    assert machine.looks == 3
    assert here.recv(1) == b"x"


def test_a_look_ends_and_is_not_repeated_where_nothing_comes(machine: Machine, ends: Ends) -> None:
    made = quick(machine, ends[0])
    began_ns = machine.now_ns
    assert not made.look(began_ns)
    assert LOOK_NS < machine.now_ns - began_ns <= LOOK_NS + machine.others_ns
    looks = machine.looks
    assert not made.look(machine.now_ns)
    assert machine.looks == looks


def test_where_others_need_the_processor_no_one_looks_for_a_while(
    machine: Machine, ends: Ends
) -> None:
    made, other = quick(machine, ends[0]), quick(machine, ends[1])
    machine.others_ns = 2 * LOOK_NS
    assert not made.look(machine.now_ns)
    assert machine.looks == 1
    ends[0].send(b"x")
    assert not other.look(machine.now_ns)
    machine.now_ns += 1_000_000_000
    assert other.look(machine.now_ns)


def test_one_thread_of_a_process_looks(machine: Machine, ends: Ends) -> None:
    made, other = quick(machine, ends[0]), quick(machine, ends[1])
    seen = []
    machine.meanwhile = lambda: seen.append(other.look(machine.now_ns))
    ends[0].send(b"x")  # for the other
    assert not made.look(machine.now_ns)
    assert seen and not any(seen)
    machine.meanwhile = lambda: None
    assert other.look(machine.now_ns)


def test_after_a_look_that_a_signal_ends_at_any_line_others_look(
    machine: Machine, ends: Ends
) -> None:
    made, other = quick(machine, ends[0]), quick(machine, ends[1])
    ends[0].send(b"x")  # for the other
    line, is_cut = 0, True
    while is_cut:
        line += 1
        is_cut = _look_that_is_cut(made, machine.now_ns, line)
        machine.now_ns += 3 * LOOK_NS
        assert other.look(machine.now_ns), line
        made.slept(machine.now_ns)
    assert line > 10


def _look_that_is_cut(made: Arrivals, began_ns: int, line: int) -> bool:
    """Look until an exception comes before this line, as one does from a signal's handler."""
    seen = 0

    def trace(frame: FrameType, event: str, _arg: object) -> Callable[..., object] | None:
        nonlocal seen
        if frame.f_code.co_filename != arrivals.__file__:
            return None
        if event == "line" and (seen := seen + 1) == line:
            raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        made.look(began_ns)
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    return False


def test_with_one_processor_nobody_looks(
    machine: Machine, ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})
    made = quick(machine, ends[0])
    ends[1].send(b"x")
    assert not made.look(machine.now_ns)
