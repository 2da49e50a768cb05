"""Installed distributions: each change of one is seen, nothing is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rekindle.exception import SnapshotError
from rekindle.snapshot import packages


def _install(site: Path, name: str, version: str, record: str = "a.py,sha256=x,1\n") -> Path:
    directory = site / f"{name}-{version}.dist-info"
    directory.mkdir(parents=True)
    (directory / "RECORD").write_text(record)
    return directory


@pytest.mark.parametrize(
    ("directory", "expected"),
    [
        ("torch-2.13.0.dist-info", ("torch", "2.13.0")),
        ("torch-2.13.0+cpu.dist-info", ("torch", "2.13.0+cpu")),
        ("ruamel.yaml-0.18.dist-info", ("ruamel-yaml", "0.18")),
        ("Foo_Bar-1.0-py3.11.egg-info", ("foo-bar", "1.0")),
        ("six.egg-info", ("six", "")),
    ],
)
def test_names_and_versions_are_those_of_the_metadata_directory(
    directory: str, expected: tuple[str, str]
) -> None:
    assert packages.split_metadata_name(directory) == expected


def test_what_is_installed_in_this_interpreter_is_found() -> None:
    found = packages.installed()
    assert {"click", "grpcio", "xxhash"} <= found.keys()
    assert found == packages.installed(sys.executable)


def test_a_changed_version_or_file_list_is_another_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    directory = _install(tmp_path, "zzz", "1.0")
    before = packages.installed()
    (directory / "RECORD").write_text("a.py,sha256=yy,2\n")
    other_files = packages.installed()
    directory.rename(tmp_path / "zzz-1.1.dist-info")
    other_version = packages.installed()
    assert len({found["zzz"] for found in (before, other_files, other_version)}) == 3
    assert other_version["zzz"].startswith("1.1 ")


def test_an_installation_of_the_same_files_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    directory = _install(tmp_path, "zzz", "1.0")
    before = packages.installed()["zzz"]
    os.utime(directory / "RECORD", (1, 1))
    assert packages.installed()["zzz"] == before


def test_the_first_on_the_path_is_the_one_that_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(tmp_path / "one", "zzz", "1.0")
    _install(tmp_path / "two", "zzz", "2.0")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "one"), str(tmp_path / "two")])
    assert packages.installed()["zzz"].startswith("1.0 ")


def test_a_distribution_without_a_record_is_found_by_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "zzz-3.0.egg-info").mkdir()
    (tmp_path / "yyy-1.0.egg-info").write_text("Name: yyy\n")
    found = packages.installed()
    assert found["zzz"] == "3.0"
    assert found["yyy"].startswith("1.0 ")


def test_another_interpreter_is_asked_for_its_own_path(tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    site = next(environment.glob("lib/python*/site-packages"))
    _install(site, "only_there", "1.0")
    found = packages.installed(str(environment / "bin" / "python"))
    assert "only-there" in found
    assert "grpcio" not in found


def test_an_interpreter_that_does_not_run_is_an_error(tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(SnapshotError, match="import path"):
        packages.installed(str(broken))


def test_an_interpreter_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="No such file"):
        packages.installed(str(tmp_path / "python"))
