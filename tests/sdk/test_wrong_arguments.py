"""What a program is told that calls something public with what it does not take.

Every public name is called with values of wrong types, with too many, too few and with names that
there are not. There is no instance: what is right for the moment ends with a ConnectionError.
"""

from __future__ import annotations

import asyncio
import inspect
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import rekindle
from rekindle.exception import Error
from rekindle.sdk.objects import link

OURS = str(Path(rekindle.__file__).parent)

app = rekindle.App("wrong-arguments")


@app.function(serialized=True)
def plain(a: int) -> int:
    return a


@app.function(serialized=True)
def items() -> Iterator[int]:
    yield 1


@app.cls(serialized=True)
class Model:
    size: int = rekindle.parameter(default=1)

    @rekindle.method()
    def run(self, x: int) -> int:
        return x


OWNERS = {
    "rekindle": rekindle,
    "rekindle.gpu": rekindle.gpu,
    "app": app,
    "App": rekindle.App,
    "plain": plain,
    "items": items,
    "Model": Model,
    "Model()": Model(),
    "Model().run": Model().run,
    "plain.autoscaler": plain.autoscaler,
    "call": rekindle.FunctionCall.from_id("fc-1"),
    "dict": rekindle.Dict.from_name("d"),
    "queue": rekindle.Queue.from_name("q"),
    "volume": rekindle.Volume.from_name("v"),
    "secret": rekindle.Secret.from_name("s"),
    "environment": rekindle.Environment.from_name("e"),
    "image": rekindle.Image.debian_slim(),
    "Image": rekindle.Image,
    "FilePatternMatcher": rekindle.FilePatternMatcher,
    "Dict.objects": rekindle.Dict.objects,
    "Queue.objects": rekindle.Queue.objects,
    "Secret.objects": rekindle.Secret.objects,
    "Volume.objects": rekindle.Volume.objects,
    "Environment.objects": rekindle.Environment.objects,
}
#: These bring up an instance, or are not for programs.
LEFT_OUT = {"deploy", "run", "of", "shares_a_whole_with", "deployed_as", "runs_as", "whole"}
LEFT_OUT |= {"FileEntryType"}  # an Enum, of which Python itself refuses what is no member
LEFT_OUT |= {"exception", "undecorated", "Error", "object_id"}  # the last asks an instance


class Odd:
    """Of no type that anything takes."""

    def __repr__(self) -> str:
        return "<odd>"


WRONG = (Odd(), 3, -1, "", "a b/", "2.7", True, [], [3], {3: 4}, 1.5, None, b"x")
#: What is right where a value has to be given.
RIGHT: dict[str, Any] = {
    "env_dict": {"A": "b"},
    "env_keys": [],
    "vars": {"A": "b"},
    "vs": [1],
    "n_values": 1,
    "cron_string": "0 9 * * *",
    "max_retries": 1,
    "max_inputs": 2,
    "max_batch_size": 2,
    "wait_ms": 5,
    "raw_f": len,
    "func": lambda image: image,
    "function": len,
    "tags": {},
    "other": app,
    "input_iterator": [(1,)],
    "remote_path": "/x",
    "cmd": ["a"],
    "entrypoint_commands": ["a"],
    "shell_commands": ["a"],
    "src_paths": ["a"],
}


def _public() -> Iterator[tuple[str, Any]]:
    for owner, value in OWNERS.items():
        for name in sorted({*dir(value), *getattr(value, "__all__", ())}):
            if name.startswith("_") or name in LEFT_OUT:
                continue
            if inspect.ismodule(value) and name not in value.__all__:
                continue
            try:
                found = getattr(value, name)
            except Error as error:
                assert not _ours(error), f"{owner}.{name}"
                continue
            if callable(found) and not isinstance(found, type(plain)):
                yield f"{owner}.{name}", found


def _parameters(called: Any) -> list[inspect.Parameter]:
    found = list(inspect.signature(getattr(called, "_body", called)).parameters.values())
    while found and found[0].name in ("self", "cls", "caller"):
        found.pop(0)
    return found


