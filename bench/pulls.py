"""Small files of a store pulled into a volume: each waits for the disk alone, or many together.

    .venv/bin/python bench/pulls.py [--quick] [--json FILE] [--files N] [--bytes N] [--rounds N]
        [--dir FOLDER]

The store is a directory, so nearly all of the time is the disk's. The ways are taken in turn, each
with a folder of its own below FOLDER, which is to lie on the disk that is asked about.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from lab import script
from rekindle.bench.records import write_json
from rekindle.volumes import arriving
from rekindle.volumes.remote import Folder

FILES, QUICK_FILES = 1_000, 200
#: Files that go to their places together.
WAYS = {"each alone": 1, "together": arriving._MOST}


def pull_s(root: Path, url: str, together: int) -> float:
    """Seconds of a first pull into a new folder."""
    files = root / "copy" / "files"
    files.mkdir(parents=True)
    arriving._MOST = together
    os.sync()
    began = time.perf_counter()
    Folder(files, "the copy", url).pull()
    took = time.perf_counter() - began
    shutil.rmtree(root / "copy")
    return took


def measure(root: Path, files: int, size: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each round, by way."""
    (root / "store").mkdir()
    for number in range(files):
        (root / "store" / str(number)).write_bytes(os.urandom(size))
    url = f"file://{root / 'store'}"
    took: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way, together in WAYS.items():
            took[way].append(pull_s(root, url, together))
    return took


def _own(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--files", type=int, default=FILES, help="how many")
    parser.add_argument("--bytes", type=int, default=1000, help="of each")
    parser.add_argument("--rounds", type=int, default=5, help="of each way")
    parser.add_argument("--dir", type=Path, help="a folder on that disk (default: temporary)")


def main() -> int:
    """Measure, and print medians with what was least and most."""
    options = script.options("pulls", "Small files pulled into a volume.", add=_own)
    console, own = script.console(), options.own
    files, rounds = (QUICK_FILES, 1) if options.quick else (own.files, own.rounds)
    root = Path(tempfile.mkdtemp(prefix="rekindle-pulls-", dir=own.dir))
    try:
        took = measure(root, files, own.bytes, rounds)
    finally:
        shutil.rmtree(root)
    console.print(f"{files:,} files of {own.bytes:,} bytes, {rounds} rounds")
    for way, seconds in took.items():
        middle = statistics.median(seconds)
        console.print(f"  {way:12}{middle:7.2f} s  ({min(seconds):.2f} to {max(seconds):.2f})")
    alone, together = (statistics.median(seconds) for seconds in took.values())
    console.print(f"  together takes {together / alone:.2f} of what each alone takes")
    write_json(options.json, {"files": files, "bytes": own.bytes, "seconds": took})
    return script.verdict(console, [], check=options.check)


if __name__ == "__main__":
    script.run(main)
