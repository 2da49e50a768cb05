"""What interrupts user code in a thread, whatever that code has made of the same function."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from rekindle.exception import InputCancellation
from rekindle.runtime.runner.many.interrupt import Interrupt


@pytest.fixture
def typed() -> Iterator[None]:
    """As recipes have it that end a thread."""
    theirs = ctypes.pythonapi.PyThreadState_SetAsyncExc
    before = theirs.argtypes
    theirs.argtypes = ctypes.c_ulong, ctypes.py_object
    yield
    theirs.argtypes = before


def work() -> None:
    """In a thread of its own: Python loses what is raised in one that was refused another."""
    interrupt = Interrupt()
    beside = threading.Thread(target=interrupt)
    with pytest.raises(InputCancellation):
        beside.start()
        while True:  # code that an exception from outside reaches
            pass
    beside.join()
    interrupt()
    interrupt.disarm()
    interrupt()
    interrupt.arm()
    interrupt.disarm()
    interrupt()


def test_it_is_raised_once_while_it_is_armed_and_not_after(typed: None) -> None:
    with ThreadPoolExecutor(1) as threads:
        threads.submit(work).result()


_TRACED = """
import sys
from rekindle.runtime.runner.many.interrupt import Interrupt

interrupt = Interrupt()
if sys.argv[1] == "raised":
    try:
        interrupt()
        while True:
            pass
    except BaseException:
        pass
interrupt.disarm()
calls = []
sys.settrace(lambda frame, *_: calls.append(frame.f_code.co_name))
(lambda: None)()
sys.settrace(None)
assert calls == ["<lambda>"], calls
"""


@pytest.mark.parametrize("what", ["raised", "not raised"])
def test_once_it_is_disarmed_code_is_traced_as_before(what: str) -> None:
    # In a process that can be killed: in one that hangs so not even a signal's exception comes.
    subprocess.run([sys.executable, "-c", _TRACED, what], check=True, timeout=60)
