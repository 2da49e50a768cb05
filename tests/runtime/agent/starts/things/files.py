"""What templates have open on disk: files, directories, locks, mappings, archives, databases."""

from __future__ import annotations

import fcntl
import mmap
import os
import sqlite3
import tempfile
import zipfile
from typing import Any

from tests.runtime.agent.starts.things.kinds import Make, Probe


def _records(n: int) -> Any:
    path = os.path.join(tempfile.mkdtemp(prefix="rekindle-things-"), f"records{n}")
    with open(path, "wb") as file:
        file.write(bytes(range(200)))
    fd = os.open(path, os.O_RDONLY)
    os.read(fd, 7)
    return fd, os.dup(fd)


def _probe_records(fds: Any) -> Any:
    # The duplicate goes on where the first one is: they stay one open file.
    return os.read(fds[0], 3), os.read(fds[1], 3)


def _archive(n: int) -> Any:
    path = os.path.join(tempfile.mkdtemp(prefix="rekindle-things-"), f"a{n}.zip")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("member", b"content" * 1000)
    return zipfile.ZipFile(path)


def _spool(_n: int) -> Any:
    spool = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - stays open
    spool.write(b"spooled")
    return spool


def _probe_spool(spool: Any) -> Any:
    at = spool.tell()
    spool.seek(0)
    found = spool.read()
    spool.write(b"+")
    return at, found


def _mapped_spool(_n: int) -> Any:
    spool = _spool(0)
    spool.truncate(4096)
    return spool, mmap.mmap(spool.fileno(), 4096)


def _probe_mapped_spool(things: Any) -> Any:
    spool, area = things
    found = area[:7]
    spool.seek(0)
    spool.write(b"changed")
    return found, area[:7]  # file and mapping are one


def _directory(_n: int) -> Any:
    path = tempfile.mkdtemp(prefix="rekindle-things-")
    for name in "abc":
        os.mkdir(os.path.join(path, name))
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY)


def _probe_directory(fd: Any) -> Any:
    return sorted(os.listdir(fd))  # moves the offset that all duplicates share


def _shared_lock(n: int) -> Any:
    fds = _records(n)
    fcntl.lockf(fds[0], fcntl.LOCK_SH, 10, 5)
    return fds


def _probe_shared_lock(fds: Any) -> Any:
    with open(f"/proc/self/fdinfo/{fds[0]}") as info:
        return [line.split()[2:5:2] + line.split()[-2:] for line in info if "lock:" in line]


def _exclusive_lock(n: int) -> Any:
    path = os.path.join(tempfile.mkdtemp(prefix="rekindle-things-"), f"lock{n}")
    file = open(path, "w")  # noqa: SIM115 - stays open
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def _probe_exclusive_lock(file: Any) -> Any:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return "held"


def _mapped_file(n: int) -> Any:
    path = os.path.join(tempfile.mkdtemp(prefix="rekindle-things-"), f"m{n}")
    with open(path, "wb") as file:
        file.write(bytes(4096))
    with open(path, "r+b") as file:
        return mmap.mmap(file.fileno(), 4096)


def _probe_mapped_file(area: Any) -> Any:
    area[0] += 1
    return area[0]


def _database(n: int) -> Any:
    path = os.path.join(tempfile.mkdtemp(prefix="rekindle-things-"), f"d{n}.sqlite")
    connection = sqlite3.connect(path, check_same_thread=False, timeout=60)
    connection.execute("pragma journal_mode = wal")
    connection.execute("create table t (v)")
    connection.execute("insert into t values (5)")
    connection.commit()
    return connection


def _probe_database(connection: Any) -> Any:
    # Each adds a row to the one database on disk, which none may lose or damage.
    before = connection.execute("select count(*) from t").fetchone()[0]
    with connection:
        connection.execute("insert into t values (5)")
    after = connection.execute("select count(*) from t").fetchone()[0]
    check = connection.execute("pragma integrity_check").fetchone()[0]
    return after > before, check, connection.execute("select v from t").fetchone()[0]


def _arrays(n: int) -> Any:
    import numpy as np

    path = os.path.join(tempfile.mkdtemp(prefix="rekindle-things-"), f"a{n}.npz")
    np.savez(path, first=np.arange(100000), second=np.ones(100000))
    return np.load(path)


def _probe_arrays(arrays: Any) -> Any:
    return int(arrays["first"].sum()), float(arrays["second"].sum())


def _array_in_file(n: int, mode: Any) -> Any:
    import numpy as np

    path = os.path.join(tempfile.mkdtemp(prefix="rekindle-things-"), f"m{n}.npy")
    np.save(path, np.zeros(5000, dtype=np.int64))
    return np.load(path, mmap_mode=mode)


def _probe_array(array: Any) -> Any:
    array[7] += 1
    return int(array[7]), int(array.sum())


def _gone_directory(_n: int) -> Any:
    path = tempfile.mkdtemp(prefix="rekindle-things-")
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    os.rmdir(path)
    return fd


def _gone_working_directory(_n: int) -> Any:
    path = tempfile.mkdtemp(prefix="rekindle-things-")
    os.chdir(path)
    os.rmdir(path)


def _probe_gone_working_directory(_nothing: Any) -> Any:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "gone"


THINGS: dict[str, tuple[Make, Probe]] = {
    "file": (_records, _probe_records),
    "archive": (_archive, lambda archive: archive.read("member")[:7]),
    "unlinked file": (_spool, _probe_spool),
    "mapped unlinked file": (_mapped_spool, _probe_mapped_spool),
    "directory": (_directory, _probe_directory),
    "shared lock": (_shared_lock, _probe_shared_lock),
    "SQLite database": (_database, _probe_database),
    "npz archive": (_arrays, _probe_arrays),
    "array mapped privately": (lambda n: _array_in_file(n, "c"), _probe_array),
    "removed directory": (_gone_directory, lambda fd: os.listdir(fd)),
    "removed working directory": (_gone_working_directory, _probe_gone_working_directory),
    "exclusive lock": (_exclusive_lock, _probe_exclusive_lock),
    "file mapped for writing": (_mapped_file, _probe_mapped_file),
    "array mapped for writing": (lambda n: _array_in_file(n, "r+"), _probe_array),
}
