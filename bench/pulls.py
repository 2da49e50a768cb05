"""Small files of a store pulled into a volume: each waits for the disk alone, or many together.

    .venv/bin/python bench/pulls.py [--quick] [--json FILE] [--check] [--files N] [--bytes N]
        [--rounds N] [--dir FOLDER]

The store is a directory, so nearly all of the time is the disk's. The ways are taken in turn, each
with a folder of its own below FOLDER, which is to lie on the disk that is asked about.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from rekindle.bench.records import write_json
from rekindle.volumes import arriving
from rekindle.volumes.remote import Folder

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


def main() -> int:
    """Measure, and print medians with what was least and most."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few files, one round")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument(
        "--check", action="store_true", help="exit 1 where together is not quicker than alone"
    )
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--bytes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir", type=Path, default=None)
    given = parser.parse_args()
    files, rounds = (200, 1) if given.quick else (given.files, given.rounds)
    root = Path(tempfile.mkdtemp(prefix="rekindle-pulls-", dir=given.dir))
    try:
        took = measure(root, files, given.bytes, rounds)
    finally:
        shutil.rmtree(root)
    print(f"{files:,} files of {given.bytes:,} bytes, {rounds} rounds")
    for way, seconds in took.items():
        middle = statistics.median(seconds)
        print(f"  {way:12}{middle:7.2f} s  ({min(seconds):.2f} to {max(seconds):.2f})")
    alone, together = (statistics.median(seconds) for seconds in took.values())
    print(f"  together takes {together / alone:.2f} of what each alone takes")
    if given.json:
        write_json(given.json, {"files": files, "bytes": given.bytes, "seconds": took})
    return int(given.check and together >= alone)


if __name__ == "__main__":
    sys.exit(main())
