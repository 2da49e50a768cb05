"""``X.objects.list()``: handles of what has names, the newest first, as many as asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import rekindle as modal
from tests.controller.harness import running_instance

NAMES = ("listed-2", "listed-1", "listed-3")  # made in this order


@pytest.fixture(autouse=True, scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with running_instance() as made, pytest.MonkeyPatch.context() as patch:
        patch.setenv("REKINDLE_DIR", str(made.directory))
        patch.setenv("REKINDLE_VOLUMES", str(tmp_path_factory.mktemp("lists") / "volumes"))
        yield


def _made(kind: Any, name: str, **where: str) -> None:
    kind.objects.create(*((name, {"A": "1"}) if kind is modal.Secret else (name,)), **where)


def _created(handle: Any) -> datetime:
    at = handle.info().created_at
    assert isinstance(at, datetime) and at.tzinfo is UTC
    return at


@pytest.mark.parametrize("kind", [modal.Dict, modal.Queue, modal.Secret, modal.Volume])
def test_a_list_has_handles_the_newest_first(kind: Any) -> None:
    for name in NAMES:
        _made(kind, name)
    _made(kind, "elsewhere", environment_name="lists")

    def names(**asked: Any) -> list[str]:
        return [one.name for one in kind.objects.list(**asked)]

    found = kind.objects.list()
    assert all(isinstance(one, kind) for one in found)
    assert [one.name for one in found] == [*reversed(NAMES)]
    assert [one.info().name for one in found] == [*reversed(NAMES)]
    assert names(max_objects=2) == ["listed-3", "listed-1"] and names(max_objects=0) == []
    last = _created(found[0])
    assert names(created_before=last) == names(created_before=last.isoformat()) == [*NAMES[1::-1]]
    assert names(created_before="2001-01-01") == []
    assert names(environment_name="lists") == ["elsewhere"]
    assert kind.objects.list(environment_name="lists")[0].info().name == "elsewhere"
    assert [one.name for one in asyncio.run(_soon(kind.objects.list.aio))] == [*reversed(NAMES)]


async def _soon(asks: Callable[[], Any]) -> Any:
    return await asks()


@pytest.mark.parametrize("kind", [modal.Dict, modal.Queue, modal.Secret, modal.Volume])
def test_a_list_that_cannot_be_meant_is_refused(kind: Any) -> None:
    with pytest.raises(modal.exception.InvalidError, match="max_objects=-1"):
        kind.objects.list(max_objects=-1)
    with pytest.raises(modal.exception.InvalidError, match="created_before='soon' must be"):
        kind.objects.list(created_before="soon")


def test_a_listed_volume_and_an_ephemeral_one_are_used_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    _made(modal.Volume, "used", environment_name="uses")
    (listed,) = modal.Volume.objects.list(environment_name="uses")
    with modal.Volume.ephemeral(environment_name="uses") as held:
        for volume in (listed, held):
            with volume.batch_upload() as batch:
                batch.put_file(tmp_path / "file", "file")
            assert [entry.path for entry in volume.listdir("/")] == ["file"]
    assert [one.name for one in modal.Volume.objects.list(environment_name="uses")] == ["used"]
