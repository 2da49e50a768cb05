"""Writes the images of a mapped snapshot next to those of the plain one, which stays as it is.

CRIU's page file is mapped in place: nothing of it is copied but the runs that are not mapped.
Where that takes too many areas, the mapped pages go to a file laid out as memory is (`sparse`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rekindle.exception import SnapshotInvalidError
from rekindle.linux import files
from rekindle.snapshot.mapped import allocators, areas, imagefile, plan, sparse
from rekindle.snapshot.mapped.areas import PAGE_BYTES, NotMappableError, Rules
from rekindle.snapshot.mapped.chunks import ChunkFinder
from rekindle.snapshot.mapped.plan import Held, Piece, Plan, Run

#: Areas of one process at most, as a share of the kernel's limit: the program will want some more.
_SHARE_OF_MAP_COUNT = 0.25
_O_RDONLY = 0

IN_PLACE = "in place"
SPARSE = "sparse"


@dataclass(frozen=True)
class Limits:
    """Where one way gets worse than another. The defaults are measured; tests use others."""

    min_run_pages: int = plan.MIN_RUN_PAGES
    in_place_areas: int = 4096  # of one process; more, and its memory is laid out again
    areas: int | None = None  # of one process at all; None for a share of vm.max_map_count
    sparse_gain: float = 2.0  # a second copy of the memory must make the pieces so much fewer

    @property
    def most_areas(self) -> int:
        """Areas that a process may have."""
        if self.areas is not None:
            return self.areas
        return int(int(Path("/proc/sys/vm/max_map_count").read_text()) * _SHARE_OF_MAP_COUNT)


@dataclass
class Rewritten:
    """What a rewrite did."""

    processes: int = 0
    layout: str = IN_PLACE  # SPARSE when any process needed that
    areas: int = 0  # that map a page file
    mapped_bytes: int = 0
    copied_bytes: int = 0  # read by CRIU at each restore
    written_bytes: int = 0  # by the rewrite itself; holes not counted
    elapsed_ms: float = 0.0
    kept: dict[str, int] = field(default_factory=dict)  # why areas stayed so -> how many
    kept_for: tuple[str, ...] = ()  # libraries on whose account areas stayed so


def rewrite(
    plain: Path,
    target: Path,
    page_files_at: Path,
    *,
    target_at: Path | None = None,
    libraries_at: Path = Path("/"),
    memory: Path | None = None,
    small_bytes: int = areas.SMALL_BYTES,
    map_huge_pages: bool = False,
    limits: Limits | None = None,
) -> Rewritten:
    """Make ``target`` from the images in ``plain``, which is on the same file system.

    Whoever restores finds the plain page files under ``page_files_at``, and what is in ``target``
    under ``target_at`` (``target`` itself if that is not given); the files there must never
    change. ``libraries_at`` is the root directory of the processes, ``memory`` a file in which the
    look into their libraries is remembered.

    Raises NotMappableError when the snapshot is to be restored by copying, SnapshotInvalidError
    when it is damaged, OSError; ``target`` may hold leavings then.
    """
    started = time.monotonic()
    target.mkdir(mode=0o700)
    work = _Work(plain, target, page_files_at, target_at or target, limits or Limits())
    memories = [work.read_memory(path) for path in files.named(plain, "mm-*.img")]
    if len({one.head.pages_id for one in memories}) != len(memories):
        raise NotMappableError("two processes share one page file")
    done = work.done
    done.processes = len(memories)
    done.kept_for = allocators.inspect(
        work.libraries(vma for one in memories for vma in one.vmas),
        root=libraries_at,
        memory=memory,
    )
    rules = Rules(small_bytes, map_huge_pages, keep_unreserved=bool(done.kept_for))
    for one in memories:
        work.rewrite_memory(one, rules)
    work.finish()
    done.written_bytes = sum((target / name).stat().st_blocks * 512 for name in work.written)
    done.elapsed_ms = (time.monotonic() - started) * 1e3
    return done


@dataclass
class _Memory:
    """The images of one process's memory."""

    pid: str
    mm: imagefile.ImageFile
    pagemap: imagefile.ImageFile

    @property
    def vmas(self) -> list[Any]:
        return list(self.mm.entries[0].vmas)

    @property
    def head(self) -> Any:
        return self.pagemap.entries[0]


