"""Writes the images of a mapped snapshot beside those of the plain one, which stays as it is.

The page file is mapped in place: nothing of it is copied but the runs that are not mapped.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rekindle.exception import SnapshotError
from rekindle.snapshot.mapped import areas, imagefile
from rekindle.snapshot.mapped.areas import PAGE_BYTES
from rekindle.snapshot.mapped.plan import Plan, Run, UnplannableError, make_plan

#: Areas of one process at most, as a share of the kernel's limit: the program will want some more.
_SHARE_OF_MAP_COUNT = 0.5
_O_RDONLY = 0


class NotMappableError(SnapshotError):
    """The snapshot is restored by copying; the message says why."""


@dataclass(frozen=True)
class Rewritten:
    """What a rewrite did."""

    processes: int
    areas: int  # that map the page file
    mapped_bytes: int
    copied_bytes: int  # read by CRIU at each restore
    written_bytes: int  # by the rewrite itself
    elapsed_ms: float
    kept: dict[str, int]  # why areas stayed anonymous -> how many


def rewrite(plain: Path, target: Path, page_files_at: Path) -> Rewritten:
    """Make ``target`` from the images in ``plain``; whoever restores finds the page files, and so
    the mapped memory, under ``page_files_at``.

    Raises NotMappableError or SnapshotInvalidError; ``target`` may hold leavings then.
    """
    started = time.monotonic()
    target.mkdir(mode=0o700)
    files_pb = imagefile.messages("fdinfo_pb2")
    mm_pb = imagefile.messages("mm_pb2")
    pagemap_pb = imagefile.messages("pagemap_pb2")
    files = imagefile.read(plain / "files.img", files_pb.file_entry)
    next_id = max((entry.id for entry in files.entries), default=0) + 1
    written: set[str] = {"files.img"}
    totals = _Totals()
    for mm_path in sorted(plain.glob("mm-*.img")):
        pid = mm_path.name[len("mm-") : -len(".img")]
        pagemap_path = plain / f"pagemap-{pid}.img"
        mm = imagefile.read(mm_path, mm_pb.mm_entry)
        pagemap = imagefile.read(
            pagemap_path, pagemap_pb.pagemap_entry, first=pagemap_pb.pagemap_head
        )
        head, entries = pagemap.entries[0], pagemap.entries[1:]
        pages_name = f"pages-{head.pages_id}.img"
        if pages_name in written:
            raise NotMappableError("two processes share one page file")
        (memory,) = mm.entries
        try:
            plan = make_plan(list(memory.vmas), entries)
        except UnplannableError as error:
            raise NotMappableError(str(error)) from error
        _check_area_count(plan)
        files.entries.append(
            _page_file_entry(files_pb, next_id, page_files_at / pages_name, plain / pages_name)
        )
        vmas = [_entry_of(piece, next_id) for piece in plan.pieces]
        del memory.vmas[:]
        memory.vmas.extend(vmas)
        mm.write(target / mm_path.name)
        pagemap.entries = [head, *(_pagemap_entry(pagemap_pb, run) for run in plan.copied)]
        pagemap.write(target / pagemap_path.name)
        _copy_runs(plain / pages_name, target / pages_name, plan.copied)
        written |= {mm_path.name, pagemap_path.name, pages_name}
        totals.add(plan)
        next_id += 1
    files.write(target / "files.img")
    for path in plain.iterdir():
        if path.name not in written and not path.name.startswith("stats-"):
            os.link(path, target / path.name)
    return Rewritten(
        processes=totals.processes,
        areas=totals.areas,
        mapped_bytes=totals.mapped_bytes,
        copied_bytes=totals.copied_bytes,
        written_bytes=sum((target / name).stat().st_size for name in written),
        elapsed_ms=(time.monotonic() - started) * 1e3,
        kept={reason.value: count for reason, count in totals.kept.items()},
    )


class _Totals:
    def __init__(self) -> None:
        self.processes = self.areas = self.mapped_bytes = self.copied_bytes = 0
        self.kept: Counter[areas.Keep] = Counter()

    def add(self, plan: Plan) -> None:
        self.processes += 1
        self.areas += plan.mapped_areas
        self.mapped_bytes += plan.mapped_bytes
        self.copied_bytes += plan.copied_bytes
        self.kept += plan.kept


def _check_area_count(plan: Plan) -> None:
    limit = int(Path("/proc/sys/vm/max_map_count").read_text())
    if len(plan.pieces) > limit * _SHARE_OF_MAP_COUNT:
        raise NotMappableError(
            f"memory is in {len(plan.pieces)} pieces, too many for vm.max_map_count={limit}"
        )


def _entry_of(piece: Any, file_id: int) -> Any:
    entry = type(piece.area)()
    entry.CopyFrom(piece.area)
    entry.start, entry.end = piece.start, piece.end
    if piece.run is not None:
        heap = piece.area.status & areas.VMA_HEAP
        entry.status = areas.VMA_REGULAR | areas.VMA_FILE_PRIVATE | heap
        entry.flags = areas.MAP_PRIVATE | (piece.area.flags & areas.MAP_NORESERVE)
        entry.shmid = file_id
        entry.pgoff = piece.run.offset
        entry.fdflags = _O_RDONLY
    return entry


def _page_file_entry(files_pb: Any, file_id: int, path: Path, present: Path) -> Any:
    entry = files_pb.file_entry()
    entry.type = files_pb.REG
    entry.id = file_id
    entry.reg.id = file_id
    entry.reg.flags = _O_RDONLY
    entry.reg.pos = 0
    entry.reg.fown.uid = entry.reg.fown.euid = 0
    entry.reg.fown.signum = entry.reg.fown.pid_type = entry.reg.fown.pid = 0
    entry.reg.name = str(path)
    info = present.stat()
    entry.reg.size = info.st_size
    entry.reg.mode = info.st_mode
    return entry


def _pagemap_entry(pagemap_pb: Any, run: Run) -> Any:
    entry = pagemap_pb.pagemap_entry()
    entry.vaddr, entry.nr_pages = run.start, run.pages
    if run.flags:
        entry.flags = run.flags
    return entry


def _copy_runs(source: Path, target: Path, runs: list[Run]) -> None:
    with source.open("rb") as reading, target.open("xb") as writing:
        for run in runs:
            left, position = run.pages * PAGE_BYTES, run.offset
            while left:
                sent = os.sendfile(writing.fileno(), reading.fileno(), position, left)
                if sent == 0:
                    raise NotMappableError(f"{source.name} is shorter than its pagemap says")
                position += sent
                left -= sent
