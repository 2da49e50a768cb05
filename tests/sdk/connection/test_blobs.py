"""Large payloads and results go through the blob store, and what is wrong there is told."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import rekindle
from rekindle.exception import InternalFailure, ServiceError
from rekindle.wire.blobs import FolderStore, open_store
from tests.sdk.fake_controller import FakeController

app = rekindle.App("blobs")
LARGE = b"x" * 100_000


@app.function()
def twice(data: bytes) -> bytes:
    return data + data


@app.function()
def size_of(data: bytes) -> int:
    return len(data)


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, controller: FakeController, tmp_path: Path) -> Any:
    scheme = "file" if request.param == "folder" else "memory"
    controller.blob_url = f"{scheme}://{tmp_path}/blobs"
    controller.blob_threshold_bytes = 50_000
    return open_store(controller.blob_url)


def inputs(controller: FakeController) -> list[Any]:
    return [one for request in controller.submitted for one in request.inputs]


def test_what_is_large_goes_beside_and_what_is_small_inline(
    controller: FakeController, store: Any
) -> None:
    with app.run():
        assert twice.remote(LARGE) == LARGE + LARGE
        assert twice.spawn(LARGE).get() == LARGE + LARGE
        assert size_of.remote(b"small") == 5
        assert size_of.remote(b"x" * 10_000) == 10_000
    large, also, small, middle = inputs(controller)
    for one in (large, also):
        assert one.blob
        assert not one.payload
    for one in (small, middle):
        assert one.payload
        assert not one.blob


def test_maps_of_large_and_small(controller: FakeController, store: Any) -> None:
    data = [LARGE if i % 3 else b"x" for i in range(40)]

    async def collect() -> list[bytes]:
        call = await twice.spawn_map.aio(data)
        assert [value async for value in call.iter.aio()] == [x + x for x in data]
        return [value async for value in twice.map.aio(data)]

    with app.run():
        assert list(twice.map(data)) == [x + x for x in data]
        assert sorted(twice.map(data, order_outputs=False)) == sorted(x + x for x in data)
        assert list(twice.spawn_map(data).iter(start=4)) == [x + x for x in data[4:]]
        assert asyncio.run(collect()) == [x + x for x in data]
    assert all(bool(one.blob) == (len(one.payload) == 0) for one in inputs(controller))
    assert sum(bool(one.blob) for one in inputs(controller)) == 5 * 26


def test_a_call_with_everything_inline_needs_no_store(controller: FakeController) -> None:
    controller.blob_url, controller.blob_threshold_bytes = "nosuchthing://x", 0
    with app.run():
        assert twice.remote(LARGE) == LARGE + LARGE


def test_a_result_that_is_gone_is_named(controller: FakeController, tmp_path: Path) -> None:
    controller.blob_url = f"file://{tmp_path}/blobs"
    controller.blob_threshold_bytes = 50_000

    def remove(result: Any) -> None:
        if result.blob and result.index == 1:
            FolderStore(tmp_path / "blobs").delete(result.blob)

    controller.edit = remove
    with app.run():
        ok, gone, too = twice.map([LARGE] * 3, return_exceptions=True)
        assert ok == too == LARGE + LARGE
        assert isinstance(gone, InternalFailure)
        assert "is not in file://" in str(gone)
        with pytest.raises(InternalFailure, match="is not in file://"):
            list(twice.map([LARGE] * 3))
        with pytest.raises(InternalFailure, match="is not in file://"):
            twice.spawn_map([LARGE] * 3).get(index=1)


def test_a_store_that_is_broken_is_told_before_anything_is_submitted(
    controller: FakeController, tmp_path: Path
) -> None:
    (tmp_path / "blobs").write_text("not a folder")
    controller.blob_url = f"file://{tmp_path}/blobs"
    controller.blob_threshold_bytes = 50_000
    with app.run():
        for use in (twice.remote, twice.spawn, lambda x: list(twice.map([x]))):
            with pytest.raises(ServiceError, match=r"cannot take.*REKINDLE_BLOB_URL"):
                use(LARGE)
    assert not controller.submitted
