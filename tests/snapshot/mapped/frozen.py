"""Real processes for these tests: frozen, rewritten, brought back, and their memory read."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import xxhash

from rekindle.snapshot.criu import Criu
from rekindle.snapshot.mapped.areas import PAGE_BYTES
from rekindle.snapshot.mapped.rewrite import Rewritten, rewrite
from tests.snapshot import sandbox

#: Written by the kernel for each process anew.
_KERNELS_OWN = ("[vvar]", "[vvar_vclock]", "[vdso]", "[vsyscall]")


@dataclass
class Frozen:
    """A template's plain images and the mapped ones made from them."""

    criu: Criu
    plain: Path
    mapped: Path
    control_pipe: str
    done: Rewritten

    @contextlib.contextmanager
    def restored(self, images: Path) -> Iterator[sandbox.Restored]:
        """A copy, which must come back."""
        with sandbox.restored(self.criu, images, self.control_pipe) as copy:
            assert copy.rc == 0, copy.log
            yield copy

    def page_files(self) -> dict[str, str]:
        """A checksum of each file that memory is mapped from."""
        found = [*self.plain.glob("pages-*.img"), *self.mapped.glob("*pages-*.img")]
        return {str(path): hashlib.blake2b(path.read_bytes()).hexdigest() for path in found}


def freeze(criu: Criu, directory: Path, code: str, **options: Any) -> Frozen:
    """Boot a template, freeze it, and make mapped images of it."""
    plain, mapped = directory / "plain", directory / "mapped"
    plain.mkdir()
    with sandbox.template(criu, code) as template:
        dumped = template.dump(plain, leave_running=False)
        assert dumped.returncode == 0, (plain / "dump.log").read_text(errors="replace")[-3000:]
    return Frozen(
        criu, plain, mapped, template.control_pipe, rewrite(plain, mapped, plain, **options)
    )


#: Number of a process -> address of a page -> its rights and checksum.
Contents = dict[int, dict[int, bytes]]


def memory_of(copy: sandbox.Restored) -> Contents:
    """All memory of the processes in a copy's namespaces but what the kernel writes there.

    Read from outside: the processes need not run for it.
    """
    init = psutil.Process(copy.inside.init.pid)
    (inner,) = init.children()
    found = {}
    for number, process in enumerate(sorted(inner.children(recursive=True), key=lambda p: p.pid)):
        found[number] = _pages(process.pid)
    assert found
    return found


def _pages(pid: int) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            span, rights, _, _, _, *name = line.split(maxsplit=5)
            if name and name[0].strip() in _KERNELS_OWN:
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            memory.seek(start)
            at = start
            while at < end:
                try:
                    block = memory.read(min(end - at, 1 << 20))
                except OSError:  # beyond the end of a file: nobody can read that
                    break
                for position in range(0, len(block), PAGE_BYTES):
                    page = xxhash.xxh3_64_digest(block[position : position + PAGE_BYTES])
                    found[at + position] = rights.encode() + page
                at += len(block)
    return found


def differences(one: Contents, other: Contents) -> list[str]:
    """The pages in which two copies differ, in words."""
    return [
        f"process {process} page {page:#x}: {left.get(page)!r} or {right.get(page)!r}"
        for process in sorted({*one, *other})
        for left, right in [(one.get(process, {}), other.get(process, {}))]
        for page in sorted({*left, *right})
        if left.get(page) != right.get(page)
    ]