@dataclass
class _Work:
    plain: Path
    target: Path
    page_files_at: Path
    target_at: Path
    limits: Limits

    written: set[str] = field(default_factory=lambda: {"files.img"})
    done: Rewritten = field(default_factory=Rewritten)

    def __post_init__(self) -> None:
        self._files_pb = imagefile.messages("fdinfo_pb2")
        self._mm_pb = imagefile.messages("mm_pb2")
        self._pagemap_pb = imagefile.messages("pagemap_pb2")
        self._files = imagefile.read(self.plain / "files.img", self._files_pb.file_entry)
        self._next_id = max((entry.id for entry in self._files.entries), default=0) + 1

    def read_memory(self, mm_path: Path) -> _Memory:
        pid = mm_path.name[len("mm-") : -len(".img")]
        mm = imagefile.read(mm_path, self._mm_pb.mm_entry)
        pagemap = imagefile.read(
            self.plain / f"pagemap-{pid}.img",
            self._pagemap_pb.pagemap_entry,
            first=self._pagemap_pb.pagemap_head,
        )
        if len(mm.entries) != 1 or not pagemap.entries:
            raise SnapshotInvalidError(f"{mm_path.name} or its pagemap has no content")
        return _Memory(pid, mm, pagemap)

    def libraries(self, vmas: Iterable[Any]) -> set[allocators.Library]:
        """The files that code is mapped from."""
        by_id = {entry.id: entry for entry in self._files.entries}
        found = set()
        for vma in vmas:
            if not vma.prot & areas.PROT_EXEC or not vma.status & areas.VMA_FILE_PRIVATE:
                continue
            entry = by_id.get(vma.shmid)
            if entry is None:
                raise SnapshotInvalidError(f"files.img has no entry {vma.shmid}")
            if not entry.HasField("reg"):
                raise NotMappableError(
                    f"code at {vma.start:#x} is from no ordinary file, so its allocator is not "
                    "known"
                )
            size = entry.reg.size if entry.reg.HasField("size") else None
            found.add(allocators.Library(entry.reg.name, size))
        return found

    def rewrite_memory(self, memory: _Memory, rules: Rules) -> None:
        held = plan.hold(memory.vmas, memory.pagemap.entries[1:], rules)
        pages_name = f"pages-{memory.head.pages_id}.img"
        pages = self.plain / pages_name
        with pages.open("rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            if size < sum(run.pages for one in held for run in one.runs) * PAGE_BYTES:
                # A mapping beyond the end would be SIGBUS for the program.
                raise SnapshotInvalidError(f"{pages_name} is shorter than its pagemap says")
            with ChunkFinder(opened, size) as finder:
                chosen, mapped = self._choose(held, finder, pages)
        file_id = self._add_file(mapped, pages) if chosen.mapped_areas else 0
        (entry,) = memory.mm.entries
        vmas = [_entry_of(piece, file_id) for piece in chosen.pieces]
        del entry.vmas[:]
        entry.vmas.extend(vmas)
        self._write(memory.mm, f"mm-{memory.pid}.img")
        memory.pagemap.entries[1:] = [self._pagemap_entry(run) for run in chosen.copied]
        self._write(memory.pagemap, f"pagemap-{memory.pid}.img")
        with pages.open("rb") as source, (self.target / pages_name).open("xb") as copy:
            for run in chosen.copied:
                sparse.copy_pages(source.fileno(), copy.fileno(), run, pages_name)
        self.written.add(pages_name)
        self.done.areas += chosen.mapped_areas
        self.done.mapped_bytes += chosen.mapped_bytes
        self.done.copied_bytes += chosen.copied_bytes
        for reason, count in chosen.kept.items():
            self.done.kept[reason.value] = self.done.kept.get(reason.value, 0) + count

    def _choose(self, held: list[Held], finder: ChunkFinder, pages: Path) -> tuple[Plan, Path]:
        """The plan, and where the file that it maps is found by whoever restores."""
        most = self.limits.most_areas
        found = {id(one): finder.pins(one) for one in held if one.keep is None}
        chosen = plan.in_place(held, lambda one: found[id(one)], self.limits.min_run_pages)
        if len(chosen.pieces) <= min(self.limits.in_place_areas, most):
            return chosen, self.page_files_at / pages.name
        layout = sparse.lay_out(held, lambda one: found[id(one)], self.limits.min_run_pages)
        if len(layout.plan.pieces) > most:
            raise NotMappableError(
                f"memory is in {len(layout.plan.pieces)} pieces, and {most} are the most for this "
                "kernel's vm.max_map_count"
            )
        needed = len(chosen.pieces) > most
        if not needed and len(layout.plan.pieces) * self.limits.sparse_gain > len(chosen.pieces):
            return chosen, self.page_files_at / pages.name
        name = f"sparse-{pages.name}"
        sparse.write(layout, pages, self.target / name)
        self.written.add(name)
        self.done.layout = SPARSE
        return layout.plan, self.target_at / name

    def _add_file(self, path: Path, pages: Path) -> int:
        file_id = self._next_id
        self._next_id += 1
        present = self.target / path.name if path.name != pages.name else pages
        info = present.stat()
        entry = self._files_pb.file_entry()
        entry.type = self._files_pb.REG
        entry.id = entry.reg.id = file_id
        entry.reg.flags = _O_RDONLY
        entry.reg.pos = 0
        owner = entry.reg.fown
        owner.uid = owner.euid = owner.signum = owner.pid_type = owner.pid = 0
        entry.reg.name = str(path)
        entry.reg.size = info.st_size  # CRIU refuses a file of another size
        entry.reg.mode = info.st_mode
        self._files.entries.append(entry)
        return file_id

    def _pagemap_entry(self, run: Run) -> Any:
        entry = self._pagemap_pb.pagemap_entry()
        entry.vaddr, entry.nr_pages, entry.flags = run.start, run.pages, run.flags
        return entry

    def _write(self, image: imagefile.ImageFile, name: str) -> None:
        image.write(self.target / name)
        self.written.add(name)

    def finish(self) -> None:
        """Write the list of files, and link what is the same as in the plain images."""
        self._files.write(self.target / "files.img")
        for path in self.plain.iterdir():
            if path.suffix != ".img" or path.name in self.written or path.name.startswith("stats-"):
                continue
            os.link(path, self.target / path.name)


def _entry_of(piece: Piece, file_id: int) -> Any:
    entry = type(piece.area)()
    entry.CopyFrom(piece.area)
    entry.start, entry.end = piece.start, piece.end
    if piece.offset is not None:
        heap = piece.area.status & areas.VMA_HEAP
        entry.status = areas.VMA_REGULAR | areas.VMA_FILE_PRIVATE | heap
        entry.flags = areas.MAP_PRIVATE | (piece.area.flags & areas.MAP_NORESERVE)
        entry.madv = piece.area.madv & ~areas.MADV_HUGEPAGE
        entry.shmid = file_id
        entry.pgoff = piece.offset
        entry.fdflags = _O_RDONLY
    elif areas.is_file(piece.area):
        entry.pgoff = piece.area.pgoff + piece.start - piece.area.start
    return entry
