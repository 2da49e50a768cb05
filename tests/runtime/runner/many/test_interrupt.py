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
import sys, threading
from rekindle.runtime.runner.many.interrupt import Interrupt
interrupt = Interrupt()
interrupt.arm()
if sys.argv[1] == "interrupted":
    beside = threading.Thread(target=interrupt)
    try:
        beside.start()
        while True:
            pass
    except BaseException as error:
        print(type(error).__name__)
interrupt.disarm()

def code():
    return "came back"

sys.settrace(lambda *_: None)
print(code())
"""


@pytest.mark.parametrize(
    ("how", "said"), [("interrupted", "InputCancellation\ncame back\n"), ("not", "came back\n")]
)
def test_code_that_is_traced_comes_back_after_it(how: str, said: str) -> None:
    # Python 3.11 begins such code anew for ever where it still looks for an exception.
    program = [sys.executable, "-c", _TRACED, how]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == said
