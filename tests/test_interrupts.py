"""Where a signal's handler is run is where Python lets it run, and what it raises goes the ways
that an exception goes from there."""

from __future__ import annotations

import gc
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import rekindle
from rekindle.sdk import running
from tests.interrupts import at_all_places
from tests.interrupts.loops import outside

_PACKAGE = Path(rekindle.__file__).parent
#: In a file of ours, as it were.
_FILE = str(_PACKAGE / "made.py")
#: What runs in programs and runners, where signals have handlers of the user's.
_INTERRUPTED = (
    *("sdk", "execution", "volumes", "wire", "linux", "forkserver", "gpu_restore"),
    "runtime/runner",
)
#: Where none is run: a process of our own; a thread.
_UNINTERRUPTED = {"sdk/local/supervisor.py", "sdk/terminal/server.py"}


def _made(source: str, **names: object) -> dict[str, Any]:
    """What the source defines; its first line is line 1."""
    exec(compile(source.lstrip("\n"), _FILE, "exec"), names)
    return names


def _kinds(places: set[str]) -> set[str]:
    """Without file and line."""
    return {place.partition(", ")[2] for place in places}


def test_functions_calls_and_loops() -> None:
    made = _made("""
def called(number):
    return number + 1

def calls():
    called(1)
    return called(len("ab"))

def loops():
    for _ in (1, 2):
        pass
""")
    places = at_all_places(made["calls"], lambda _: None)
    assert _kinds(places) == {
        "at the beginning of calls",
        "at the beginning of called",
        "in calls",
    }
    assert "made.py:6, in calls" in places  # behind len(); behind functions of Python's it is not
    assert not any(place.startswith("made.py:5, in") for place in places)
    looped = at_all_places(made["loops"], lambda _: None)
    assert _kinds(looped) == {"at the beginning of loops", "in loops"}


def test_a_generator_that_goes_on() -> None:
    made = _made("""
def two():
    yield 1
    yield 2

def outer():
    yield from two()

def reads():
    for _ in outer():
        pass
""")
    places = at_all_places(made["reads"], lambda _: None)
    untold = {"in outer"} if sys.version_info < (3, 12) else set()
    assert _kinds(places) - untold == {
        "at the beginning of reads",
        "at the beginning of outer",
        "at the beginning of two",
        "in reads",
    }


def test_what_a_call_did_is_done_and_its_value_is_lost() -> None:
    lists: list[list[int]] = [[]]
    made = _made(
        """
def takes():
    taken = None
    try:
        taken = lists[-1].append(1) or 1
    finally:
        seen.append((taken, len(lists[-1])))
""",
        lists=lists,
        seen=(seen := []),
    )
    at_all_places(made["takes"], lambda _: None, before=lambda: lists.append([]))
    assert (None, 0) not in seen
    assert (None, 1) in seen  # between the call and where its value is kept
    assert seen[-1] == (1, 1)


@pytest.mark.skipif(
    sys.version_info < (3, 12), reason="tracing raises by the next instruction, behind the block"
)
def test_the_handler_of_a_place_raises_in_the_block_of_the_call() -> None:
    made = _made(
        """
def gives():
    try:
        return given()
    except KeyboardInterrupt:
        caught.append(1)
        raise
""",
        given=dict,
        caught=(caught := []),
    )
    at_all_places(made["gives"], lambda _: None)
    assert caught


def test_behind_super_there_is_none_and_behind_calls_with_keywords_there_is() -> None:
    made = _made("""
class Sub(dict):
    def __init__(self):
        super().__init__()
        super().update(**{"a": 1})
        super().update(b=1)
""")
    places = at_all_places(made["Sub"], lambda _: None)
    assert {place for place in places if ", in " in place} == {
        "made.py:3, in __init__",
        "made.py:4, in __init__",
        "made.py:5, in __init__",
    }


def test_what_ends_with_a_call_is_before_its_place() -> None:
    made = _made(
        """
class Given:
    def __del__(self):
        ended.append(1)

def calls():
    str(Given())
    any(one for one in (0, 1))
""",
        ended=(ended := []),
    )
    places = at_all_places(made["calls"], lambda _: None)
    assert {"made.py:6, in calls", "made.py:7, in calls"} <= places and ended


def test_another_thread_is_not_interrupted() -> None:
    made = _made("""
def other():
    len("")
""")
    ended = []

    def apart() -> None:
        made["other"]()
        ended.append(1)

    def act() -> None:
        thread = threading.Thread(target=apart)
        thread.start()
        thread.join()

    places = at_all_places(act, lambda _: None)
    assert not places and ended == [1]


@pytest.mark.parametrize("within", [(), {"made.py"}, {"another.py"}])
def test_the_files_that_count(within: set[str]) -> None:
    made = _made("""
def one():
    pass
""")
    places = at_all_places(made["one"], lambda _: None, within=within)
    assert bool(places) == (within != {"another.py"})


def test_what_is_garbage_has_no_places() -> None:
    """Python drops what is raised in a generator that it closes as it collects it."""

    def leave() -> None:
        block = running.enable_output()
        block.__enter__()
        block.itself = block  # type: ignore[attr-defined]

    def act() -> list[list[int]]:
        running.asked_strategy()
        return [[number] for number in range(5000)]  # after a part of them garbage is collected

    gc.collect()
    places = at_all_places(act, lambda _: None, before=leave)
    assert {one.rpartition(" ")[2] for one in places} == {"asked_strategy"}
    assert running.shows_output()
    gc.collect()
    assert not running.shows_output()


def test_loops_that_jump_back_outside_of_what_is_around_them_are_seen(tmp_path: Path) -> None:
    file = tmp_path / "made.py"
    file.write_text("""
def skips(lock, numbers):
    try:
        while numbers:
            numbers.pop()
    finally:
        numbers.clear()
    with lock:
        while numbers:
            numbers.pop()

def does_not(lock, numbers):
    while numbers:
        with lock:
            numbers.pop()
    try:
        while True:
            if not numbers:
                break
            numbers.pop()
    finally:
        while numbers:
            numbers.pop()
""")
    seen = ["made.py:4, in that of line 3", "made.py:9, in that of line 8"]
    assert list(outside(file)) == (seen if (3, 12) <= sys.version_info < (3, 14) else [])


def test_an_interrupt_between_two_rounds_of_a_loop_passes_nothing_that_is_given_back() -> None:
    files = {
        str(file.relative_to(_PACKAGE)): file
        for part in _INTERRUPTED
        for file in sorted((_PACKAGE / part).rglob("*.py"))
    }
    assert files.keys() > _UNINTERRUPTED
    assert not [
        (name, *found)
        for name, file in files.items()
        if name not in _UNINTERRUPTED and (found := list(outside(file)))
    ]
