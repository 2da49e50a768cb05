"""Where rekindle keeps things: what is refused, and why."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rekindle import paths
from rekindle.exception import InvalidError, SetupError


@pytest.fixture
def in_shared_memory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rk-paths-", dir="/dev/shm") as name:
        yield Path(name)


def test_a_home_that_no_runner_would_find_is_refused_before_it_is_made(
    in_shared_memory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "link"
    link.symlink_to(in_shared_memory)
    for place in (in_shared_memory / "home", link / "home"):
        monkeypatch.setenv("REKINDLE_HOME", str(place))
        with pytest.raises(SetupError, match=f"{place} is in /dev/shm.*set REKINDLE_HOME to"):
            paths.home()
    assert list(in_shared_memory.iterdir()) == []


def test_so_is_a_directory_for_short_sockets_there(
    in_shared_memory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REKINDLE_HOME", str(tmp_path / ("long" * 25)))
    monkeypatch.setattr(tempfile, "tempdir", str(in_shared_memory))
    with pytest.raises(SetupError, match="set TMPDIR to a directory elsewhere"):
        paths.new_session_dir()
    assert list(in_shared_memory.iterdir()) == []


def test_a_tilde_that_no_shell_has_replaced_is_the_home_of_its_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("REKINDLE_HOME", "~/kept")
    assert paths.home() == tmp_path / "kept"
    monkeypatch.setenv("REKINDLE_HOME", "~no-such-user/kept")
    with pytest.raises(InvalidError, match="REKINDLE_HOME='~no-such-user/kept'"):
        paths.home_place()


@pytest.mark.parametrize("home", ["", "here", "~"])
def test_a_home_of_the_user_that_is_no_path_in_full_is_refused_where_it_counts(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", home)
    for named in ("", "~/kept", "~"):
        monkeypatch.setenv("REKINDLE_HOME", named)
        with pytest.raises(SetupError, match=f"HOME='{home}' is no path in full"):
            paths.home_place()
    monkeypatch.setenv("REKINDLE_HOME", str(tmp_path))
    assert paths.home() == tmp_path


def test_a_home_that_is_a_file_is_said_to_be_no_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("REKINDLE_HOME", str(tmp_path / "file"))
    with pytest.raises(SetupError, match=r"file, .* cannot be made \(it is no directory\)"):
        paths.home()


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "a\udcff"])
def test_a_home_that_is_no_line_of_text_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REKINDLE_HOME", str(tmp_path / name))
    with pytest.raises(InvalidError, match="is no line of text in UTF-8: set REKINDLE_HOME"):
        paths.home()
    monkeypatch.setenv("REKINDLE_HOME", str(tmp_path / "é世 b"))
    assert paths.home() == tmp_path / "é世 b"


@pytest.mark.parametrize("name", ["n" * 90, "世" * 30])
def test_an_instance_of_a_program_lies_elsewhere_where_its_home_is_too_long_for_sockets(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bytes, of which a character may have several."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        monkeypatch.setenv("REKINDLE_HOME", f"{short}/{name}")
        assert paths.new_session_dir().parent == tmp_path
        monkeypatch.setenv("REKINDLE_HOME", f"{short}/世")
        assert paths.new_session_dir().parent == Path(short, "世", "run")
