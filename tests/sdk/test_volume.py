"""Volumes as a program declares and uses them."""

from __future__ import annotations

import asyncio
import io
import pickle
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

import rekindle
from rekindle.exception import (
    AlreadyExistsError,
    InvalidError,
    NotFoundError,
    VolumeFileExistsError,
)
from rekindle.sdk.program.volumes import mounts_of
from rekindle.volumes.registry import EPHEMERAL, Registry
from rekindle.volumes.remote import Folder
from rekindle.wire.messages import spec_message, spec_of
from rekindle.wire.spec import FunctionSpec
from tests.hung import hung


@pytest.fixture(autouse=True)
def volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where they lie."""
    monkeypatch.setenv("REKINDLE_VOLUMES", str(tmp_path / "volumes"))
    return tmp_path / "volumes"


def test_files_are_sent_together_read_and_changed() -> None:
    held = rekindle.Volume.from_name("data", create_if_missing=True)
    with held.batch_upload() as batch:
        batch.put_file(io.BytesIO(b"one"), "/a/one")
        batch.put_directory(Path(__file__).parent, "/tests", recursive=False)
    assert b"".join(held.read_file("a/one")) == b"one"
    assert f"tests/{Path(__file__).name}" in [entry.path for entry in held.iterdir("/tests")]
    with (
        pytest.raises(VolumeFileExistsError, match="Nothing was sent"),
        held.batch_upload() as batch,
    ):
        batch.put_file(io.BytesIO(b"two"), "/a/two")
        batch.put_file(io.BytesIO(b"other"), "/a/one")
    assert [entry.path for entry in held.listdir("/a")] == ["a/one"]
    with held.batch_upload(force=True) as batch:
        batch.put_file(io.BytesIO(b"other"), "/a/one")
    with pytest.raises(ZeroDivisionError), held.batch_upload() as batch:
        batch.put_file(io.BytesIO(b"x"), "/a/never")
        raise ZeroDivisionError
    held.copy_files(["/a/one"], "/b/")
    held.remove_file("/a", recursive=True)
    assert b"".join(held.read_file("b/one")) == b"other"
    found = io.BytesIO()
    assert held.read_file_into_fileobj("b/one", found) == 5
    held.commit()
    held.reload()
    rekindle.Volume.rename("data", "corpus")
    assert rekindle.Volume.from_name("corpus").info().name == "corpus"
    with pytest.raises(NotFoundError):
        rekindle.Volume.from_name("data").listdir("/")


@pytest.mark.needs_root("mounts a file system")
def test_of_a_directory_that_cannot_be_read_as_a_whole_nothing_is_sent(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "a").mkdir(parents=True)
    (tree / "a" / "one").write_text("1")
    held = rekindle.Volume.from_name("data", create_if_missing=True)
    with hung(tree / "lost") as end:
        end()
        with pytest.raises(OSError, match="lost"), held.batch_upload() as batch:
            batch.put_directory(tree, "/")
        assert list(held.iterdir("/")) == []
        with held.batch_upload() as batch:
            batch.put_directory(tree / "a", "/")
    assert [entry.path for entry in held.iterdir("/")] == ["one"]


@pytest.mark.parametrize("use", ["ephemeral", "list"])
def test_removing_what_killed_programs_left_is_no_wait_for_the_directory(
    use: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = Registry.default().create("left", EPHEMERAL)
    under_way: list[threading.Timer] = []
    waits, remove = [], shutil.rmtree

    class Timer(threading.Timer):
        def start(self) -> None:
            under_way.append(self)

        def cancel(self) -> None:
            under_way.remove(self)

    def rmtree(place: Path, **options: Any) -> None:
        if place == left.place:
            waits.append(len(under_way))
        remove(place, **options)

    monkeypatch.setattr(threading, "Timer", Timer)
    monkeypatch.setattr(shutil, "rmtree", rmtree)
    if use == "ephemeral":
        with rekindle.Volume.ephemeral():
            assert not left.place.exists()
    else:
        assert rekindle.Volume.objects.list() == []
    assert waits == [0] and not left.place.exists()


def test_the_same_in_an_event_loop() -> None:
    async def use() -> list[bytes]:
        async with rekindle.Volume.ephemeral() as held:
            async with held.batch_upload() as batch:
                batch.put_file(io.BytesIO(b"one"), "one")
            await held.commit.aio()
            assert [entry.path async for entry in held.iterdir.aio("/")] == ["one"]
            return [piece async for piece in held.read_file.aio("one")]

    assert asyncio.run(use()) == [b"one"]


def test_the_store_is_asked_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    asking: list[threading.Thread] = []

    def pull(_folder: Folder) -> None:
        asking.append(threading.current_thread())

    monkeypatch.setattr(Folder, "pull_if_old", pull)

    async def use() -> None:
        async with rekindle.Volume.ephemeral() as held:
            async with held.batch_upload() as batch:
                batch.put_file(io.BytesIO(b"one"), "one")
            assert [entry.path async for entry in held.iterdir.aio("/")] == ["one"]
            assert [piece async for piece in held.read_file.aio("one")] == [b"one"]
            assert await held.read_file_into_fileobj.aio("one", io.BytesIO()) == 3

    asyncio.run(use())
    assert len(asking) == 4 and threading.current_thread() not in asking


def test_objects_are_made_listed_and_deleted() -> None:
    made = rekindle.Volume.objects.create("data")
    with pytest.raises(AlreadyExistsError):
        rekindle.Volume.objects.create("data")
    assert rekindle.Volume.objects.create("data", allow_existing=True) == made
    assert [one.info() for one in rekindle.Volume.objects.list()] == [made]
    assert rekindle.Volume.from_id(made.object_id).info() == made
    assert rekindle.Volume.objects.list(environment_name="other") == []
    rekindle.Volume.objects.delete("data")
    with pytest.raises(NotFoundError):
        rekindle.Volume.objects.delete("data")
    rekindle.Volume.objects.delete("data", allow_missing=True)


def test_one_that_is_missing_is_made_only_where_asked(volumes: Path) -> None:
    with pytest.raises(NotFoundError, match="create_if_missing=True"):
        mounts_of({}, {"/data": rekindle.Volume.from_name("data")})
    mounts_of({}, {"/data": rekindle.Volume.from_name("data", create_if_missing=True)})
    assert (volumes / "main" / "data" / "files").is_dir()


def test_what_a_function_says_of_its_volumes_travels() -> None:
    made = rekindle.Volume.from_name("data", create_if_missing=True)
    other = rekindle.Volume.from_name("other", create_if_missing=True)
    bucket = rekindle.CloudBucketMount("b", "https://store", key_prefix="k/", read_only=True)
    mounts = mounts_of(
        {"/data": other, "/bucket": bucket},
        {"/data": made.with_mount_options(read_only=True, sub_path="/part/")},
    )
    spec = FunctionSpec(app_name="app", name="f", volumes=mounts)
    assert spec_of(spec_message(spec)) == spec == FunctionSpec.from_json(spec.to_json())
    bucket_mount, mount = spec.volumes
    assert (mount.name, mount.read_only, mount.sub_path) == ("data", True, "part")
    assert bucket_mount.url == "s3://b/k"
    assert bucket_mount.options == {"endpoint_url": "https://store"}


def test_a_handle_in_a_runner_names_the_volume_and_makes_none() -> None:
    held = rekindle.Volume.from_name("none", create_if_missing=True).read_only()
    again = pickle.loads(pickle.dumps(held))
    with pytest.raises(NotFoundError):
        again.listdir("/")
    with pytest.raises(InvalidError, match="read_only"):
        again.remove_file("x")


V, W = rekindle.Volume.from_name("v"), rekindle.Volume.from_name("w")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"/a": V, "/b": V.read_only()}, ["/a", "/b", "one path"]),
        (
            {"/a": V, "/a/b": W},
            ["inside"],
        ),
        ({"data": V}, ["'data'", "absolute"]),
        ({"/data/../x": V}, [".."]),
        ({"/": V}, ["nothing can be mounted"]),
        ({"//": V}, ["nothing can be mounted"]),
        ({"/proc/1": V}, ["nothing can be mounted"]),
        ({"/sys/fs": V}, ["nothing can be mounted"]),
        ({"/.rekindle/x": V}, ["nothing can be mounted"]),
        ({"/x/../..": V}, ["without `..`"]),
        ({"/data": "v"}, ["str", "rekindle.Volume"]),
        (["/data"], ["dict"]),
    ],
)
def test_what_cannot_be_mounted_is_refused_at_import(given: Any, words: list[str]) -> None:
    with pytest.raises(InvalidError) as caught:
        rekindle.App("x").function(volumes=given)
    assert all(word in str(caught.value) for word in words), caught.value
    with pytest.raises(InvalidError):
        rekindle.App("x", volumes=given)


def test_a_part_that_leaves_the_volume_is_refused() -> None:
    with pytest.raises(InvalidError, match="sub_path"):
        V.with_mount_options(sub_path="a/../../b")


def test_a_bucket_that_cannot_be_mounted_says_what_to_do() -> None:
    for given, word in (
        ({"secret": rekindle.Secret.from_dict({"A": "b"})}, "AWS_ACCESS_KEY_ID"),
        ({"oidc_auth_role_arn": "arn"}, "AWS_ACCESS_KEY_ID"),
        ({"requester_pays": True}, "its own client"),
    ):
        with pytest.raises(InvalidError, match=word):
            rekindle.CloudBucketMount("bucket", **given)
    assert rekindle.CloudBucketMount("gs://bucket", key_prefix="x").url == "gs://bucket/x"


def test_a_handle_that_was_used_makes_no_other_volume_where_its_own_is_gone() -> None:
    held = rekindle.Volume.from_name("v1", create_if_missing=True)
    assert held.listdir("/") == []
    rekindle.Volume.rename("v1", "v2")
    for use in (held.info, lambda: held.listdir("/"), held.commit):
        with pytest.raises(NotFoundError, match="v1"):
            use()
    assert [one.name for one in rekindle.Volume.objects.list()] == ["v2"]
    rekindle.Volume.objects.delete("v2")
    again = rekindle.Volume.from_name("v1", create_if_missing=True)
    assert again.info().name == "v1"


def test_a_call_in_this_process_says_that_volumes_are_not_there() -> None:
    app = rekindle.App("local-volumes")
    volumes = {"/models": rekindle.Volume.from_name("local-volumes", create_if_missing=True)}

    @app.function(volumes=volumes, serialized=True)
    def f() -> int:
        return 1

    @app.cls(volumes=volumes, serialized=True)
    class C:
        @rekindle.method()
        def m(self) -> int:
            return 2

    with pytest.warns(UserWarning, match=r"f\.local\(\).*/models is what this machine") as caught:
        assert f.local() == 1
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match=r"m\.local\(\).*/models"):
        assert C().m.local() == 2
