"""Errors that are shown by hooks of user code, which fail."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from rekindle.forkserver import exception_hooks


def raises(*_: object) -> None:
    raise LookupError("of the hook")


def exits(*_: object) -> None:
    raise SystemExit(3)


@pytest.mark.parametrize(("hook", "of_hook"), [(raises, "LookupError"), (exits, "SystemExit: 3")])
def test_what_a_hook_raises_is_shown_with_what_it_was_to_show(
    hook: Callable[..., None],
    of_hook: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "excepthook", hook)
    monkeypatch.setattr(sys, "unraisablehook", hook)
    exception_hooks.show(ZeroDivisionError("the error"))
    said = capsys.readouterr().err
    assert of_hook in said and "ZeroDivisionError: the error" in said
    exception_hooks.show_ignored(ZeroDivisionError("another error"), raises)
    said = capsys.readouterr().err
    assert said.count("Exception ignored in") == 2
    assert of_hook in said and "ZeroDivisionError: another error" in said


def test_hooks_that_work_are_given_all(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(sys, "excepthook", lambda *given: seen.append(given[1]))
    monkeypatch.setattr(sys, "unraisablehook", lambda given: seen.extend(given[1::3]))
    one, other = KeyError("one"), KeyError("other")
    exception_hooks.show(one)
    exception_hooks.show_ignored(other, raises)
    assert seen == [one, other, raises]


_FORKS = """
import os, sys
from rekindle.forkserver import forking

def raises(*_):
    raise LookupError("of the hook")

sys.excepthook = raises
if (pid := os.fork()) == 0:
    print("printed before", end="")
    forking.end_users_child(ZeroDivisionError("the error"))
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_a_child_of_user_code_that_fails_shows_all_that_failed() -> None:
    done = subprocess.run([sys.executable, "-c", _FORKS], capture_output=True, text=True)
    assert done.stdout == "printed before1\n"
    assert "LookupError: of the hook" in done.stderr
    assert "ZeroDivisionError: the error" in done.stderr


class Raises:
    """A standard error of user code's."""

    def write(self, _text: str) -> int:
        raise ValueError("of the stream")


@pytest.mark.parametrize("stream", [None, Raises()])
def test_an_error_that_goes_nowhere_else_is_printed_whatever_standard_error_is(
    stream: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "__stderr__", sys.stderr)
    monkeypatch.setattr(sys, "stderr", stream)
    exception_hooks.print_error(ZeroDivisionError("the error"))
    assert capsys.readouterr().err == "ZeroDivisionError: the error\n"
    monkeypatch.setattr(sys, "__stderr__", stream)
    exception_hooks.print_error(ZeroDivisionError("the error"))  # there is nowhere left
