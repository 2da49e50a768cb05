"""Which libraries keep which memory from being mapped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rekindle.snapshot.mapped import allocators
from rekindle.snapshot.mapped.allocators import Library, inspect
from rekindle.snapshot.mapped.areas import NotMappableError

_JEMALLOC = b"<jemalloc>: Error\0"
_FIVE = b"opt.dirty_decay_ms\0"


def _library(root: Path, content: bytes, name: str = "liba.so") -> Library:
    path = root / "lib" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"\x7fELF" + bytes(5000) + content + bytes(5000))
    return Library(f"/lib/{name}", path.stat().st_size)


def test_libraries_without_such_an_allocator_keep_nothing(tmp_path: Path) -> None:
    harmless = _library(tmp_path, b"mimalloc: warning: \0tcmalloc: large alloc\0jemalloc")
    assert inspect([harmless], root=tmp_path) == ()


def test_jemallocs_areas_are_kept(tmp_path: Path) -> None:
    library = _library(tmp_path, _JEMALLOC + _FIVE)
    assert inspect([library], root=tmp_path, overcommit="0") == ("/lib/liba.so",)


def test_jemalloc_cannot_be_told_apart_where_the_kernel_never_overcommits(tmp_path: Path) -> None:
    library = _library(tmp_path, _JEMALLOC + _FIVE)
    with pytest.raises(NotMappableError, match=r"/lib/liba\.so carries jemalloc.*overcommit"):
        inspect([library], root=tmp_path, overcommit="2")


def test_an_old_jemalloc_is_refused(tmp_path: Path) -> None:
    library = _library(tmp_path, _JEMALLOC)
    with pytest.raises(NotMappableError, match=r"/lib/liba\.so carries a jemalloc older than 5"):
        inspect([library], root=tmp_path)


@pytest.mark.parametrize(
    ("marker", "name"), [(b"MemoryImageSlot", "wasmtime"), (b"--max_old_space_size", "V8")]
)
def test_engines_that_reset_memory_are_refused(tmp_path: Path, marker: bytes, name: str) -> None:
    with pytest.raises(NotMappableError, match=rf"/lib/liba\.so carries {name}, which takes"):
        inspect([_library(tmp_path, marker)], root=tmp_path)


def test_a_library_that_is_gone_or_another_is_refused(tmp_path: Path) -> None:
    library = _library(tmp_path, b"")
    with pytest.raises(NotMappableError, match=r"/lib/liba\.so is not the file"):
        inspect([Library(library.path, 17)], root=tmp_path)
    with pytest.raises(NotMappableError, match=r"/lib/gone\.so cannot be read \(No such file"):
        inspect([Library("/lib/gone.so", None)], root=tmp_path)


def test_a_library_is_looked_into_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scans: list[int] = []
    scan = allocators._scan

    def counted(fd: int) -> list[str]:
        scans.append(fd)
        return scan(fd)

    monkeypatch.setattr(allocators, "_scan", counted)
    memory = tmp_path / "memory.json"
    libraries = [_library(tmp_path, _JEMALLOC + _FIVE), _library(tmp_path, b"", "libb.so")]
    first = inspect(libraries, root=tmp_path, memory=memory, overcommit="0")
    again = inspect(libraries, root=tmp_path, memory=memory, overcommit="0")
    assert first == again
    assert len(scans) == 2
    changed = tmp_path / "lib" / "liba.so"
    info = changed.stat()
    changed.write_bytes(bytes(info.st_size))
    os.utime(changed, ns=(info.st_atime_ns, info.st_mtime_ns + 1))
    now = inspect(libraries, root=tmp_path, memory=memory, overcommit="0")
    assert now == ()
    assert len(scans) == 3


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', '{"a": [1]}'])
def test_a_broken_memory_is_written_anew(tmp_path: Path, content: str) -> None:
    memory = tmp_path / "memory.json"
    memory.write_text(content)
    library = _library(tmp_path, _JEMALLOC + _FIVE)
    for _ in range(2):
        assert inspect([library], root=tmp_path, memory=memory, overcommit="0")


def _code_mapped_by(*modules: str) -> list[Library]:
    """The files that a Python with these modules has mapped code from."""
    code = "import sys; print(open('/proc/self/maps').read())"
    imports = "".join(f"import {name}\n" for name in modules)
    maps = subprocess.run(
        [sys.executable, "-c", imports + code], capture_output=True, text=True, check=True
    ).stdout
    fields = [line.split(maxsplit=5) for line in maps.splitlines() if "/" in line]
    return [Library(path, None) for path in {f[5] for f in fields if "x" in f[1]}]


def test_a_bare_python_keeps_nothing() -> None:
    assert inspect(_code_mapped_by()) == ()


def test_torch_stays_mappable(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the demo extra is not installed")
    found = inspect(_code_mapped_by("torch"), memory=tmp_path / "memory.json")
    assert found == ()


def test_polars_is_known_to_carry_jemalloc() -> None:
    (library,) = inspect(_code_mapped_by("polars"), overcommit="0")
    assert "polars" in library


@pytest.mark.parametrize("before", range(5))
def test_what_lies_across_two_pieces_that_are_read_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    """A library is read in pieces: a search in all of it would keep other threads from running."""
    monkeypatch.setattr(allocators, "_PIECE_BYTES", 21)
    library = _library(tmp_path, b" " * before + _JEMALLOC + b" " * before + _FIVE)
    assert inspect([library], root=tmp_path, overcommit="0") == ("/lib/liba.so",)


def test_an_empty_library_carries_nothing(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "liba.so").touch()
    assert inspect([Library("/lib/liba.so", 0)], root=tmp_path) == ()
