"""PID 1 of the namespaces in which tests dump and restore real processes.

A script of its own, run by tests/snapshot/sandbox.py. Each line on standard input is a JSON list:
a command to run; each line on standard output its exit status and what it printed. It ends, and
with it everything in its namespaces, when standard input does. Standard library and linux.py only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from rekindle.runtime.isolation import linux

TEMPLATE_CONTROL = 3  # where a template finds its end of the control pipe
RESTORE_CONTROL = 9  # where CRIU finds the new one, to put in the old one's place

TIMED_OUT = 124


def main() -> None:
    control_pipe, first_pid = int(sys.argv[1]), int(sys.argv[2])
    run_dir, mounts = sys.argv[3], json.loads(sys.argv[4])
    for fd in (TEMPLATE_CONTROL, RESTORE_CONTROL):
        os.dup2(control_pipe, fd)
    linux.die_with_parent()
    if os.geteuid() != 0:
        linux.enter_user_namespace()
        linux.hand_down_capabilities()
    linux.unshare(linux.CLONE_NEWPID | linux.CLONE_NEWNS | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC)
    init = os.fork()
    if init:
        _, status = os.waitpid(init, 0)
        sys.exit(os.waitstatus_to_exitcode(status) & 255)
    linux.die_with_parent()
    linux.make_mounts_private()
    linux.mount_proc()
    if run_dir:
        linux.mount(run_dir, "/run", flags=linux.MS_BIND)
    for target, options in mounts.items():
        linux.mount("tmpfs", target, "tmpfs", data=options)
    if first_pid:
        with open("/proc/sys/kernel/ns_last_pid", "w") as last:
            last.write(str(first_pid - 1))
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(serve(json.loads(line))), flush=True)


def serve(request: dict[str, Any]) -> dict[str, Any]:
    if request["detached"]:
        child = subprocess.Popen(
            request["argv"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=request["fds"],
        )
        return {"pid": child.pid}
    try:
        done = subprocess.run(
            request["argv"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            pass_fds=request["fds"],
            timeout=request["timeout_s"],
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"rc": TIMED_OUT, "out": "", "err": ""}
    return {"rc": done.returncode, "out": done.stdout, "err": done.stderr}


if __name__ == "__main__":
    main()