def _wrong_calls(called: Any) -> Iterator[tuple[str, list[Any], dict[str, Any]]]:
    parameters = _parameters(called)
    given = [one for one in parameters if one.default is one.empty]
    given = [one for one in given if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    by_place = {
        one.name: RIGHT.get(one.name, "ok") for one in given if one.kind is not one.KEYWORD_ONLY
    }
    by_name = {one.name: RIGHT.get(one.name, "ok") for one in given if one.kind is one.KEYWORD_ONLY}
    args = list(by_place.values())
    yield "nothing", [], {}
    yield "bogus=1", args, {**by_name, "bogus": 1}
    yield "nine more", args + [1] * 9, by_name
    for parameter in parameters:
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        for wrong in WRONG:
            what = f"{parameter.name}={wrong!r}"
            if parameter.kind is parameter.VAR_POSITIONAL:
                yield what, [*args, wrong], by_name
            elif parameter.name in by_place:
                yield what, list({**by_place, parameter.name: wrong}.values()), by_name
            else:
                yield what, args, {**by_name, parameter.name: wrong}


def _ours(error: BaseException) -> list[str]:
    text = "".join(traceback.format_exception(error))
    return [line for line in text.splitlines() if OURS in line]


def _is_for_programs(error: BaseException) -> bool:
    return isinstance(error, Error) or bool(vars(error).get("is_of_the_program"))


def _blocking(called: Any, args: list[Any], kwargs: dict[str, Any]) -> None:
    made = called(*args, **kwargs)
    if isinstance(made, Iterator):
        next(made, None)


def _aio(called: Any, args: list[Any], kwargs: dict[str, Any]) -> None:
    made = called.aio(*args, **kwargs)
    if inspect.isawaitable(made):

        async def awaited() -> None:
            await made

        asyncio.run(awaited())


PUBLIC = dict(_public())


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("REKINDLE_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("REKINDLE_HOME", str(tmp_path / "home"))
    for name in ("_asked", "_current"):  # which instance was meant last is forgotten afterwards
        monkeypatch.setattr(link, name, getattr(link, name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize(
    ("name", "form"),
    [
        *((name, _blocking) for name in PUBLIC),
        *((name, _aio) for name, called in PUBLIC.items() if hasattr(called, "aio")),
    ],
)
def test_a_wrong_argument_shows_the_programs_frames_and_a_sentence(
    name: str, form: Callable[..., None]
) -> None:
    called = PUBLIC[name]
    for what, args, kwargs in _wrong_calls(called):
        try:
            form(called, args, kwargs)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is judged
            assert not _ours(error), f"{name}: {what}: {error!r}"
            # Python itself refuses arguments of a plain function.
            assert _is_for_programs(error) or isinstance(error, TypeError), f"{name}: {what}"
            assert str(error), f"{name}: {what}"


def said(call: Callable[[], object]) -> str:
    with pytest.raises(Exception) as caught:
        call()
    assert not _ours(caught.value)
    return f"{type(caught.value).__name__}: {caught.value}"


volume: Any = OWNERS["volume"]
queue: Any = OWNERS["queue"]
shared: Any = OWNERS["dict"]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: app.function(timeut=5),  # type: ignore[call-arg]
            (
                "TypeError: @app.function() got an unexpected keyword argument 'timeut'; "
                "did you mean 'timeout'?"
            ),
        ),
        (
            lambda: rekindle.Retries(max_retrys=3),  # type: ignore[call-arg]
            (
                "TypeError: Retries() got an unexpected keyword argument 'max_retrys'; "
                "did you mean 'max_retries'?"
            ),
        ),
        (
            lambda: rekindle.Retries(max_retries=11),
            "InvalidError: Retries(max_retries)=11 must be a whole number from 0 to 10",
        ),
        (
            lambda: rekindle.Period(seconds=0.5),
            (
                "InvalidError: a Period of 0.5 s is too short: 1 s is the least, as in "
                "Period(minutes=5)"
            ),
        ),
        (
            lambda: rekindle.Image.debian_slim("2.7"),
            "InvalidError: python_version='2.7'",
        ),
        (
            lambda: rekindle.Image.from_registry(3.11),  # type: ignore[arg-type]
            (
                "InvalidError: Image.from_registry(): tag must be a text; what is given is of type "
                "float"
            ),
        ),
        (
            lambda: rekindle.Image.pip_install("numpy"),  # type: ignore[call-arg, arg-type]
            "InvalidError: pip_install() is called on a class: call it on an object of that",
        ),
        (lambda: rekindle.Secret.from_name("bad/"), "InvalidError: the secret name 'bad/' must be"),
        (
            lambda: rekindle.Function.from_name("app", "Model.run"),
            "InvalidError: 'Model.run' is a method: rekindle.Cls.from_name('app', 'Model')().run",
        ),
        (
            lambda: rekindle.Function.from_name("app", 3),  # type: ignore[arg-type]
            "TypeError: Function.from_name(): name must be a text; what is given is of type int",
        ),
        (lambda: plain.with_options(timeout=-1), "InvalidError: timeout=-1 must be a number of"),
        (lambda: plain(1), "TypeError: plain(...) does not say where it is to run"),
        (lambda: plain.local(), "TypeError: plain() missing 1 required positional argument: 'a'"),
        (
            lambda: Model(size="big"),
            "TypeError: Model(size=) is 'big'; it must be of type int",
        ),
        (
            lambda: Model(sise=1),
            "TypeError: Model() got an unexpected keyword argument 'sise'; did you mean 'size'?",
        ),
        (lambda: Model().rum, "AttributeError: Model has no method 'rum'; did you mean 'run'?"),
        (
            lambda: volume.rename("a", "b", "c"),
            (
                "TypeError: rename() takes old_name, new_name by position, 3 were given; by "
                "name: environment_name"
            ),
        ),
        (
            lambda: volume.batch_upload(force="yes"),
            "InvalidError: Volume.batch_upload(): force must be True or False; what is given is",
        ),
        (
            lambda: shared.get(),
            "TypeError: Dict.get() missing 1 required positional argument: 'key'",
        ),
        (
            lambda: queue.put(1, partition=3),
            "InvalidError: partition=3 must be a string of 1 to 64 bytes",
        ),
        (
            lambda: rekindle.Dict.from_name("d", create_if_missing="yes"),  # type: ignore[arg-type]
            (
                "InvalidError: Dict.from_name(): create_if_missing must be True or False; what is "
                "given is of type str"
            ),
        ),
        (
            lambda: rekindle.Dict("x"),
            "InvalidError: use Dict.from_name(...), or `with Dict.ephemeral()`",
        ),
        (
            lambda: rekindle.Secret(),
            (
                "TypeError: Secret() missing 1 required positional argument: 'values'; "
                "Secret.from_name(...) is what is kept by name"
            ),
        ),
        (
            lambda: rekindle.Image.debian_slim().pip_install("a", gpu="A10"),
            "InvalidError: Image.pip_install: there is no gpu=; images are built without a GPU",
        ),
        (
            lambda: rekindle.Image.debian_slim().run_commands("true", gpu="A10"),
            (
                "TypeError: Image.run_commands() got an unexpected keyword argument 'gpu'; images "
                "are built without a GPU"
            ),
        ),
        (
            lambda: rekindle.App.lookup(nam="x"),
            (
                "TypeError: App.lookup() got an unexpected keyword argument 'nam'; did you mean "
                "'name'?"
            ),
        ),
    ],
)
def test_it_says_which_argument_and_what_is_taken(call: Callable[[], object], text: str) -> None:
    assert said(call).startswith(text)


def test_what_python_raised_before_tells_a_program_nothing_and_is_not_shown() -> None:
    with pytest.raises(Error) as caught:
        rekindle.Cron("0 9 * * 99")
    assert "During handling" not in "".join(traceback.format_exception(caught.value))


def test_an_error_that_the_program_handles_stays() -> None:
    with pytest.raises(Error) as caught:
        try:
            raise ValueError("the program's")
        except ValueError:
            rekindle.App("a b")
    assert "the program's" in "".join(traceback.format_exception(caught.value))
