"""User code that raises what ends programs, where it runs on our side: pickling, repr, str.

It ends nothing, and a signal of the program's own goes on its way all the same.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest

from rekindle.exception import DeserializationError, RemoteError, SerializationError
from rekindle.wire import usercode
from rekindle.wire.exceptions import rebuild_exception, record_exception
from rekindle.wire.serialization import (
    deserialize,
    failure_of,
    safe_repr,
    serialize,
    serialize_input,
)

ENDINGS = [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError]
#: What the classes below raise; and whether they do.
_ending: type[BaseException] = SystemExit
_armed = True


def end() -> NoReturn:
    raise _ending(3)


def end_where_armed(*_: Any) -> Any:
    if _armed:
        end()


@pytest.fixture(params=ENDINGS, ids=lambda kind: kind.__name__)
def ending(request: Any) -> Iterator[type[BaseException]]:
    global _ending
    _ending = request.param
    yield request.param
    _ending = SystemExit


class BadReduce:
    def __reduce__(self) -> Any:
        end()


class BadGetstate:
    def __getstate__(self) -> Any:
        end()


class BadRepr:
    def __repr__(self) -> str:
        end()

    def __reduce__(self) -> Any:
        end()


class BadGetattr:
    def __getattr__(self, name: str) -> Any:
        end()


class BadSetstate:
    def __init__(self) -> None:
        self.content = 1

    def __setstate__(self, state: Any) -> None:
        end()


class BadMake:
    def __reduce__(self) -> Any:
        return end, ()


class BadText(Exception):
    def __str__(self) -> str:
        end()


def refuse(*_: Any) -> NoReturn:
    raise BadText


class BadTextInPickling:
    def __reduce__(self) -> Any:
        refuse()


class BadTextInUnpickling:
    def __reduce__(self) -> Any:
        return refuse, ()


class EndsAtHome(Exception):
    """Pickles well where it is raised, and ends whoever unpickles it later."""

    def __reduce__(self) -> Any:
        return _at_home, (self.args,)


def _at_home(args: tuple[Any, ...]) -> Any:
    end_where_armed()
    return EndsAtHome(*args)


@pytest.mark.parametrize("kind", [BadReduce, BadGetstate, BadRepr, BadTextInPickling])
def test_pickling_that_ends_is_an_error_of_ours_that_names_the_part(kind: Any, ending: Any) -> None:
    with pytest.raises(SerializationError, match=r"value\['a'\] is a .*" + kind.__name__):
        serialize({"a": kind()}, "the result of f")
    with pytest.raises(SerializationError, match=r"args\[1\] is a .*" + kind.__name__):
        serialize_input((1, kind()), {}, "an argument of f()")
    assert failure_of(kind()) is not None


def test_what_may_not_be_looked_at_does_not_hide_what_pickling_said(ending: Any) -> None:
    with pytest.raises(SerializationError, match="the result of f cannot be pickled"):
        serialize([BadGetattr(), threading.Lock()], "the result of f")


@pytest.mark.parametrize("kind", [BadSetstate, BadMake, BadTextInUnpickling])
def test_unpickling_that_ends_is_an_error_of_ours_with_it_as_the_cause(
    kind: Any, ending: Any
) -> None:
    data = serialize([kind()], "it")
    with pytest.raises(DeserializationError, match="the result of f cannot be unpickled") as caught:
        deserialize(data, "the result of f")
    assert isinstance(caught.value.__cause__, BadText if kind is BadTextInUnpickling else ending)


def test_repr_and_str_that_end_have_a_text_all_the_same(ending: Any) -> None:
    assert "BadRepr object" in safe_repr(BadRepr())
    assert "str() of it failed" in usercode.text_of(BadText())


@pytest.mark.parametrize("make", [lambda: BadText(BadRepr()), lambda: ValueError(BadRepr())])
def test_an_exception_that_cannot_be_shown_comes_home(make: Any, ending: Any) -> None:
    group = ExceptionGroup("some", [make(), KeyError("k")])
    back = rebuild_exception(record_exception(group))
    assert isinstance(back, ExceptionGroup)
    assert back.exceptions[1].args == ("k",)


def test_an_exception_that_ends_who_unpickles_it_comes_as_text(
    monkeypatch: pytest.MonkeyPatch, ending: Any
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "_armed", False)
    record = record_exception(ExceptionGroup("some", [EndsAtHome("told"), KeyError("k")]))
    monkeypatch.setattr(sys.modules[__name__], "_armed", True)
    back = rebuild_exception(record)
    assert isinstance(back, ExceptionGroup)
    assert isinstance(back.exceptions[0], RemoteError)
    assert "told" in str(back.exceptions[0]) and ending.__name__ in str(back.exceptions[0])


# ---- signals -----------------------------------------------------------------------------------


class Interrupts:
    """Unpickles and pickles while a signal comes."""

    number = signal.SIGINT

    def __reduce__(self) -> Any:
        return _interrupted, (int(self.number),)


def _interrupted(number: int) -> None:
    os.kill(os.getpid(), number)
    while True:  # the handler runs between two steps of it, on this thread
        sum(range(1000))


class InterruptsPickling:
    def __reduce__(self) -> Any:
        _interrupted(signal.SIGINT)


def _exit(*_: Any) -> None:
    sys.exit(7)


class Handler:
    def __call__(self, *_: Any) -> None:
        _exit()

    def method(self, *_: Any) -> None:
        raise SystemExit(7)


def test_a_real_interrupt_while_something_is_unpickled_or_pickled_is_no_error_of_it() -> None:
    data = serialize([Interrupts()], "it")
    with pytest.raises(KeyboardInterrupt):
        deserialize(data, "it")
    with pytest.raises(KeyboardInterrupt):
        serialize([InterruptsPickling()], "it")
    with pytest.raises(KeyboardInterrupt):
        serialize_input((1, InterruptsPickling()), {}, "it")


@pytest.mark.parametrize(
    "handler",
    [
        _exit,
        lambda *_: _exit(),
        lambda *_: sys.exit(7),
        Handler(),
        Handler().method,
        functools.partial(_exit, 1),
    ],
)
def test_what_a_handler_of_the_program_raises_goes_on_its_way(
    handler: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Interrupts, "number", signal.SIGUSR2)
    data = serialize([Interrupts()], "it")
    before = signal.signal(signal.SIGUSR2, handler)
    try:
        with pytest.raises(SystemExit) as caught:
            deserialize(data, "it")
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert caught.value.code == 7


def test_an_alarm_that_raises_an_ordinary_error_goes_on_its_way_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def late(*_: Any) -> None:
        raise TimeoutError("too late")

    monkeypatch.setattr(Interrupts, "number", signal.SIGALRM)
    data = serialize([Interrupts()], "it")
    before = signal.signal(signal.SIGALRM, late)
    try:
        with pytest.raises(TimeoutError, match="too late"):
            deserialize(data, "it")
    finally:
        signal.signal(signal.SIGALRM, before)


def test_on_another_thread_it_is_always_the_user_s_code() -> None:
    data = serialize([BadMake()], "it")
    got: list[BaseException] = []

    def load() -> None:
        try:
            deserialize(data, "it")
        except BaseException as error:  # noqa: BLE001 - looked at below
            got.append(error)

    global _ending
    _ending = KeyboardInterrupt
    try:
        thread = threading.Thread(target=load)
        thread.start()
        thread.join()
    finally:
        _ending = SystemExit
    assert isinstance(got[0], DeserializationError)
