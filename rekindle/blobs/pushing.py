"""Files put into a store by a process of its own, which gives way to all other work.

``python -m rekindle.blobs.pushing [--overwrite] FILE...`` reads the URL of the store, which may
have a password, as a line of its input, and prints what it put as JSON.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from rekindle.blobs import transfer
from rekindle.blobs.store import open_store
from rekindle.blobs.transfer import Pushed
from rekindle.exception import BlobStoreError, Error
from rekindle.linux.plain_descriptors import first_line, readable
from rekindle.shown_url import without_password

#: Plainly; and of what takes the place of damage, which ends runners on all nodes until then: where
#: all processors are busy, the first takes some twenty times as long as by itself.
_NICENESS, _NICENESS_OF_MENDING = 19, 5
_OVERWRITE = "--overwrite"
#: Requests at a time: it is in no hurry.
_AT_ONCE = 4
_LOOK_S = 0.5


def push_apart(
    url: str,
    paths: Sequence[Path],
    stopped: Callable[[], bool] = lambda: False,
    *,
    overwrite: bool = False,
) -> list[Pushed]:
    """Put files into the store at a URL, in a process that ends with this one.

    ``overwrite``: all of them, in place of what is there, which may be damaged.
    Blocks; ends early when ``stopped`` says so. Raises BlobStoreError, saying what went wrong.
    """
    process = subprocess.Popen(
        [
            *(sys.executable, "-P", "-m", "rekindle.blobs.pushing"),
            *((_OVERWRITE,) if overwrite else ()),
            *map(str, paths),
        ],
        stdin=subprocess.PIPE,  # closes with this process, however that ends
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, and says why
            process.stdin.write(f"{url}\n")
            process.stdin.flush()
        while not readable([process.stdout.fileno()], _LOOK_S):  # it prints once, at its end
            if stopped():
                process.kill()
                raise BlobStoreError(f"putting files into {without_password(url)} was given up")
        printed, said = process.communicate()
    if process.returncode:
        reason = said.strip().rpartition("\n")[2] or f"status {process.returncode}"
        raise BlobStoreError(f"files could not be put into {without_password(url)}: {reason}")
    return [Pushed(**one) for one in json.loads(printed)]


def main() -> int:
    """See the module."""
    overwrite = sys.argv[1] == _OVERWRITE
    url, names = first_line(0), sys.argv[1 + overwrite :]
    os.nice(_NICENESS_OF_MENDING if overwrite else _NICENESS)
    done_it = threading.Event()
    threading.Thread(target=_end_with_owner, args=(done_it,), daemon=True).start()
    try:
        store = open_store(url)
        done = [
            transfer.push(store, Path(name), at_once=_AT_ONCE, overwrite=overwrite)
            for name in names
        ]
    except (Error, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    done_it.set()  # the owner, who sees it printed, closes our input
    sys.stdout.write(json.dumps([dataclasses.asdict(one) for one in done]))
    return 0


def _end_with_owner(done_it: threading.Event) -> None:
    """Not by the kernel's signal: that is sent when the thread ends that started this process."""
    os.read(0, 1)
    if not done_it.is_set():
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
