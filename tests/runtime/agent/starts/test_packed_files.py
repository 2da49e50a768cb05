"""Which file a layer has, and whether a root is still made of it."""

from __future__ import annotations

from pathlib import Path

from rekindle.runtime.agent.starts.packed_files import PackedFiles
from rekindle.runtime.images.store import PACKED


def test_a_layer_on_its_way_is_a_lazy_file_and_one_that_is_here_an_ordinary_one(
    tmp_path: Path,
) -> None:
    packed = PackedFiles()
    built, here, coming = (tmp_path / name / "root" for name in ("built", "here", "coming"))
    for place in (built, here, coming):
        place.mkdir(parents=True)
    here.with_name(PACKED).touch()
    packed.arriving[str(coming)] = tmp_path / "lazy"
    lowers = [str(built), str(here), str(coming)]
    assert packed.files_of(lowers) == [
        (str(here.with_name(PACKED)), str(here)),
        (str(tmp_path / "lazy"), str(coming)),
    ]


def test_a_layer_is_idle_once_no_root_is_left_that_is_made_of_it(tmp_path: Path) -> None:
    packed = PackedFiles()
    root = tmp_path / "root"
    packed.used(str(root), ["a", "b"])
    assert packed.idle(3600.0) == []  # about to be made
    root.mkdir()
    assert packed.idle(0.0) == []
    root.rmdir()
    assert packed.idle(0.0) == ["a", "b"]
    packed.forget("a")
    assert packed.idle(0.0) == ["b"]


def test_why_a_layer_could_not_be_read_is_known_of_those_that_have_it() -> None:
    packed = PackedFiles()
    packed.failed("a", "the store is away")
    assert packed.why_lost(["b", "a"]) == "the store is away"
    assert packed.why_lost(["b"]) == ""
