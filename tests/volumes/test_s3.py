"""A volume whose store is a real server of S3, and one that is away."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rekindle.exception import VolumeError
from rekindle.volumes.registry import Registry, VolumeRecord
from rekindle.volumes.remote import Folder, of_volume
from tests import s3_server
from tests.optional import needs

pytestmark = needs("s3fs")


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a bucket of a server on this machine."""
    with s3_server.serving(tmp_path_factory.mktemp("s3")):
        yield "s3://bucket"


def _held(record: VolumeRecord) -> dict[str, str]:
    found = of_volume(record).tree.listdir("", recursive=True)
    files = [one.path for one in found if one.type.value == "file"]
    return {path: (record.files / path).read_text() for path in sorted(files)}


def test_two_machines_have_what_the_other_sent_and_lack_what_it_removed(
    bucket: str, tmp_path: Path
) -> None:
    one, other = (
        Registry(tmp_path / name).create("data", "main", f"{bucket}/two") for name in ("1", "2")
    )
    of_volume(one).tree.mkdir("below")
    (one.files / "below" / "file").write_text("1")
    (one.files / "gone").write_text("2")
    of_volume(one).commit()
    of_volume(other).pull()
    assert _held(other) == {"below/file": "1", "gone": "2"}
    (other.files / "gone").unlink()
    (other.files / "below" / "file").write_text("longer")
    of_volume(other).commit()
    of_volume(one).pull()
    assert _held(one) == {"below/file": "longer"}
    (one.files / "below" / "file").unlink()
    of_volume(one).commit()
    of_volume(other).pull()
    assert _held(other) == {}


def test_names_that_no_object_can_have_are_said_and_keep_no_other_file_from_the_store(
    bucket: str, tmp_path: Path
) -> None:
    one, other = (
        Registry(tmp_path / name).create("data", "main", f"{bucket}/odd") for name in ("1", "2")
    )
    deep = "/".join(["d" * 250] * 5)  # S3 has 1,024 bytes for all of it
    odd = ["before \udcff", "%41 +#?*[x]", "ü\n'\"", f"{deep}/file", "z"]
    for name in odd:
        of_volume(one).tree.mkdir(name.rpartition("/")[0])
        with of_volume(one).tree.write(name) as file:
            file.write(b"1")
    for _ in range(2):
        with pytest.raises(VolumeError, match="All other files are there") as raised:
            of_volume(one).commit()
        assert repr(odd[0]) in str(raised.value) and repr(odd[3]) in str(raised.value)
    of_volume(other).pull()
    assert _held(other) == {name: "1" for name in sorted(odd) if name not in (odd[0], odd[3])}
    (one.files / odd[0]).rename(one.files / "before")
    (one.files / odd[3]).unlink()
    of_volume(one).commit()
    of_volume(other).pull()
    assert "before" in _held(other)


def test_objects_that_are_no_files_keep_none_from_a_start_and_stay(
    bucket: str, tmp_path: Path
) -> None:
    import s3fs

    client = s3fs.S3FileSystem()
    # A console makes the first three, for folders.
    for key in ("", "full/", "empty/", "full/file", "both", "both/file", "plain"):
        client.call_s3("put_object", Bucket="bucket", Key=f"marked/{key}", Body=key.encode())
    before = client.find("bucket/marked")
    record = Registry(tmp_path).create("data", "main", f"{bucket}/marked")
    of_volume(record).pull()
    assert _held(record) == {name: name for name in ("both/file", "full/file", "plain")}
    (record.files / "plain").unlink()
    of_volume(record).commit()
    client.invalidate_cache()
    assert client.find("bucket/marked") == [one for one in before if not one.endswith("plain")]


def test_what_changes_its_kind_does_so_elsewhere(bucket: str, tmp_path: Path) -> None:
    one, other = (
        Registry(tmp_path / name).create("data", "main", f"{bucket}/kind") for name in ("1", "2")
    )
    (one.files / "a").write_text("1")
    of_volume(one).tree.mkdir("b/c")
    (one.files / "b" / "c" / "file").write_text("2")
    of_volume(one).commit()
    of_volume(other).pull()
    (one.files / "a").unlink()
    (one.files / "b" / "c").rename(one.files / "a")
    (one.files / "b").rmdir()
    (one.files / "b").write_text("3")
    of_volume(one).commit()
    of_volume(other).pull()
    assert _held(other) == {"a/file": "2", "b": "3"}


def test_a_bucket_that_is_gone_takes_nothing_along(bucket: str, tmp_path: Path) -> None:
    record = Registry(tmp_path).create("data", "main", f"{bucket}/gone")
    (record.files / "file").write_text("1")
    of_volume(record).commit()
    gone = of_volume(dataclasses.replace(record, url="s3://gone/data"))
    with pytest.raises(VolumeError, match="nothing at s3://gone/data"):
        gone.pull()
    assert _held(record) == {"file": "1"}


@pytest.mark.parametrize("ask", [Folder.commit, Folder.pull, Folder.pull_if_old])
@pytest.mark.parametrize("keys", [True, False], ids=["nobody_listens", "no_credentials"])
def test_a_store_that_cannot_be_asked_is_named_in_an_error_of_volumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Callable[[Folder], None], keys: bool
) -> None:
    with s3_server.away():
        if not keys:
            monkeypatch.delenv("AWS_ACCESS_KEY_ID")
            monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
            monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
            monkeypatch.setenv("HOME", str(tmp_path))
        record = Registry(tmp_path).create("data", "main", "s3://bucket/data")
        (record.files / "file").write_text("1")
        with pytest.raises(VolumeError, match="the volume 'data' and s3://bucket/data cannot be"):
            ask(of_volume(record))
