"""A CRIU without libraries that a restore does not use: it starts, or is left as it is."""

from __future__ import annotations

import ctypes
import dataclasses
import platform
import re
from pathlib import Path

import pytest

from rekindle.linux import programs
from rekindle.snapshot import criu as criu_room
from rekindle.snapshot import lean
from rekindle.snapshot.criu import Criu


@pytest.mark.skipif(platform.machine() != "x86_64", reason="made for this processor here")
def test_what_is_left_out_is_a_library_to_the_dynamic_linker(tmp_path: Path) -> None:
    path = tmp_path / "libempty.so.1"
    variables, functions = ("first_variable", "second_variable"), ("first", "second")
    path.write_bytes(lean.library(path.name, variables, functions, 62))
    loaded = ctypes.CDLL(str(path))
    for name in variables:
        word = ctypes.c_uint64.in_dll(loaded, name)
        assert word.value == 0
        word.value = 7
    for name in functions:
        loaded[name](1, 2)  # comes back
    assert not hasattr(loaded, "third")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="made for this processor here")
def test_it_may_have_functions_alone_or_variables_alone(tmp_path: Path) -> None:
    for name, variables, functions in (("a.so", ("one",), ()), ("b.so", (), ("one",))):
        (tmp_path / name).write_bytes(lean.library(name, variables, functions, 62))
        assert ctypes.CDLL(str(tmp_path / name))["one"]


@pytest.mark.criu
def test_the_lean_one_says_the_same_version_and_maps_fewer_libraries(tmp_path: Path) -> None:
    plain = criu_room.find()
    if not plain.prefix:
        pytest.skip("the machine's own CRIU is left as it is")
    found = lean.lean(plain, tmp_path / "lean")
    assert found.argv != plain.argv and found.version == plain.version

    def libraries(which: Criu) -> int:
        loader, *rest = which.argv
        done = programs.run([loader, "--list", *rest], 30.0)
        assert done.returncode == 0
        return len(done.stdout.splitlines())

    assert libraries(found) < libraries(plain)
    assert lean.lean(plain, tmp_path / "lean") == found  # over what is there already


@pytest.mark.criu
def test_each_has_a_number_of_its_own_as_those_at_the_same_time_name_sockets_by_it(
    tmp_path: Path,
) -> None:
    found = lean.lean(criu_room.find(), tmp_path / "lean")
    argv = [*found.argv, "restore", "-v4", "--images-dir", str(tmp_path)]
    numbers = set()
    for _ in range(2):
        done = programs.run(argv, 30.0)
        numbers.update(re.findall(r"run id = (\S+)", done.stdout + done.stderr))
    assert len(numbers) == 2


def test_one_that_does_not_start_with_them_is_left_as_it_is(tmp_path: Path) -> None:
    plain = Criu(("/bin/false", "--library-path", "/lib", "/bin/true"), "4.1", "/bin/true")
    assert lean.lean(plain, tmp_path / "lean") is plain
    gone = dataclasses.replace(plain, argv=(str(tmp_path / "no-loader"), *plain.argv[1:]))
    assert lean.lean(gone, tmp_path / "lean") is gone


def test_one_of_the_machine_is_left_as_it_is(tmp_path: Path) -> None:
    own = Criu(("/usr/sbin/criu",), "4.1", "/usr/sbin/criu")
    assert lean.lean(own, tmp_path / "lean") is own
    assert not (tmp_path / "lean").exists()
