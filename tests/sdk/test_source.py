"""The source bundle: what is in it, what names it, what is too much."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rekindle.exception import RequestSizeError
from rekindle.sdk import source


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory on sys.path; its modules are forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "script.py").write_text("")
    # Only what a test imports counts, not the test suite itself.
    for name in [n for n, m in sys.modules.items() if n.split(".")[0] in ("tests", "conftest")]:
        monkeypatch.delitem(sys.modules, name)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def names(bundle: source.Bundle | None) -> set[str]:
    assert bundle is not None
    with zipfile.ZipFile(io.BytesIO(bundle.data)) as archive:
        listed = set(archive.namelist())
    assert listed == set(bundle.files)
    return listed


def test_whole_packages_that_are_loaded_are_in_it(project: Path) -> None:
    (project / "elsewhere").mkdir()
    package = project / "rk_pkg"
    (package / "sub" / "__pycache__").mkdir(parents=True)
    for file in ("__init__.py", "data.txt", "sub/__init__.py", "sub/__pycache__/x.pyc"):
        (package / file).write_text("")
    (project / "rk_single.py").write_text("")
    (project / "rk_ns" / "inner").mkdir(parents=True)
    (project / "rk_ns" / "inner" / "__init__.py").write_text("")
    (project / "rk_ns" / "unused.py").write_text("")
    import rk_ns.inner  # type: ignore[import-not-found]  # noqa: F401
    import rk_pkg  # type: ignore[import-not-found]  # noqa: F401
    import rk_single  # type: ignore[import-not-found]  # noqa: F401

    assert names(source.collect(None)) == {
        "rk_pkg/__init__.py",
        "rk_pkg/data.txt",
        "rk_pkg/sub/__init__.py",
        "rk_single.py",
        "rk_ns/inner/__init__.py",
    }


def test_modules_next_to_the_script_are_in_it_and_the_script_is_not(project: Path) -> None:
    (project / "rk_near.py").write_text("")
    (project / "rk_pkg2").mkdir()
    (project / "rk_pkg2" / "__init__.py").write_text("")
    (project / "just_data").mkdir()
    (project / "just_data" / "x.py").write_text("")
    (project / ".hidden.py").write_text("")
    (project / "notes.txt").write_text("")
    found = names(source.collect(project / "script.py"))
    assert found == {"rk_near.py", "rk_pkg2/__init__.py"}


def test_a_neighbour_does_not_hide_the_standard_library(project: Path) -> None:
    (project / "numbers.py").write_text("")
    assert source.collect(project / "script.py") is None


def test_the_digest_is_that_of_paths_and_contents(project: Path) -> None:
    (project / "rk_near.py").write_text("a = 1")
    one = source.collect(project / "script.py")
    two = source.collect(project / "script.py")
    assert one == two
    (project / "rk_near.py").write_text("a = 2")
    three = source.collect(project / "script.py")
    (project / "rk_near.py").rename(project / "rk_far.py")
    four = source.collect(project / "script.py")
    assert one and three and four
    assert len({one.digest, three.digest, four.digest}) == 3


def test_no_local_modules_no_bundle(project: Path) -> None:
    assert source.collect(None) is None


def test_loaded_modules_over_the_limit_are_an_error_that_names_the_largest(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = project / "rk_large"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "weights.bin").write_bytes(b"x" * 2000)
    import rk_large  # type: ignore[import-not-found]  # noqa: F401

    monkeypatch.setattr(source, "MAX_BYTES", 1000)
    with pytest.raises(RequestSizeError, match=r"rk_large with 2 files.*include_source=False"):
        source.collect(None)


def test_neighbours_over_the_limit_are_left_out_and_it_is_said(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (project / "rk_small.py").write_text("")
    (project / "rk_pkg3").mkdir()
    for i in range(5):
        (project / "rk_pkg3" / f"m{i}.py").write_text("")
    (project / "rk_pkg3" / "__init__.py").write_text("")
    monkeypatch.setattr(source, "MAX_FILES", 3)
    assert names(source.collect(project / "script.py")) == {"rk_small.py"}
    assert "rk_pkg3" in caplog.text


def test_installed_and_standard_modules_are_not_local() -> None:
    import json

    import click

    assert not source.is_local_file(json.__file__)
    assert not source.is_local_file(click.__file__)
    assert not source.is_local_file(source.__file__)
