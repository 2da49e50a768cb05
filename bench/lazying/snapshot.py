"""The first answer of a function whose snapshot a node does not have: lazy against whole."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import unwell
from lab.programs import said_by
from rekindle.blobs.store import open_store

_PROGRAM = Path(__file__).with_name("program.py")
_PATIENCE_S = 400.0


@dataclass(frozen=True)
class Made:
    """A snapshot in a store."""

    store: Path
    mib: int
    value: int
    cold_s: float
    size: int


def make(scratch: Path, mib: int) -> Made:
    """On a node that pushes it."""
    store = scratch / f"snapshots-{mib}"
    store.mkdir()
    said = _run(scratch, mib, "make", {"REKINDLE_STORE_URL": store.as_uri()})
    (ref,) = open_store(store.as_uri()).refs()
    return Made(store, mib, said["value"], said["s"], int(ref.about["bytes"]))


def first_answer(
    made: Made, conduct: unwell.Conduct, scratch: Path, *, lazy: bool, record: bool = False
) -> float:
    """Seconds of the first call on a node that has nothing; ``record``: and have it recorded."""
    conduct.begin(made.store)
    environ = {"REKINDLE_STORE_URL": unwell.url(made.store)}
    if not lazy:
        environ["REKINDLE_LAZY_BYTES"] = "0"
    said = _run(scratch, made.mib, "record" if record else "answer", environ)
    if said["value"] != made.value or said["strategy"] != "restore":
        raise SystemExit(f"the first answer did not come from the snapshot: {said}")
    return float(said["s"])


def _run(scratch: Path, mib: int, what: str, environ: dict[str, str]) -> dict[str, Any]:
    home = tempfile.mkdtemp(prefix="h", dir=scratch)
    try:
        environ = {**environ, "REKINDLE_HOME": home, "REKINDLE_LINGER": "0"}
        return said_by(_PROGRAM, str(mib), what, environ=environ, timeout_s=_PATIENCE_S)
    finally:
        shutil.rmtree(home, ignore_errors=True)
