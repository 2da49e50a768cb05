"""Exceptions come home as they were raised: type, state, and where it happened."""

from __future__ import annotations

import asyncio
import threading
import traceback
from typing import Any

import pytest

from rekindle.exception import RemoteError, RemoteExitError, SerializationError
from rekindle.wire import shared
from rekindle.wire.exceptions import (
    MAX_MESSAGE,
    MAX_PICKLE_BYTES,
    ExceptionRecord,
    RemoteTraceback,
    rebuild_exception,
    record_exception,
    remote_traceback,
)
from rekindle.wire.serialization import deserialize, serialize


class TwoArguments(Exception):
    def __init__(self, left: int, right: int) -> None:
        super().__init__(f"{left} and {right}")
        self.left = left
        self.right = right


class WithLock(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()
        self.code = 7


def raised(exc: BaseException) -> BaseException:
    try:
        raise exc
    except BaseException as caught:  # noqa: BLE001
        return caught


@pytest.mark.parametrize(
    "exc",
    [ValueError("x"), KeyError("k"), FileNotFoundError(2, "gone", "a.txt"), TwoArguments(1, 2)],
)
def test_an_exception_comes_back_as_the_same_type_with_its_state(exc: Exception) -> None:
    back = rebuild_exception(record_exception(raised(exc)))
    assert type(back) is type(exc)
    assert str(back) == str(exc)
    assert back.args == exc.args
    assert {k: v for k, v in vars(back).items() if k != "__notes__"} == vars(exc)


def test_attributes_that_cannot_travel_are_left_out() -> None:
    back = rebuild_exception(record_exception(raised(WithLock("no"))))
    assert isinstance(back, WithLock)
    assert back.code == 7
    assert not hasattr(back, "lock")


def test_the_remote_traceback_is_shown_by_a_plain_raise() -> None:
    back = rebuild_exception(record_exception(raised(ValueError("deep"))))
    assert isinstance(back.__cause__, RemoteTraceback)
    shown = "".join(traceback.format_exception(back))
    assert "in raised" in shown
    assert remote_traceback(back) is not None


def test_rekindles_own_and_named_leading_frames_are_left_out() -> None:
    def fails() -> None:
        serialize(threading.Lock(), "it")

    try:
        fails()
    except SerializationError as error:
        everything = record_exception(error).traceback
        trimmed = record_exception(error, skip_frames_in=(__file__,)).traceback
    assert "in fails" in everything
    assert "in fails" not in trimmed
    assert "File" not in trimmed
    assert "SerializationError" in trimmed


def test_causes_are_part_of_the_text() -> None:
    try:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise ValueError("outer") from inner
    except ValueError as error:
        text = record_exception(error).traceback
    assert "KeyError: 'inner'" in text
    assert "direct cause" in text


def test_what_cannot_be_rebuilt_is_a_remote_error_with_the_text() -> None:
    record = ExceptionRecord(b"cno_such_module_here\nE\n.", "lib.E", "broken", "Traceback …\nlib.E")
    back = rebuild_exception(record)
    assert isinstance(back, RemoteError)
    assert "lib.E: broken" in str(back)
    assert remote_traceback(back) == "Traceback …\nlib.E"


def test_an_exception_whose_str_fails_is_still_recorded() -> None:
    class Bad(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    assert "no text" in record_exception(raised(Bad())).message


class Refused(Exception):
    """The message is made from the arguments, as many libraries do."""

    def __init__(self, code: int, path: str) -> None:
        super().__init__(f"{code} at {path}")
        self.code, self.path = code, path


class Slotted(Exception):
    __slots__ = ("left", "right")

    def __init__(self, *, left: int, right: int) -> None:
        super().__init__("by keyword")
        self.left, self.right = left, right


class Axis(ValueError):
    """As NumPy's: what it was not given is in its slots, too, and its text is made of them."""

    __slots__ = ("axis", "prefix")

    def __init__(self, axis: int, prefix: str | None = None) -> None:
        self.axis, self.prefix = axis, prefix

    def __str__(self) -> str:
        return f"axis {self.axis}" if self.prefix is None else f"{self.prefix}: {self.axis}"


class WithNew(Exception):
    def __new__(cls, *, code: int) -> WithNew:
        return super().__new__(cls)

    def __init__(self, *, code: int) -> None:
        super().__init__(code)
        self.code = code


class Gone(OSError):
    def __init__(self, name: str) -> None:
        super().__init__(2, "gone", name)
        self.name = name


class Prefixed(Exception):
    """Pickles without an error, and to another message."""

    def __init__(self, text: str, code: int | None = None) -> None:
        super().__init__(f"[{code}] {text}")
        self.code = code


class Lying(Exception):
    def __reduce__(self) -> Any:
        return ValueError, ("a lie",)


class Exiting(Exception):
    def __reduce__(self) -> Any:
        raise SystemExit(3)


class Coded(ExceptionGroup[Exception]):
    code: int

    def __new__(cls, message: str, members: list[Exception], code: int) -> Coded:
        made = super().__new__(cls, message, members)
        made.code = code
        return made

    def derive(self, members: Any) -> Coded:
        return Coded(self.message, members, self.code)


def home(exc: BaseException) -> Exception:
    return rebuild_exception(record_exception(raised(exc)))


@pytest.mark.parametrize(
    "exc",
    [
        Refused(3, "/a"),
        Slotted(left=1, right=2),
        Axis(4),
        WithNew(code=5),
        Gone("f"),
        Prefixed("text", 7),
        Lying("x"),
        Exiting("y"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        SyntaxError("bad", ("f.py", 1, 2, "text")),
        ImportError("no", name="lib", path="p"),
        StopIteration(4),
        NotImplementedError(),
    ],
    ids=lambda exc: type(exc).__name__,
)
def test_type_text_and_attributes_survive_whatever_its_init_takes(exc: Exception) -> None:
    back = home(exc)
    assert type(back) is type(exc)
    assert str(back) == str(exc)
    for name in (
        "code",
        "path",
        "left",
        "right",
        "axis",
        "errno",
        "filename",
        "name",
        "value",
        "start",
    ):
        assert getattr(back, name, None) == getattr(exc, name, None)


@pytest.mark.parametrize("travels", ["queued", "directly"])
def test_exceptions_in_a_value_come_as_they_are_whatever_their_init_takes(travels: str) -> None:
    sent = [Refused(3, "/a"), Slotted(left=1, right=2), Axis(4), WithNew(code=5), KeyError("k")]
    value = {"failed": sent, "again": sent[0]}
    if travels == "queued":
        back = deserialize(serialize(value, "the result"), "the result")
    else:
        back = shared.unpack(shared.pack(value).data)
    assert [(type(one), str(one)) for one in back["failed"]] == [
        (type(one), str(one)) for one in sent
    ]
    assert (back["again"].code, back["again"].path) == (3, "/a")
    assert back["again"] is back["failed"][0]


def test_a_group_comes_back_with_its_members_nested_ones_and_its_own_class() -> None:
    inner = ExceptionGroup("inner", [Refused(1, "/b"), ValueError(2)])
    back = home(Coded("outer", [inner, OSError(2, "gone")], 7))
    assert isinstance(back, Coded) and back.code == 7 and back.message == "outer"
    matched = back.split(Refused)[0]
    assert isinstance(matched, Coded)
    nested = matched.exceptions[0]
    assert isinstance(nested, ExceptionGroup)
    assert [(type(e), vars(e)["code"]) for e in nested.exceptions] == [(Refused, 1)]
    assert isinstance(back.exceptions[1], FileNotFoundError)


def test_a_member_that_cannot_travel_costs_no_other() -> None:
    def broken() -> None:
        raise AssertionError

    class Here(Exception):
        def __reduce__(self) -> Any:
            return broken, ()

        def __new__(cls, *args: Any) -> Any:
            made = super().__new__(cls, *args)
            made.__dict__["lock"] = threading.Lock()
            return made

    back = home(ExceptionGroup("all", [Here("one"), ValueError("two")]))
    assert isinstance(back, ExceptionGroup)
    assert [str(e) for e in back.exceptions] == ["one", "two"]


@pytest.mark.parametrize(
    "exc",
    [
        SystemExit("enough"),
        SystemExit(0),
        KeyboardInterrupt(),
        GeneratorExit(),
        asyncio.CancelledError("mine"),
        BaseException("plain"),
        BaseExceptionGroup("both", [KeyboardInterrupt(), ValueError(1)]),
    ],
    ids=lambda exc: type(exc).__name__,
)
def test_what_would_end_the_callers_program_comes_as_an_error_that_carries_it(
    exc: BaseException,
) -> None:
    back = home(exc)
    assert isinstance(back, RemoteExitError)
    assert type(back.original) is type(exc) and back.__cause__ is back.original
    assert type(exc).__name__ in str(back)
    assert type(exc).__name__ in (remote_traceback(back) or "")
    again = home(back)  # out of a call in a call
    assert isinstance(again, RemoteExitError) and type(again.original) is type(exc)
    assert again.original is again.__cause__


def test_causes_and_contexts_come_as_exceptions_too() -> None:
    try:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise Refused(1, "p") from inner
    except Refused as error:
        explicit = rebuild_exception(record_exception(error))
    assert isinstance(explicit.__cause__, KeyError) and explicit.__suppress_context__
    assert explicit.__context__ is explicit.__cause__
    assert "direct cause" in (remote_traceback(explicit) or "")
    try:
        try:
            raise KeyError("inner")
        except KeyError:
            raise Refused(1, "p")  # noqa: B904
    except Refused as error:
        implicit = rebuild_exception(record_exception(error))
    assert isinstance(implicit.__context__, KeyError) and not implicit.__suppress_context__
    assert isinstance(implicit.__cause__, RemoteTraceback)


def test_notes_come_along() -> None:
    exc = Refused(1, "p")
    exc.add_note("while reading")
    assert home(exc).__notes__ == ["while reading"]


def test_cyclic_and_very_long_chains_come_home() -> None:
    one, two = ValueError("one"), KeyError("two")
    one.__cause__, two.__cause__ = two, one
    back = home(one)
    assert isinstance(back.__cause__, KeyError) and "two" in (remote_traceback(back) or "")
    exc = ValueError(0)
    for number in range(1, 3000):
        following = ValueError(number)
        following.__cause__ = exc
        exc = following
    assert str(home(exc)) == "2999"


def test_a_recursion_error_comes_home() -> None:
    def deeper() -> None:
        deeper()

    with pytest.raises(RecursionError) as caught:
        deeper()
    assert isinstance(rebuild_exception(record_exception(caught.value)), RecursionError)


def test_a_long_message_is_whole_up_to_a_bound_that_is_said() -> None:
    assert str(home(ValueError("x" * 1_000_000))) == "x" * 1_000_000
    back = home(ValueError("x" * (MAX_PICKLE_BYTES + 1)))
    shown = str(back)
    assert shown.startswith("xxx") and shown.endswith("characters left out]")
    (note,) = back.__notes__
    assert str(MAX_PICKLE_BYTES) in note and "args[0] (str, " in note
    record = record_exception(raised(ValueError("x" * 1_000_000)))
    assert len(record.message) < 2 * MAX_MESSAGE and "characters left out" in record.message


def test_all_of_it_arrives_up_to_the_limit_and_what_does_not_is_named() -> None:
    exc = Refused(7, "p")
    exc.add_note("mine")
    exc.payload = b"x" * (20 << 20)  # type: ignore[attr-defined]
    error = raised(exc)
    whole = rebuild_exception(record_exception(error, limit_bytes=21 << 20))
    assert vars(whole) == vars(exc)
    record = record_exception(error, limit_bytes=20 << 20)
    assert len(record.data) < 20 << 20
    cut = rebuild_exception(record)
    assert isinstance(cut, Refused) and (cut.code, cut.path) == (7, "p")
    assert not hasattr(cut, "payload")
    mine, note = cut.__notes__
    assert mine == "mine" and ".payload (bytes, " in note and "args" not in note


def test_a_record_keeps_to_its_limit_and_what_was_raised_has_the_first_of_the_room() -> None:
    exc = ValueError(b"raised" + bytes(600_000))
    for _ in range(20):
        following = exc
        while following.__cause__ is not None:
            following = following.__cause__  # type: ignore[assignment]
        following.__cause__ = KeyError(b"cause" + bytes(600_000))
    record = record_exception(raised(exc), limit_bytes=1 << 20)
    assert len(record.data) <= 1 << 20
    back = rebuild_exception(record)
    assert back.args == exc.args
    causes = []
    while not isinstance(back.__cause__, RemoteTraceback):
        assert isinstance(back.__cause__, Exception)
        back = back.__cause__
        causes.append(back)
    assert len(causes) == 20 and all("cause" in str(cause) for cause in causes)


def test_where_there_is_room_for_nothing_the_type_and_the_beginning_of_its_text_arrive() -> None:
    record = record_exception(raised(ValueError("x" * 100_000)), limit_bytes=0)
    assert len(record.data) < 1000
    assert str(rebuild_exception(record)).startswith("ValueError: xxx")


def test_text_that_is_no_unicode_can_be_sent() -> None:
    record = record_exception(raised(ValueError("lone \udcff")))
    record.message.encode()
    record.traceback.encode()
    assert str(rebuild_exception(record)) == "lone \udcff"


def test_a_class_that_was_sent_by_value_is_the_same_at_home() -> None:
    class Local(Exception):
        pass

    exc = Local("here")
    exc.lock = threading.Lock()  # type: ignore[attr-defined]
    assert type(home(exc)) is Local
