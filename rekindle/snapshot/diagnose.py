"""CRIU's logs in words: why a dump or a restore failed, and what to do.

Text in, text out. The patterns are those of CRIU 4; a failure that none of them knows is reported
by CRIU's own error lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

_CLOSE_IT = "close it in the enter(snap=True) hook, or open it in an enter(snap=False) hook instead"
_NVIDIA_MAJOR = "195"  # nvidiactl and the GPUs; the majors of the other drivers are dynamic
_CUDA = (
    "CUDA is in use: load the model on the CPU in the enter(snap=True) hook and move it to the GPU "
    "in an enter(snap=False) hook"
)
_ERRORS_SHOWN = 3
#: Errors that CRIU reports on runs that succeed, too, or that only follow from an earlier one.
_NOISE = re.compile(
    r"Can't setup RLIMIT_NOFILE|Dumping FAILED|Restoring FAILED|Dump \w+ \(pid: \d+\) failed|"
    r"Collect mappings|Unable to open fd=|Unable to detach|Error flushing image"
)


@dataclass(frozen=True)
class _Failure:
    """What an explanation is made from."""

    log: str
    found: re.Match[str]
    where: str  # the directory that was written to
    drivers: Mapping[str, str]  # major number of character devices -> driver

    @property
    def fd(self) -> str:
        """The descriptor that CRIU was at, as " (file descriptor 5)", or nothing."""
        numbers = re.findall(r"\bfdinfo (\d+):", self.log[: self.found.start()])
        return f" (file descriptor {numbers[-1]})" if numbers else ""


#: A pattern, and what it means in words.
_Cause = tuple[str, str | Callable[[_Failure], str]]


def _device(failure: _Failure) -> str:
    groups = failure.found.groupdict()
    kind, name, fd = groups["kind"], groups["name"], groups["number"]
    at = f"file descriptor {fd}"
    if kind != "chr":
        return f"{at} is {name} ({kind}), which CRIU cannot save: {_CLOSE_IT}"
    major = name.partition(":")[0]
    driver = "nvidia" if major == _NVIDIA_MAJOR else failure.drivers.get(major, "")
    if driver.startswith("nvidia"):
        return f"{at} is a device of the driver {driver}: {_CUDA}"
    named = f"the character device {name}" + (f" of the driver {driver}" if driver else "")
    return f"{at} is {named}, which CRIU cannot save: {_CLOSE_IT}"


def _device_mapping(failure: _Failure) -> str:
    entries = re.findall(
        r"smaps entry: [^\n]*\s(/\S+)\s*$", failure.log[: failure.found.start()], re.M
    )
    if entries and "nvidia" in entries[-1]:
        return f"memory of {entries[-1]} is mapped: {_CUDA}"
    return f"memory of {entries[-1] if entries else 'a device'} is mapped, which CRIU cannot save"


def _external_unix(failure: _Failure) -> str:
    fds = re.findall(r"unix: Dumping unix socket at (\d+)", failure.log)
    names = re.findall(r"Dumping extern: [^\n]* name (\S+)", failure.log)
    peer = f" to {names[-1]}" if names and names[-1] != "null" else ""
    at = f" (file descriptor {', '.join(dict.fromkeys(fds))})" if fds else failure.fd
    return f"a Unix socket is connected{peer} outside the process{at}: {_CLOSE_IT}"


def _damaged(failure: _Failure) -> str:
    path = failure.found.groupdict().get("path") or ""
    return f"image file {Path(path).name or '(unknown)'} is damaged or truncated"


_SOCKETS_6_16 = (
    "a network socket is open{fd}, and this CRIU cannot save sockets on kernels from 6.16 on: "
    + _CLOSE_IT
)

_DELETED_MAP = (
    "memory of the deleted file {path} is mapped, and threads use it or it is large: CRIU can "
    "read it for root alone; make it in an enter(snap=False) hook, or start no threads before"
)
_LARGE_GHOST = (
    "the deleted file {path} is still open or mapped{fd} and too large to save ({size} bytes): "
    "close it in the enter(snap=True) hook"
)
_ENDS_EARLY = (
    r"(?:Read \d+ bytes while \d+ expected (?:from|on)|Failed unpacking object \w+ from) "
    r"(?P<path>[^\s:]+)"
)

_ANYWHERE: tuple[_Cause, ...] = (
    (r"No space left on device|Disk quota exceeded", "no space left on {where}"),
    (r"Read-only file system", "{where} is on a read-only file system"),
    (
        r"Effective capability (?:21|40) missing|CRIU needs to have the CAP_",
        "CRIU lacks capabilities (CAP_SYS_ADMIN, CAP_CHECKPOINT_RESTORE): run the agent as root",
    ),
    (r"Can't open dir (?P<path>\S+): No such file", "the directory {path} does not exist"),
)

_DUMP: tuple[_Cause, ...] = (
    (r"Can't open mapped \[(?P<path>[^\]]*) \(deleted\)\]", _DELETED_MAP),
    (r"Connected TCP socket", "a TCP connection is open{fd}: " + _CLOSE_IT),
    (r"External socket is used|Can't dump half of stream unix connection", _external_unix),
    (r"Can't get 1:(?:16|34) opt: Operation not supported", _SOCKETS_6_16),
    (
        r"Unknown socket collected \(family (?P<family>\d+)\)",
        "a socket of family {family} is open{fd}, which CRIU cannot save: " + _CLOSE_IT,
    ),
    (
        r"Some file locks are hold",
        "a file lock is held: release it (close the file that was locked)",
    ),
    (r"Can't dump ghost file (?P<path>.+?) of (?P<size>\d+) size", _LARGE_GHOST),
    (
        r"Can't dump file (?P<number>-?\d+) of that type \[\w+\] \((?P<kind>\w+) (?P<name>[^)]+)\)",
        _device,
    ),
    (
        r"fsnotify: \s*Can't dump that handle",
        "files are watched{fd}, which CRIU can save for root alone: watch in enter(snap=False)",
    ),
    (r"Can't handle non-regular mapping|handle_device_vma plugin failed", _device_mapping),
    (r"Net namespace is required to dump tun", "a network tunnel device is open{fd}: " + _CLOSE_IT),
    (
        r"send_fds failed|Can't retrieve FDs from socket",
        "a file descriptor cannot be handed to CRIU (an io_uring, most likely): " + _CLOSE_IT,
    ),
    (
        r"SysVIPC shmem map @\w+ doesn't live in IPC ns",
        "System V shared memory is attached: detach it in the enter(snap=True) hook",
    ),
    (
        r"Unable to interrupt task: \d+ \(Operation not permitted\)",
        "another program traces the process (a debugger, strace), or CRIU may not: end the tracing",
    ),
    (
        r"Unable to (?:interrupt|detach from)[^\n]*No such process",
        "the process is gone: it died first",
    ),
    (r"Timeout reached|Unable to freeze", "the process could not be stopped in time"),
)

_RESTORE: tuple[_Cause, ...] = (
    (r"Can't fork for (?P<pid>\d+): File exists", "process id {pid} is taken in the PID namespace"),
    (
        r"File (?P<path>.+?) has bad size (?P<now>\d+) \(expect (?P<then>\d+)\)",
        "file /{path} changed since the snapshot: {now} bytes instead of {then}",
    ),
    (
        r"File (?P<path>.+?) has (?:bad (?:mode|build-id)|wrong)",
        "file /{path} changed since the snapshot",
    ),
    (
        r"Can't open file (?P<path>.+?)(?: on restore)?: No such file",
        "file /{path}, which the snapshot has open or mapped, is gone",
    ),
    (
        r"Peer \w+ unresolved|FATAL: Peer",
        "a Unix socket was connected to a process outside the snapshot",
    ),
    (
        r"Can't bind inet socket|Address already in use",
        "an address that the snapshot listens on is in use: listen in an enter(snap=False) hook",
    ),
    (r"tty: (?:Unable to open|Can't open)", "a terminal that was open in the snapshot is in use"),
    (_ENDS_EARLY, _damaged),
    (r"[Mm]agic doesn't match for (?P<path>\S+)", _damaged),
    (r"Unexpected EOF on \(empty-image\)", "an image file is missing"),
    (r"Can't read pages data|pages-\d+\.img", "the memory pages are missing or truncated"),
    (r"Images corrupted|No IDS for|BUG at criu/|Empty list on", "the images are damaged"),
    (
        r"(?:cpu|CPU)[^\n]*(?:not supported|incompatible|missing|[Mm]ismatch)",
        "this processor lacks features that the snapshot was made with",
    ),
    (r"Cannot allocate memory|Can't mmap", "not enough memory to restore"),
    (
        r"killed by signal 11: Segmentation fault",
        "CRIU itself crashed over the images: they are damaged",
    ),
)


def explain_dump_failure(log_text: str, *, images_dir: Path | str = "the disk") -> str:
    """Why CRIU could not dump, in words.

    ``log_text`` is its log, with what it wrote to standard error; ``images_dir`` what it dumped to.
    """
    return _explain(log_text, (*_ANYWHERE, *_DUMP), str(images_dir))


def explain_restore_failure(log_text: str) -> str:
    """Why CRIU could not restore, in words; ``log_text`` as for a dump."""
    return _explain(log_text, (*_ANYWHERE, *_RESTORE), "the disk")


def _explain(log_text: str, causes: tuple[_Cause, ...], where: str) -> str:
    # In the order of the causes, not of the log: what CRIU says last is seldom what went wrong.
    for pattern, words in causes:
        found = re.search(pattern, log_text)
        if found:
            failure = _Failure(log_text, found, where, _drivers())
            if callable(words):
                return words(failure)
            return words.format(fd=failure.fd, where=where, **found.groupdict())
    errors = [
        line for line in log_text.splitlines() if "Error (" in line and not _NOISE.search(line)
    ]
    if not errors:
        errors = [
            line for line in log_text.splitlines() if "Error" in line and "RLIMIT" not in line
        ]
    shown = [
        re.sub(r"^[\s(\d.)]*(?:pie: \d+: |\d+: )?Error \(\S+\): ", "", line) for line in errors
    ]
    return "CRIU says: " + "; ".join(shown[:_ERRORS_SHOWN]) if shown else "CRIU left no message"


def _drivers() -> dict[str, str]:
    try:
        text = Path("/proc/devices").read_text(encoding="ascii", errors="replace")
    except OSError:
        return {}
    characters = text.partition("Block devices:")[0]
    return dict(re.findall(r"^\s*(\d+) (\S+)$", characters, re.M))
