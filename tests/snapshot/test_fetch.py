"""Fetching CRIU: from the mirror of the machine's own apt, verified, all or nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rekindle.debian import apt
from rekindle.exception import SetupError
from rekindle.snapshot import criu, fetch, pycriu


def test_without_apt_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match=r"apt-get.*REKINDLE_CRIU"):
        fetch.fetch(tmp_path / "criu")


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release's index, fetched once."""
    root = tmp_path_factory.mktemp("apt")
    made = apt.Apt(root, apt.machine_keyring(""), fetch.RELEASE, "")
    made.update(apt.mirror(fetch.RELEASE, ""))
    return made.root / "lists"


@pytest.fixture
def known_index(lists: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have apt take that index for the one that it has just fetched."""
    sources = (lists.parent / "sources.list").read_text()

    def update(made: apt.Apt, _uri: str) -> None:
        (made.root / "sources.list").write_text(sources)
        shutil.copytree(lists, made.root / "lists", dirs_exist_ok=True)

    monkeypatch.setattr(apt.Apt, "update", update)


@pytest.mark.criu
@pytest.mark.slow
@pytest.mark.usefixtures("known_index")
def test_a_criu_and_a_pycriu_that_work_are_fetched_and_replace_what_was_there(
    tmp_path: Path,
) -> None:
    prefix = tmp_path / "share" / "criu"
    prefix.mkdir(parents=True)
    (prefix / "old").touch()
    (tmp_path / "share" / ".criu-killed").mkdir()  # of a set-up that was killed
    steps: list[str] = []
    found = fetch.fetch(prefix, lambda step, _done, _total: steps.append(step))
    assert criu.parse_version(found.version) >= criu.MIN_VERSION
    assert found.prefix == str(prefix)
    assert pycriu.present(prefix)
    assert not (prefix / "old").exists()
    assert [path.name for path in prefix.parent.iterdir()] == ["criu"]
    assert list(dict.fromkeys(steps)) == [
        "reading the package index",
        "fetching packages",
        "unpacking",
        "checking CRIU",
    ]
    # No interpreter came with pycriu, and no package manager with CRIU.
    assert not list(prefix.glob("usr/bin/python*"))
    assert not (prefix / "usr" / "bin" / "dpkg").exists()


@pytest.mark.criu
@pytest.mark.slow
def test_a_signature_that_does_not_verify_stops_it_and_changes_nothing(tmp_path: Path) -> None:
    keyring = tmp_path / "empty.gpg"
    keyring.touch()
    prefix = tmp_path / "share" / "criu"
    prefix.mkdir(parents=True)
    (prefix / "old").touch()
    with pytest.raises(SetupError, match=r"reading the index.*(signature|NO_PUBKEY|signed)"):
        fetch.fetch(prefix, keyring=keyring)
    assert [path.name for path in prefix.parent.iterdir()] == ["criu"]
    assert [path.name for path in prefix.iterdir()] == ["old"]


@pytest.mark.criu
@pytest.mark.slow
@pytest.mark.usefixtures("known_index")
def test_pycriu_alone_is_fetched_for_a_machine_that_has_a_criu(tmp_path: Path) -> None:
    fetch.fetch_pycriu(tmp_path / "criu")
    assert pycriu.present(tmp_path / "criu")
    assert not (tmp_path / "criu" / "usr" / "sbin" / "criu").exists()


def test_a_failing_step_says_what_was_done_and_what_apt_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tool in ("apt-get", "apt-config", "dpkg-deb"):
        path = tmp_path / tool
        path.write_text("#!/bin/sh\necho 'E: the mirror is on fire' >&2\nexit 100\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(SetupError, match=r"failed: E: the mirror is on fire"):
        fetch.fetch(tmp_path / "criu")
    assert not (tmp_path / "criu").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    if not Path("/usr/bin/apt-get").exists():
        pytest.skip("needs apt")
    with pytest.raises(SetupError, match=str(tmp_path / "file" / "criu")):
        fetch.fetch(tmp_path / "file" / "criu")
