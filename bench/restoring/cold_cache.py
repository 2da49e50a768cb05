"""First answers with an empty page cache, with and without the recorded working set."""

from __future__ import annotations

import os
import time
from pathlib import Path

from lab.steps import Steps
from rekindle.exception import SetupError
from rekindle.sdk.function import Function
from rekindle.snapshot import workingset
from rekindle.snapshot.store import Snapshot
from rekindle.wire.phases import Strategy
from restoring.calls import forced, plain, prepare
from restoring.instance import instance
from restoring.models import PATTERNS, declare, layers_of
from restoring.scaling import ColdCacheFigures


def measure(
    home: Path, gigabytes: float, snapshot: Snapshot, runs: int, steps: Steps
) -> list[ColdCacheFigures]:
    """Both patterns of touching a tenth of the model. Raises SetupError without the rights."""
    return [_pattern(home, gigabytes, snapshot, pattern, runs, steps) for pattern in PATTERNS]


def _pattern(
    home: Path, gigabytes: float, snapshot: Snapshot, pattern: str, runs: int, steps: Steps
) -> ColdCacheFigures:
    kept = snapshot.path / workingset.NAME
    kept.unlink(missing_ok=True)
    _read_pages(snapshot)  # parts of it may have been dropped by what was measured before
    warm, touched = _first_call(home, gigabytes, pattern, drop=False)
    recorded = workingset.load(snapshot.path)
    text = kept.read_text() if recorded is not None else ""
    found = ColdCacheFigures(
        model_bytes=snapshot.manifest.pages_bytes,
        touched_bytes=touched,
        pattern=pattern,
        warm_ms=[warm],
        with_ms=[],
        without_ms=[],
        read_ms=[],
        recorded_bytes=recorded.bytes if recorded is not None else 0,
    )
    for _ in range(runs):
        kept.unlink(missing_ok=True)
        found.without_ms.append(_first_call(home, gigabytes, pattern, drop=True)[0])
        steps.say(f"{pattern}, no working set: {found.without_ms[-1]:.0f} ms")
        if text:
            kept.write_text(text)
            found.with_ms.append(_first_call(home, gigabytes, pattern, drop=True)[0])
            steps.say(f"{pattern}, working set read ahead: {found.with_ms[-1]:.0f} ms")
        drop_page_cache()
        found.read_ms.append(_read_pages(snapshot, touched))
    return found


def _first_call(home: Path, gigabytes: float, pattern: str, *, drop: bool) -> tuple[float, int]:
    """On an agent that has never restored it: milliseconds, and the bytes that were touched."""
    models = declare()
    with instance(home, "auto") as at, at.chosen(), models.app.run():
        method: Function[..., int] = models.model(layers=layers_of(gigabytes)).touch
        prepare(method, Strategy.RESTORE)  # the snapshot is looked for and validated
        prepare(models.nothing, Strategy.RESTORE)
        forced(models.nothing, Strategy.RESTORE)()  # from now on, a CRIU waits for its order
        at.settle()
        if drop:
            drop_page_cache()
        # As any user calls it: a runner that was asked for by name is gone before its working set
        # is recorded.
        took, touched, _record = plain(method, Strategy.RESTORE, pattern)
        at.settle()  # the working set is recorded after the answer
        return took, touched


def drop_page_cache() -> None:
    """Have the kernel forget cached file content. Raises SetupError where this user may not."""
    os.sync()  # what is dirty cannot be dropped
    try:
        Path("/proc/sys/vm/drop_caches").write_text("1")
    except OSError as error:
        raise SetupError(
            f"the page cache cannot be dropped ({error.strerror}): run this as root, on a machine "
            "or in a container that may write /proc/sys/vm/drop_caches"
        ) from error


def _read_pages(snapshot: Snapshot, size: int | None = None) -> float:
    """Milliseconds to read ``size`` bytes of the page file in sequence, or all of it."""
    file = max(snapshot.images.glob("pages-*.img"), key=lambda path: path.stat().st_size)
    left = file.stat().st_size if size is None else size
    began = time.perf_counter_ns()
    with file.open("rb", buffering=0) as opened:
        while left > 0:
            part = opened.read(min(4 << 20, left))
            if not part:
                break
            left -= len(part)
    return (time.perf_counter_ns() - began) / 1e6
