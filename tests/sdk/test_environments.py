"""Where names lie: one rule for all that has a name."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

import rekindle
from rekindle.exception import AlreadyExistsError, InvalidError, ServiceError
from rekindle.sdk import environment, environments
from rekindle.sdk.calls.callers import Caller
from rekindle.volumes.registry import Registry

OBJECTS = [rekindle.Secret, rekindle.Volume, rekindle.Dict, rekindle.Queue]


def by_name(kind: Any, **options: Any) -> Any:
    """A handle of that kind."""
    return kind.from_name("x", *(() if kind in OBJECTS else ("y",)), **options)


def environment_in(handle: Any) -> str:
    """The environment that a handle keeps; "" for that of whoever looks it up."""
    for holder in (handle, *(getattr(handle, one, None) for one in ("_reference", "_declaration"))):
        for name in ("_environment", "environment"):
            found = getattr(holder, name, None)
            if isinstance(found, str):
                return found
    raise AssertionError(f"{handle!r} keeps none")


KINDS = [*OBJECTS, rekindle.Function, rekindle.Cls]


@pytest.mark.parametrize("kind", KINDS)
def test_an_environment_that_can_be_none_is_refused(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidError, match="environment"):  # an empty one is not the default
        by_name(kind, environment_name="")
    monkeypatch.setenv("REKINDLE_ENVIRONMENT", "a b")
    with pytest.raises(InvalidError, match="'a b'"):
        by_name(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_lies_where_it_is_looked_up_unless_it_says_where(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REKINDLE_ENVIRONMENT", "here")
    named, left = by_name(kind, environment_name="there"), by_name(kind)
    with environments.code_travels():  # as a part of code, it is looked up by that of the app
        copies = [pickle.loads(pickle.dumps(one)) for one in (named, left)]
    assert [environment_in(one) for one in (named, left, *copies)] == ["there", "", "there", ""]
    # As an argument it is the object that it was.
    assert environment_in(pickle.loads(pickle.dumps(left))) == "here"
    assert environments.meant_by("") == "here"
    with environments.of_app("app"):
        assert environments.meant_by(environment_in(left)) == "app"
        assert environments.meant_by(environment_in(named)) == "there"


def test_an_app_has_no_prefix_in_the_default_environment_alone() -> None:
    assert environments.app_in(None, "shop") == environments.app_in("main", "shop") == "shop"
    assert environments.app_in("staging", "shop") == "staging/shop"
    with pytest.raises(InvalidError, match="the app name 'a/b'"):
        environments.app_in(None, "a/b")


def test_volumes_of_an_environment_go_after_all_that_may_use_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REKINDLE_VOLUMES", str(tmp_path))
    volumes = Registry.default()
    volumes.create("data", "blue")
    asked: list[tuple[str, int]] = []

    async def names(_caller: Caller) -> tuple[list[str], list[str]]:
        return ["main", "blue"], []

    async def ask(_caller: Caller, method: str, _name: str) -> None:
        asked.append((method, len(volumes.all("blue"))))
        if len(asked) == 1:
            raise ServiceError("an app in it does not end")

    monkeypatch.setattr(environment, "_names", names)
    monkeypatch.setattr(environment, "_ask", ask)
    with pytest.raises(ServiceError):
        rekindle.Environment.objects.delete("blue")
    assert len(volumes.all("blue")) == 1, "what could not be ended keeps its files"
    rekindle.Environment.objects.delete("blue")
    assert asked == [("DeleteEnvironment", 1)] * 2
    assert not volumes.all("blue")


def test_an_environment_that_another_program_makes_meanwhile_may_exist(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def names(_caller: Caller) -> tuple[list[str], list[str]]:
        return ["main"], []

    async def ask(_caller: Caller, _method: str, name: str) -> None:
        raise AlreadyExistsError(f"there is an environment {name!r} already")

    monkeypatch.setattr(environment, "_names", names)
    monkeypatch.setattr(environment, "_ask", ask)
    rekindle.Environment.objects.create("blue", allow_existing=True)
    made = rekindle.Environment.from_name("blue", create_if_missing=True)
    assert made.hydrate() is made
    with pytest.raises(AlreadyExistsError):
        rekindle.Environment.objects.create("blue")
