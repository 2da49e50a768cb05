"""Finding CRIU: which one is taken, which is refused and why, and that the answer is remembered."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rekindle.exception import CriuNotFoundError
from rekindle.snapshot import criu, machine, packages
from tests import exhausted


def _script(path: Path, version: str = "4.1.1", check: str = "exit 0") -> Path:
    """A stand-in that counts its checks beside itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "#!/bin/sh\n"
        f'if [ "$1" = check ]; then echo x >> {path}.checks; {check}; fi\n'
        f'echo "Version: {version}"\n'
    )
    path.chmod(0o755)
    return path


def _checks(path: Path) -> int:
    counted = Path(f"{path}.checks")
    return len(counted.read_text().splitlines()) if counted.exists() else 0


@pytest.fixture(autouse=True)
def privileged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The scripts need no privileges, and there is no CRIU but what the test puts somewhere."""
    monkeypatch.setattr(criu, "is_privileged", lambda: True)
    monkeypatch.setattr(criu, "default_prefix", lambda: tmp_path / "prefix")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("REKINDLE_CRIU", raising=False)
    monkeypatch.setattr(criu, "_SYSTEM_PATH", "")


def test_the_one_named_by_the_environment_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _script(tmp_path / "bin" / "criu", "4.0")
    monkeypatch.setenv("REKINDLE_CRIU", str(_script(tmp_path / "mine", "4.2")))
    found = criu.find()
    assert found.argv == (str(tmp_path / "mine"),)
    assert found.version == "4.2"
    assert found.prefix == ""


def test_one_named_by_the_environment_that_does_not_work_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _script(tmp_path / "bin" / "criu")
    monkeypatch.setenv("REKINDLE_CRIU", str(tmp_path / "absent"))
    with pytest.raises(CriuNotFoundError, match=r"REKINDLE_CRIU=.*no such file"):
        criu.find()


def test_one_on_the_path_is_found(tmp_path: Path) -> None:
    _script(tmp_path / "bin" / "criu", "4.1")
    assert criu.find().version == "4.1"


def test_nothing_to_find_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CriuNotFoundError, match="rekindle setup criu"):
        criu.find()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ({"version": "3.17.1"}, "is version 3.17.1, 4.0 is needed"),
        ({"version": "unknown"}, "reports no version"),
        (
            {"check": "echo 'Error (criu/cr-check.c:1): vdso: Unexpected' >&2; exit 1"},
            "`criu check` fails: Error .*vdso: Unexpected",
        ),
    ],
)
def test_one_that_does_not_do_is_refused_with_the_reason(
    tmp_path: Path, script: dict[str, str], reason: str
) -> None:
    _script(tmp_path / "bin" / "criu", **script)
    with pytest.raises(CriuNotFoundError, match=reason):
        criu.find()


def test_a_broken_prefix_does_not_hide_one_that_works(tmp_path: Path) -> None:
    (tmp_path / "prefix").mkdir()
    _script(tmp_path / "bin" / "criu")
    assert criu.find().binary == str(tmp_path / "bin" / "criu")


def test_a_file_that_is_no_program_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    with pytest.raises(CriuNotFoundError, match="not executable"):
        criu.at(tmp_path / "text")
    (tmp_path / "text").chmod(0o755)
    with pytest.raises(CriuNotFoundError, match="cannot be started"):
        criu.at(tmp_path / "text")


def test_a_root_without_privileges_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = _script(tmp_path / "bin" / "criu")
    monkeypatch.setattr(criu, "is_privileged", lambda: False)
    monkeypatch.setattr(criu, "_is_unprivileged", lambda: False)
    with pytest.raises(CriuNotFoundError, match="CAP_SYS_ADMIN, which this root lacks"):
        criu.find()
    assert criu.unchecked(script).version == "4.1.1"
    assert _checks(script) == 0


# ---- the verdict is remembered -------------------------------------------------------------


def test_a_binary_is_checked_once_and_again_when_it_changes(tmp_path: Path) -> None:
    script = _script(tmp_path / "bin" / "criu")
    for _ in range(3):
        criu.forget()
        criu.find()
    assert _checks(script) == 1
    _script(script, "4.2.0")
    criu.forget()
    assert criu.find().version == "4.2.0"
    assert _checks(script) == 2


def test_a_failed_check_is_not_remembered(tmp_path: Path) -> None:
    script = _script(tmp_path / "bin" / "criu", check=f"test -e {tmp_path}/fine || exit 1")
    with pytest.raises(CriuNotFoundError):
        criu.find()
    (tmp_path / "fine").touch()
    criu.find()
    assert _checks(script) == 2


@pytest.mark.parametrize("text", ["{", "[]", "17", '{"x": 1}'])
def test_a_broken_verdict_file_means_checking_again(tmp_path: Path, text: str) -> None:
    script = _script(tmp_path / "bin" / "criu")
    criu.find()
    (tmp_path / "home" / "criu-verdict.json").write_text(text)
    criu.forget()
    criu.find()
    assert _checks(script) == 2


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("Version: 4.1.1\n", (4, 1, 1)),
        ("Version: 4.0\n", (4, 0, 0)),
        ("Version: 4.2\nGitID: v4.2-17-gabc\n", (4, 2, 0)),
    ],
)
def test_versions_are_read(text: str, version: tuple[int, int, int]) -> None:
    assert criu.parse_version(text) == version


@pytest.mark.parametrize(
    "check",
    [
        "echo 'Error (criu/util.c:1): Cannot allocate memory' >&2; exit 1",
        "echo 'Error (criu/util.c:1): open: Too many open files' >&2; exit 1",
        f"exec {sys.executable} -c 'import ctypes; ctypes.string_at(0)'",  # killed by the kernel
    ],
)
def test_one_that_cannot_be_asked_just_now_is_asked_again(tmp_path: Path, check: str) -> None:
    _script(tmp_path / "bin" / "criu", check=check)
    with pytest.raises(criu.CriuNotAskedError):
        criu.find()
    _script(tmp_path / "bin" / "criu", "4.1")
    assert criu.find().version == "4.1"


def test_one_that_never_works_is_no_matter_of_the_moment(tmp_path: Path) -> None:
    _script(tmp_path / "bin" / "criu", check="echo 'Error: no vdso' >&2; exit 1")
    with pytest.raises(CriuNotFoundError) as refused:
        criu.find()
    assert not isinstance(refused.value, criu.CriuNotAskedError)


def test_no_process_for_it_is_a_matter_of_the_moment(tmp_path: Path) -> None:
    _script(tmp_path / "bin" / "criu", "4.1")
    with exhausted.descriptors(2), pytest.raises(criu.CriuNotAskedError, match="open files"):
        criu.find()
    assert criu.find().version == "4.1"


def test_what_the_processor_can_do_is_not_remembered_where_it_cannot_be_read() -> None:
    machine.cpu_features.cache_clear()
    with exhausted.descriptors(0), pytest.raises(OSError, match="Too many open files"):
        machine.cpu_features()
    assert machine.cpu_features()


def test_packages_that_cannot_be_listed_are_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / "thing-1.0.dist-info").mkdir()
    with exhausted.descriptors(0), pytest.raises(OSError, match="Too many open files"):
        packages._in_directory(str(tmp_path))
    assert list(packages._in_directory(str(tmp_path))) == ["thing"]
