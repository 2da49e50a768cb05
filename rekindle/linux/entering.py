"""A command in the namespaces of another process: what it sees, with its ids and no more rights.

``python -m rekindle.linux.entering PID FD COMMAND...`` is a process of its own, because one with
several threads cannot enter a user namespace. FD is an open file with variables, as JSON: they may
be secrets, so they are in no list of processes. Standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from rekindle.linux import capabilities, namespaces, processes
from rekindle.linux.libc import check, libc

_CLONE_NEWNET = 0x40000000
_CLONE_NEWCGROUP = 0x02000000
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38

#: The user namespace first: rights in the others come with it.
_KINDS = (
    ("user", namespaces.CLONE_NEWUSER),
    ("cgroup", _CLONE_NEWCGROUP),
    ("ipc", namespaces.CLONE_NEWIPC),
    ("uts", namespaces.CLONE_NEWUTS),
    ("net", _CLONE_NEWNET),
    ("pid", namespaces.CLONE_NEWPID),
    ("mnt", namespaces.CLONE_NEWNS),
)


def run(pid: int, argv: Sequence[str], more: Mapping[str, str]) -> int:
    """Run a command where process ``pid`` is; its exit status. ``more``: variables beside its own.

    Raises OSError where the process is gone, or this user may not enter.
    """
    status = processes.status(pid)
    with open(f"/proc/{pid}/environ", "rb") as file:
        pairs = (os.fsdecode(one).partition("=") for one in file.read().split(b"\0") if one)
        environ = {name: value for name, _, value in pairs}
    environ |= {"TERM": os.environ.get("TERM", "dumb"), **more}
    directory = os.readlink(f"/proc/{pid}/cwd")
    root = os.open(f"/proc/{pid}/root", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with contextlib.ExitStack() as stack:
        found = []
        for kind, flag in _KINDS:
            file = stack.enter_context(open(f"/proc/{pid}/ns/{kind}", "rb"))
            if not os.path.samestat(os.fstat(file.fileno()), os.stat(f"/proc/self/ns/{kind}")):
                found.append((file.fileno(), flag))
        for number, flag in found:
            namespaces.setns(number, flag)
    os.fchdir(root)
    os.chroot(".")
    with contextlib.suppress(OSError):
        os.chdir(directory)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the command's
    child = os.fork()  # it is in the PID namespace
    if child == 0:
        # Python ignores the latter two: no command expects it.
        for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        _become(status, argv, environ)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _become(status: Mapping[str, str], argv: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    """Take on the ids of the other process, give up what it may not, and exec."""
    try:
        if os.geteuid() == 0:
            groups = [int(group) for group in status.get("Groups", "").split()]
            with contextlib.suppress(PermissionError):  # a user namespace that denies it
                os.setgroups(groups)
            allowed = int(status["CapBnd"], 16)
            for number in range(64):
                if not allowed >> number & 1:
                    libc.prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(number), 0, 0, 0)
        gid, uid = int(status["Gid"].split()[1]), int(status["Uid"].split()[1])
        if gid != os.getegid():
            os.setresgid(gid, gid, gid)
        if uid != os.geteuid():
            os.setresuid(uid, uid, uid)
        if status.get("NoNewPrivs") == "1":
            one, zero = ctypes.c_ulong(1), ctypes.c_ulong(0)
            check(libc.prctl(_PR_SET_NO_NEW_PRIVS, one, zero, zero, zero), "prctl")
        if int(status["CapPrm"], 16) == 0:
            capabilities.drop()
        os.execvpe(argv[0], list(argv), dict(environ))
    except OSError as error:
        sys.stderr.write(f"{argv[0]}: {error.strerror or error}\n")
    os._exit(127)


def main(argv: Sequence[str]) -> int:
    """The module's command line."""
    pid, variables, *command = argv
    with open(int(variables), "rb") as file:  # the command has it no more
        more = json.load(file)
    try:
        status = run(int(pid), command, more)
    except OSError as error:
        gone = isinstance(error, (FileNotFoundError, ProcessLookupError))
        why = "it has ended" if gone else str(error)
        sys.stderr.write(f"Error: the runner cannot be entered: {why}\n")
        return 125
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
