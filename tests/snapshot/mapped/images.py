"""Made-up image entries, and image directories written from them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from rekindle.snapshot.mapped import areas, imagefile
from rekindle.snapshot.mapped.areas import PAGE_BYTES
from rekindle.snapshot.mapped.imagefile import ImageFile
from rekindle.snapshot.mapped.plan import PE_PRESENT

MAGIC = struct.pack("<II", 0x54564319, 0x1234)
BASE = 0x7F00_0000_0000


def vma(start: int, end: int, **changes: int) -> Any:
    """A VMA entry: private anonymous memory unless something is changed."""
    entry = imagefile.messages("vma_pb2").vma_entry()
    values = {
        "start": start,
        "end": end,
        "pgoff": 0,
        "shmid": 0,
        "prot": 3,
        "flags": areas.MAP_PRIVATE | areas.MAP_ANONYMOUS,
        "status": areas.VMA_REGULAR | areas.VMA_ANON_PRIVATE,
        "fd": -1,
        "madv": 0,
    }
    for name, value in {**values, **changes}.items():
        setattr(entry, name, value)
    return entry


def file_vma(start: int, end: int, file_id: int, **changes: int) -> Any:
    """A private mapping of a file."""
    kind = {
        "flags": areas.MAP_PRIVATE,
        "status": areas.VMA_REGULAR | areas.VMA_FILE_PRIVATE,
        "shmid": file_id,
    }
    return vma(start, end, **{**kind, **changes})


def pages(start: int, count: int, flags: int = PE_PRESENT) -> Any:
    """A pagemap entry."""
    entry = imagefile.messages("pagemap_pb2").pagemap_entry()
    entry.vaddr, entry.nr_pages, entry.flags = start, count, flags
    return entry


def at(page: int) -> int:
    """The address of a page, counted from where the tests' memory begins."""
    return BASE + page * PAGE_BYTES


def regular_file(file_id: int, path: Path) -> Any:
    """An entry of files.img."""
    files_pb = imagefile.messages("fdinfo_pb2")
    entry = files_pb.file_entry()
    entry.type = files_pb.REG
    entry.id = entry.reg.id = file_id
    entry.reg.flags = entry.reg.pos = 0
    owner = entry.reg.fown
    owner.uid = owner.euid = owner.signum = owner.pid_type = owner.pid = 0
    entry.reg.name = str(path)
    if path.exists():
        entry.reg.size = path.stat().st_size
    return entry


def write_directory(
    directory: Path,
    memories: dict[int, tuple[list[Any], list[Any], bytes]],
    files: list[Any] | None = None,
) -> Path:
    """An image directory of processes: PID -> (areas, pagemap, content of the page file)."""
    directory.mkdir()
    mm_pb, pagemap_pb = imagefile.messages("mm_pb2"), imagefile.messages("pagemap_pb2")
    for number, (pid, (vmas, pagemap, content)) in enumerate(memories.items(), start=1):
        memory = mm_pb.mm_entry()
        for name in [
            "mm_start_code",
            "mm_end_code",
            "mm_start_data",
            "mm_end_data",
            "mm_start_stack",
            "mm_start_brk",
            "mm_brk",
            "mm_arg_start",
            "mm_arg_end",
            "mm_env_start",
            "mm_env_end",
            "exe_file_id",
        ]:
            setattr(memory, name, 0)
        memory.vmas.extend(vmas)
        head = pagemap_pb.pagemap_head()
        head.pages_id = number
        ImageFile(MAGIC, [memory]).write(directory / f"mm-{pid}.img")
        ImageFile(MAGIC, [head, *pagemap]).write(directory / f"pagemap-{pid}.img")
        (directory / f"pages-{number}.img").write_bytes(content)
    ImageFile(MAGIC, files or []).write(directory / "files.img")
    (directory / "core-100.img").write_bytes(MAGIC)
    (directory / "stats-dump").write_bytes(b"")
    return directory
