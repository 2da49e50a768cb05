"""CRIU's logs in words. The excerpts are of real logs; more are made by real failures in
test_real_criu.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rekindle.snapshot import diagnose

_RLIMIT = (
    "(00.028783) Error (criu/util.c:1533): rlimit: Can't setup RLIMIT_NOFILE for self: "
    "Operation not permitted\n"
)
_FAILED = "(00.038754) Error (criu/cr-dump.c:2111): Dumping FAILED.\n"


def _dump_log(*lines: str) -> str:
    return _RLIMIT + "".join(f"(00.030000) {line}\n" for line in lines) + _FAILED


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (
            [
                "100 fdinfo 3: pos: 0 flags: 2/0x1",
                "100 fdinfo 7: pos: 0 flags: 2/0x1",
                (
                    "Error (criu/sk-inet.c:191): inet: Connected TCP socket, consider using "
                    "--tcp-established option."
                ),
                "100 fdinfo 8: pos: 0 flags: 2/0x1",
            ],
            "a TCP connection is open (file descriptor 7): close it in the enter(snap=True) hook",
        ),
        (
            [
                (
                    "Error (criu/sk-inet.c:191): inet: Connected TCP socket, consider using "
                    "--tcp-established option."
                )
            ],
            "a TCP connection is open: close it",
        ),
        (
            [
                (
                    "Failed to open map_files/7fcd128d1000-7fcd12bd1000, try to go via "
                    "[/dev/shm/psm_ee4c7eaa (deleted)] path"
                ),
                (
                    "Error (criu/proc_parse.c:353): Can't open mapped [/dev/shm/psm_ee4c7eaa "
                    "(deleted)]: No such file or directory"
                ),
            ],
            "memory of the deleted file /dev/shm/psm_ee4c7eaa is mapped",
        ),
        (
            [
                "unix: Dumping unix socket at 4",
                (
                    "unix: \tDumping extern: ino 114776 peer_ino 114789 family    1 type    1 "
                    "state  1 name /run/db.sock"
                ),
                (
                    "Error (criu/sk-unix.c:874): unix: External socket is used. Consider using "
                    "--ext-unix-sk option."
                ),
            ],
            "a Unix socket is connected to /run/db.sock outside the process (file descriptor 4)",
        ),
        (
            [
                "100 fdinfo 5: pos: 0 flags: 4000/0x1",
                "Error (criu/fsnotify.c:262): fsnotify: \tCan't dump that handle",
            ],
            "files are watched (file descriptor 5), which CRIU can save for root alone: watch in",
        ),
        (
            ["Error (criu/sk-unix.c:1): unix: Can't dump half of stream unix connection."],
            "a Unix socket is connected outside the process",
        ),
        (
            [
                "100 fdinfo 5: pos: 0 flags: 2/0x1",
                "Error (criu/sockets.c:628): sockets: Can't get 1:16 opt: Operation not supported",
            ],
            (
                "a network socket is open (file descriptor 5), and this CRIU cannot save "
                "sockets on kernels from 6.16 on"
            ),
        ),
        (
            ["Error (criu/files-ext.c:94): Can't dump file 17 of that type [20666] (chr 195:255)"],
            (
                "file descriptor 17 is a device of the driver nvidia: CUDA is in use: load the "
                "model on the CPU"
            ),
        ),
        (
            [
                (
                    "Handling VMA with the following smaps entry: 7f3182a92000-7f3182aa2000 -w-s "
                    "00000000 00:06 11385090 /dev/nvidia3"
                ),
                (
                    "Error (criu/proc_parse.c:118): handle_device_vma plugin failed: No such "
                    "file or directory"
                ),
            ],
            "memory of /dev/nvidia3 is mapped: CUDA is in use",
        ),
        (
            ["Error (criu/proc_parse.c:553): Can't handle non-regular mapping on 45's map 86aa000"],
            "memory of a device is mapped",
        ),
        (
            [
                (
                    "Error (criu/files-ext.c:94): Can't dump file 4 of that type [600] (anon "
                    "anon_inode:[userfaultfd])"
                )
            ],
            "file descriptor 4 is anon_inode:[userfaultfd] (anon), which CRIU cannot save",
        ),
        (
            [
                (
                    "Error (criu/page-xfer.c:263): page-xfer: Unable to spice data: No space left "
                    "on device"
                ),
                "Error (criu/mem.c:672): Can't dump page with parasite",
            ],
            "no space left on /store",
        ),
        (
            [
                (
                    "Error (criu/file-lock.c:110): Some file locks are hold by dumping tasks! You "
                    "can try --file-locks to dump them."
                )
            ],
            "a file lock is held",
        ),
        (
            [
                (
                    "Error (criu/files-reg.c:1031): Can't dump ghost file /var/cache/x of 73400320 "
                    "size, increase limit"
                )
            ],
            (
                "the deleted file /var/cache/x is still open or mapped and too large to save "
                "(73400320 bytes)"
            ),
        ),
        (
            ["Error (criu/sockets.c:753): sockets: BUG! Unknown socket collected (family 40)"],
            "a socket of family 40 is open",
        ),
        (["Effective capability 40 missing"], "CRIU lacks capabilities"),
        (
            ["Error (criu/some.c:1): the moon is in the wrong phase"],
            "CRIU says: the moon is in the wrong phase",
        ),
    ],
)
def test_a_failed_dump_is_explained(lines: list[str], words: str) -> None:
    told = diagnose.explain_dump_failure(_dump_log(*lines), images_dir="/store")
    assert told.startswith(words)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "Error (criu/cr-restore.c:1230): Can't fork for 100: File exists",
            "process id 100 is taken in the PID namespace",
        ),
        (
            (
                "   100: Error (criu/files-reg.c:2175): File usr/lib/libx.so has bad size 268 "
                "(expect 267)"
            ),
            "file /usr/lib/libx.so changed since the snapshot: 268 bytes instead of 267",
        ),
        (
            (
                "   100: Error (criu/files-reg.c:2353): Can't open file usr/lib/libx.so on "
                "restore: No such file or directory"
            ),
            "file /usr/lib/libx.so, which the snapshot has open or mapped, is gone",
        ),
        (
            (
                "Error (criu/protobuf.c:93): Read 35 bytes while 78 expected from "
                "/store/sn-1/images/core-100.img: Operation not permitted"
            ),
            "image file core-100.img is damaged or truncated",
        ),
        (
            "Error (criu/image.c:558): Magic doesn't match for pstree.img",
            "image file pstree.img is damaged or truncated",
        ),
        ("Error (criu/protobuf.c:72): Unexpected EOF on (empty-image)", "an image file is missing"),
        (
            "pie: 100: Error (criu/pie/restorer.c:1835): Can't read pages data (-9)",
            "the memory pages are missing or truncated",
        ),
        (
            "   100: Error (criu/sk-unix.c:2285): unix: FATAL: Peer 56858 unresolved for 57049",
            "a Unix socket was connected to a process outside the snapshot",
        ),
        (
            "   100: Error (criu/timens.c:101): Unable to set a monotonic clock offset: no",
            "CRIU says: Unable to set a monotonic clock offset: no",
        ),
    ],
)
def test_a_failed_restore_is_explained(line: str, words: str) -> None:
    text = f"{_RLIMIT}{line}\nError (criu/cr-restore.c:2320): Restoring FAILED.\n"
    assert diagnose.explain_restore_failure(text) == words


def test_an_empty_log_is_no_failure_of_its_own() -> None:
    assert diagnose.explain_dump_failure("") == "CRIU left no message"
    assert diagnose.explain_restore_failure(_RLIMIT) == "CRIU left no message"


@given(st.text())
def test_any_text_is_explained_somehow(text: str) -> None:
    assert diagnose.explain_dump_failure(text)
    assert diagnose.explain_restore_failure(text)
