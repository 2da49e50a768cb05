"""A home that is full, another's, read-only or nowhere: each command says so and what to do."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import rekindle
from tests.e2e.harness import COMMAND, SMALL_DISK, Ended, Home, a_home

SCRIPT = """
    import rekindle

    app = rekindle.App("words")

    @app.function()
    def one():
        return 1

    @app.local_entrypoint()
    def main():
        print(one.remote())
"""
#: Nobody has this id.
_UID = 62000 + os.getpid() % 1000
_STAYS = {"REKINDLE_LINGER": "10m", "CI": ""}
#: Fills the disk of the home, to its last block.
_FILL = 'cat /dev/zero > "$REKINDLE_HOME/filler" 2>/dev/null'


@pytest.fixture
def plain() -> Iterator[Home]:
    """A home of a user who is not root."""
    with a_home(_UID) as made:
        yield made


def said(ended: Ended, *words: str) -> None:
    """An error of one line, with these words, and no traceback."""
    assert ended.status == 1, str(ended)
    assert "Error: " in ended.err and "Traceback" not in ended.err, str(ended)
    for word in (*words, "REKINDLE_HOME"):
        assert word in ended.err, str(ended)


@pytest.mark.parametrize("command", ["run SCRIPT", "up", "deploy SCRIPT"])
def test_a_full_disk_is_named(home: Home, command: str) -> None:
    script = home.script(SCRIPT)
    home.path.mkdir()
    line = f"{_FILL}; exec {COMMAND} {command.replace('SCRIPT', str(script))}"
    small = home.start(*SMALL_DISK, str(home.path), "1m", "sh", "-c", line, **_STAYS)
    said(small.end(), f"the disk of {home.path}", "is full")


def test_a_secret_that_finds_the_disk_full_is_told_so(home: Home) -> None:
    home.path.mkdir()
    create = f"{COMMAND} secret create one KEY=value"
    line = f"{COMMAND} up && {{ {_FILL}; {create}; s=$?; {COMMAND} down; exit $s; }}"
    ended = home.start(*SMALL_DISK, str(home.path), "16m", "sh", "-c", line).end()
    assert ended.status == 1 and "Traceback" not in ended.err, str(ended)
    why = "secrets.key cannot be written: No space left on device"
    assert f"Error: {home.path}/{why}" in ended.err, str(ended)


@pytest.mark.needs_root("makes files of two users")
@pytest.mark.parametrize("mode", [0o755, 0o700], ids=oct)
@pytest.mark.parametrize("command", ["run SCRIPT", "up", "deploy SCRIPT", "down"])
def test_a_home_of_another_user_is_named(plain: Home, command: str, mode: int) -> None:
    script = plain.script(SCRIPT)
    plain.path.mkdir(mode=mode)  # root's
    words = [str(script) if word == "SCRIPT" else word for word in command.split()]
    said(plain.rekindle(*words, status=1, **_STAYS), str(plain.path), "Permission denied")


@pytest.mark.needs_root("makes files of two users")
def test_the_doctor_says_what_is_not_writable(plain: Home) -> None:
    plain.path.mkdir(mode=0o755)
    ended = plain.rekindle("doctor", status=1)
    words = " ".join(ended.out.split())
    assert f"functions cannot have images: {plain.path} is not writable" in words, str(ended)
    assert "CONFIG_OVERLAY_FS" not in words and ended.err == "", str(ended)


@pytest.mark.needs_root("mounts a disk read-only")
def test_the_doctor_examines_a_machine_whose_disk_is_read_only(home: Home) -> None:
    disk = home.root / "disk"
    disk.mkdir()
    code = f"from rekindle.linux import mounts; mounts.make_tmpfs_read_only({str(disk)!r})"
    line = f'{sys.executable} -c "{code}" && exec {COMMAND} doctor'
    place = {"REKINDLE_HOME": str(disk / "home")}
    ended = home.start(*SMALL_DISK, str(disk), "1m", "sh", "-c", line, **place).end()
    assert f"{disk} is not writable" in ended.out, str(ended)
    assert "kernel" in ended.out and "Error" not in ended.err, str(ended)


@pytest.mark.parametrize("place", ["n" * 256, "loop/home", "file/home"])
def test_a_home_that_can_never_be_is_named(home: Home, place: str) -> None:
    (home.root / "loop").symlink_to("loop")
    (home.root / "file").touch()
    script, named = home.script(SCRIPT), {"REKINDLE_HOME": str(home.root / place)}
    for command in (["run", script], ["up"], ["volume", "list"], ["snapshot", "ls"]):
        ended = home.rekindle(*command, status=1, **named, **_STAYS)
        said(ended, str(home.root / place))
        assert ended.err.startswith("Error: "), str(ended)
    for command in (["status"], ["down"]):
        assert "Traceback" not in home.rekindle(*command, status=None, **named).err


@pytest.mark.parametrize("command", ["up", "up --foreground", "deploy SCRIPT"])
@pytest.mark.parametrize(
    ("name", "why"),
    [("n" * 120, "more than the 100 that fit"), ("a\nb", "no line of text in UTF-8")],
)
def test_nothing_is_started_in_a_home_that_sockets_and_messages_cannot_name(
    home: Home, name: str, why: str, command: str
) -> None:
    argv = command.replace("SCRIPT", str(home.script(SCRIPT))).split()
    ended = home.rekindle(*argv, status=1, REKINDLE_HOME=str(home.root / name))
    said(ended, why)
    assert "died" not in ended.err, str(ended)


@pytest.mark.parametrize(
    ("variable", "value", "command"),
    [
        ("REKINDLE_IMAGES", "/dev/null", "image list"),
        ("REKINDLE_IMAGES", f"/tmp/{'n' * 256}", "image list"),
        ("REKINDLE_VOLUMES", "/dev/null", "volume list"),
        ("REKINDLE_DIR", f"/tmp/{'n' * 256}", "status"),
        ("REKINDLE_DIR", f"/tmp/{'n' * 256}", "app list"),
        ("REKINDLE_DIR", f"/tmp/{'n' * 256}", "down"),
    ],
)
def test_another_place_that_can_never_be_is_named(
    home: Home, variable: str, value: str, command: str
) -> None:
    ended = home.rekindle(*command.split(), status=1, **{variable: value})
    assert ended.err.startswith(f"Error: {variable}={value}"), str(ended)


@pytest.mark.needs_root("becomes a user without an entry")
def test_a_user_without_a_home_is_told_to_name_one(plain: Home) -> None:
    unset = ("env", "-u", "HOME", "-u", "REKINDLE_HOME")
    for command in ("status", "up"):
        said(plain.start(*unset, COMMAND, command).end(), f"uid {_UID}")


@pytest.mark.needs_root("makes a directory of another user")
def test_a_place_that_this_user_may_not_see_is_an_error_of_who_wants_it(plain: Home) -> None:
    closed = plain.root / "closed"
    closed.mkdir(mode=0o700)
    place = str(closed / "volumes")
    ended = plain.rekindle("volume", "list", status=1, REKINDLE_VOLUMES=place)
    assert f"{place}/.ephemeral cannot be read: Permission denied" in ended.err, str(ended)
    assert "Traceback" not in ended.err


@pytest.mark.needs_root("hides directories of the machine")
@pytest.mark.parametrize(
    ("hidden", "why"), [("/proc", "/proc is not mounted here"), ("/dev", "there is no /dev/null")]
)
def test_what_no_instance_can_be_without_is_named(home: Home, hidden: str, why: str) -> None:
    script = home.script(SCRIPT)
    for command, settings in (
        (f"{COMMAND} run {script}", _STAYS),
        (f"{COMMAND} run {script}", {}),
        (f"{COMMAND} up", {}),
        (f"{COMMAND} up --foreground", {}),
        (f"{COMMAND} deploy {script}", {}),
    ):
        ended = home.start(*SMALL_DISK, hidden, "1m", *command.split(), **settings).end()
        assert ended.status == 1 and "Traceback" not in ended.err, str(ended)
        assert f"Error: no instance can be started: {why}" in ended.err, str(ended)


@pytest.mark.parametrize("settings", [_STAYS, {}], ids=["stays", "private"])
@pytest.mark.parametrize("command", ["run SCRIPT", "up", "deploy SCRIPT"])
def test_a_limit_on_files_that_is_too_low_is_named(
    home: Home, command: str, settings: dict[str, str]
) -> None:
    command = command.replace("SCRIPT", str(home.script(SCRIPT)))
    line = f"ulimit -f 100; exec {COMMAND} {command}"
    ended = home.start("bash", "-c", line, **settings).end()
    assert ended.status == 1 and "Traceback" not in ended.err, str(ended)
    assert "files of this process may have 102,400 bytes at most (ulimit -f)" in ended.err


def test_a_program_that_has_python_or_rekindle_by_itself_alone_is_told_what_to_do(
    home: Home,
) -> None:
    begin = "import sys, rekindle\nrekindle.App('a').run().__enter__()"
    nowhere = home.start(sys.executable, "-c", f"import sys; sys.executable = ''\n{begin}").end()
    assert "SetupError: no instance can be started: this Python does not know" in nowhere.err
    here = str(Path(rekindle.__file__).parents[1])
    code = f"import sys; sys.path[:0] = {[here, *sys.path]!r}\n{begin}"
    alone = home.start(os.path.realpath(sys.executable), "-S", "-c", code).end()
    assert "exception.ConnectionError: " in alone.err, str(alone)
    assert f"put {here} into PYTHONPATH, or install it for" in alone.err, str(alone)


@pytest.mark.needs_root("becomes a user who runs nothing else")
def test_a_limit_on_processes_that_is_too_low_is_named(plain: Home) -> None:
    line = f"ulimit -u 4; exec {COMMAND} run {plain.script(SCRIPT)}"
    ended = plain.start("bash", "-c", line).end()
    assert ended.status == 1 and "Traceback" not in ended.err, str(ended)
    assert "no more processes can be started" in ended.err and "ulimit -u" in ended.err, str(ended)
