"""``rekindle volume``, without an instance."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import _MAIN, PATIENCE_S, environ


class Terminal:
    """The command line in a home of the test's own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._environ = environ(root / "no-instance", REKINDLE_HOME=str(root / "home"))

    def __call__(self, *argv: str, status: int = 0, stdin: bytes = b"") -> str:
        ended = self.run(*argv, stdin=stdin)
        assert ended.returncode == status, f"{argv}: {ended.stdout!r}\n{ended.stderr!r}"
        return (ended.stdout if status == 0 else ended.stderr).decode()

    def warned(self, *argv: str) -> str:
        """What a command that did its work wrote to standard error."""
        ended = self.run(*argv)
        assert ended.returncode == 0, ended.stderr
        return ended.stderr.decode()

    def run(
        self, *argv: str, stdin: bytes = b"", **more: str
    ) -> subprocess.CompletedProcess[bytes]:
        """To its end; ``more``: variables of its own."""
        return subprocess.run(
            [sys.executable, "-c", _MAIN, "volume", *argv],
            env=self._environ | more,
            cwd=self.root,
            input=stdin,
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )


@pytest.fixture
def volume(tmp_path: Path) -> Terminal:
    """``volume("ls", ...)``: what it printed; its errors where it is to fail."""
    return Terminal(tmp_path)


def test_files_go_in_are_moved_about_and_come_out(volume: Terminal) -> None:
    folder = volume.root / "folder"
    (folder / "below").mkdir(parents=True)
    (folder / "a").write_text("1")
    (folder / "below" / "b").write_text("22")
    volume("create", "data")
    volume("put", "data", "folder")
    volume("put", "data", "folder/a", "/single/")
    volume("put", "data", "-", "piped", stdin=b"by pipe")
    assert "--force replaces it" in volume("put", "data", "folder", status=1)
    volume("put", "data", "folder", "--force")
    volume("cp", "data", "piped", "single/")
    volume("rm", "-y", "data", "single/a")
    assert "recursive" in volume("rm", "-y", "data", "folder", status=1)
    listed = json.loads(volume("ls", "data", "-r", "--json"))
    assert {one["path"]: one["size"] for one in listed if one["type"] == "file"} == {
        "folder/a": 1,
        "folder/below/b": 2,
        "piped": 7,
        "single/piped": 7,
    }
    assert volume("get", "data", "piped", "-") == "by pipe"
    volume("get", "data", "folder", "out")
    assert (volume.root / "out" / "folder" / "below" / "b").read_text() == "22"
    (volume.root / "home" / "volumes" / "main" / "data" / "files" / "folder" / "link").symlink_to(
        "a"
    )
    assert "folder/link is left out" in volume.warned("get", "data", "folder", "again")
    assert "is there already" in volume("get", "data", "folder", "out", status=1)
    volume("get", "data", "folder", "out", "--force")
    assert "leaves the volume" in volume("get", "data", "../volume.json", "-", status=1)
    assert "folder/" in volume("ls", "data")


def test_what_is_put_and_is_no_file_is_named(volume: Terminal) -> None:
    folder = volume.root / "folder"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "file").write_text("1")
    (folder / "link").symlink_to("below/file")
    for name, leads_to in (("to-folder", "below"), ("below/to-nothing", "gone")):
        (folder / name).symlink_to(leads_to)
    volume("create", "data")
    said = volume.warned("put", "data", "folder")
    for name in ("to-folder", "below/to-nothing"):
        assert f"folder/{name} is left out: it is no plain file." in said
    assert said.count("left out") == 2
    listed = json.loads(volume("ls", "data", "-r", "--json"))
    assert {one["path"] for one in listed if one["type"] == "file"} == {
        *("folder/below/file", "folder/link"),
    }


def test_volumes_are_listed_renamed_and_deleted(volume: Terminal) -> None:
    volume("create", "one", "--url", "file:///one")
    volume("create", "two", "--env", "other")
    assert "already" in volume("create", "one", status=1)
    (row,) = json.loads(volume("list", "--json"))
    assert (row["name"], row["environment"], row["url"]) == ("one", "main", "file:///one")
    volume("rename", "one", "three")
    assert "three" in volume("list")
    assert "add --yes" in volume("delete", "three", status=1)
    assert "three" in volume("list")
    volume("delete", "three", "--yes")
    assert "no volume 'three'" in volume("delete", "three", "--yes", status=1)
    volume("delete", "three", "--allow-missing", "--yes")
    assert "No volumes" in volume("list")


def test_a_directory_goes_into_a_path_that_ends_with_a_slash(volume: Terminal) -> None:
    for name in ("one", "two"):
        (volume.root / name).mkdir()
        (volume.root / name / "a").write_text(name)
    (volume.root / "one" / "below").mkdir()
    volume("create", "data")
    volume("put", "data", "one", "/kept/")
    volume("put", "data", "two", "/kept/")
    volume("put", "data", "one", "/kept/renamed")
    volume("put", "data", "one/below/..", "up/")  # by the name that it has
    listed = json.loads(volume("ls", "data", "-r", "--json"))
    assert {one["path"] for one in listed if one["type"] == "file"} == {
        *("kept/one/a", "kept/two/a", "kept/renamed/a", "up/one/a"),
    }


def test_a_place_that_cannot_be_written_is_an_error_with_its_reason(volume: Terminal) -> None:
    (volume.root / "file").write_text("1")
    (volume.root / "out" / "file").mkdir(parents=True)
    volume("create", "data")
    volume("put", "data", "file")
    for force in ((), ("--force",)):
        assert volume("get", "data", "file", "out", *force, status=1).splitlines()[0] == (
            "Error: out/file is a directory: remove it, or name another TARGET"
        )
    for target in ("file/below", "/proc/none"):  # not for root either
        said = volume("get", "data", "file", target, status=1)
        assert said.startswith(f"Error: {target} cannot be written: ")
        assert "Traceback" not in said
    assert volume("put", "data", "/dev/null", status=1).splitlines()[0] == (
        "Error: /dev/null cannot be sent: there is no file '/dev/null' to be sent"
    )


@pytest.mark.parametrize(
    ("encoding", "shown"), [("ascii", "\\xe9\\u4e16"), ("latin-1", "é\\u4e16"), ("utf-8", "é世")]
)
def test_what_an_output_has_no_characters_for_is_escaped(
    volume: Terminal, encoding: str, shown: str
) -> None:
    volume("create", "data")
    for name in (b"bytes\xff", "é世".encode()):
        volume("put", "data", "-", os.fsdecode(name))
    ended = volume.run("ls", "data", PYTHONIOENCODING=encoding)
    assert ended.returncode == 0, ended.stderr
    _, raw, text = ended.stdout.decode(encoding).splitlines()
    assert raw.startswith("bytes\\udcff ") and text.startswith(f"{shown} ")
    ended = volume.run("ls", "data", PYTHONIOENCODING=f"{encoding}:replace")
    assert b"bytes? " in ended.stdout, ended.stderr
