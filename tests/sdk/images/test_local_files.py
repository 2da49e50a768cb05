"""Local files in images: what counts of them, what is left out, where they go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rekindle import FilePatternMatcher
from rekindle.exception import InvalidError
from rekindle.sdk.ignore_patterns import Ignore
from rekindle.sdk.images import local_files
from rekindle.wire.images import StepKind
from tests.alarms import too_late
from tests.sdk.images.declared_images import last_step, slim

pytestmark = pytest.mark.usefixtures("own_images")


def _tree(place: Path, names: list[str]) -> Path:
    place.mkdir()
    for name in names:
        file = place / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(name)
    return place


def test_a_folder_counts_by_its_content_and_not_by_the_order_or_time_of_its_files(
    tmp_path: Path,
) -> None:
    listed = ["a.txt", "sub/b.txt", "z"]
    one, other = _tree(tmp_path / "1", listed), _tree(tmp_path / "2", listed[::-1])
    assert local_files.digest_of(one) == local_files.digest_of(other)
    for change in (
        lambda: (other / "a.txt").write_text("!"),
        lambda: (other / "z").chmod(0o755),
        lambda: (other / "z").rename(other / "y"),
        lambda: (other / "empty").mkdir(),
        lambda: (other / "link").symlink_to("a.txt"),
    ):
        before = local_files.digest_of(other)
        change()
        assert local_files.digest_of(other) != before


def test_what_is_added_is_kept_as_it_was(tmp_path: Path) -> None:
    source = _tree(tmp_path / "src", ["a.txt", "b.pyc"])
    (file,) = last_step(slim().add_local_dir(source, "/x", ignore=["*.pyc"])).files
    (source / "a.txt").write_text("edited")
    assert [one.name for one in Path(file.kept).iterdir()] == ["a.txt"]
    assert (Path(file.kept) / "a.txt").read_text() == "a.txt"
    assert not list(Path(file.kept).parent.parent.glob(".draft-*"))


@pytest.mark.parametrize(
    ("patterns", "left"),
    [
        ([], {"a.py", "b.txt", "sub/c.py"}),
        (["*.py"], {"b.txt", "sub/c.py"}),
        (["**/*.py"], {"b.txt"}),
        (["sub"], {"a.py", "b.txt"}),
        (["*", "!b.txt"], {"b.txt"}),
        (["*", "!sub/c.py"], {"sub/c.py"}),
        (~FilePatternMatcher("**/*.py"), {"a.py", "sub/c.py"}),
        (FilePatternMatcher("*", "!sub/*"), {"sub/c.py"}),
    ],
)
def test_patterns_leave_out_files_as_in_a_dockerignore(
    tmp_path: Path, patterns: Ignore, left: set[str]
) -> None:
    source = _tree(tmp_path / "src", ["a.py", "b.txt", "sub/c.py"])
    (file,) = last_step(slim().add_local_dir(source, "/x", ignore=patterns)).files
    found = {str(p.relative_to(file.kept)) for p in Path(file.kept).rglob("*") if p.is_file()}
    assert found == left


def test_a_file_that_is_not_there_is_named_when_the_app_is_run(tmp_path: Path) -> None:
    image = slim().add_local_file(tmp_path / "none", "/x/")
    with pytest.raises(InvalidError, match="none cannot be added to an image"):
        image.spec()


def test_an_alarm_while_files_are_added_is_none_of_their_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _tree(tmp_path / "src", ["a.txt"])
    with too_late(monkeypatch, local_files.holes, "copy_content"):
        local_files.keep(source, "/x")
    assert (Path(local_files.keep(source, "/x").kept) / "a.txt").read_text() == "a.txt"


def test_what_is_added_is_what_the_method_says(tmp_path: Path) -> None:
    file = _tree(tmp_path / "folder", ["a"]) / "a"
    for image, said in (
        (
            slim().add_local_file(file.parent, "/x"),
            "is no file but a folder; .*add_local_dir",
        ),
        (
            slim().add_local_dir(file, "/x", copy=True),
            "is no folder but a file; .*add_local_file",
        ),
    ):
        with pytest.raises(InvalidError, match=said):
            image.spec()
    os.mkfifo(file.parent / "pipe")
    with pytest.raises(InvalidError, match=r"folder/pipe in it is a pipe, .* ignore=\['pipe'\]"):
        slim().add_local_dir(file.parent, "/x").spec()
    slim().add_local_dir(file.parent, "/x", ignore=["pipe"]).spec()


def test_modules_go_where_runners_import_them_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _tree(tmp_path / "own_package", ["__init__.py", "data.bin"])
    (tmp_path / "own_module.py").write_text("x = 1")
    monkeypatch.syspath_prepend(tmp_path)
    step = last_step(slim().add_local_python_source("own_package", "own_module"))
    assert step.kind is StepKind.MOUNT
    assert [one.target for one in step.files] == ["/root/own_package", "/root/own_module.py"]
    assert [one.name for one in Path(step.files[0].kept).iterdir()] == ["__init__.py"]
    with pytest.raises(InvalidError, match="cannot import it"):
        slim().add_local_python_source("no_such_module").spec()
