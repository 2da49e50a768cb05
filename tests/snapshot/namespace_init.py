"""PID 1 of the namespaces in which tests dump and restore real processes.

A script of its own, run by tests/snapshot/sandbox.py. Each line on standard input is a JSON list:
a command to run; each line on standard output its exit status and what it printed. It ends, and
with it everything in its namespaces, when standard input does. Imports rekindle.linux alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from rekindle.linux import capabilities, mounts, namespaces, processes

TEMPLATE_CONTROL = 3  # where a template finds its end of the control pipe
RESTORE_CONTROL = 9  # where CRIU finds the new one, to put in the old one's place

TIMED_OUT = 124


def main() -> None:
    control_pipe, first_pid = int(sys.argv[1]), int(sys.argv[2])
    run_dir, directories = sys.argv[3], json.loads(sys.argv[4])
    for fd in (TEMPLATE_CONTROL, RESTORE_CONTROL):
        os.dup2(control_pipe, fd)
    processes.die_with_parent()
    if os.geteuid() != 0:
        namespaces.enter_user_namespace()
        capabilities.hand_down()
    namespaces.unshare(namespaces.CLONE_NEWPID | namespaces.CLONE_OWN)
    init = os.fork()
    if init:
        _, status = os.waitpid(init, 0)
        sys.exit(os.waitstatus_to_exitcode(status) & 255)
    processes.die_with_parent()
    mounts.make_private()
    mounts.mount_proc()
    if run_dir:
        mounts.mount(run_dir, "/run", flags=mounts.MS_BIND)
    for target, options in directories.items():
        mounts.mount("tmpfs", target, "tmpfs", data=options)
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
