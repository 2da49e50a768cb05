"""What this machine can do: each check with what was found and what to do where it is missing.

Asks the machine itself (it makes namespaces, runs ``criu check``) and changes nothing. Prints
nothing: the command line does. Knows no controller; who asks says how a Redis server is found.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from rekindle import paths
from rekindle.exception import (
    CriuNotFoundError,
)
from rekindle.gpu_restore import inventory as gpus
from rekindle.linux import capabilities, programs
from rekindle.runtime import node_checks
from rekindle.runtime.check import PROBE_TIMEOUT_S, Check, Status
from rekindle.runtime.isolation import privilege
from rekindle.snapshot import criu, pycriu

#: What CRIU was seen to fail without, when it restores a plain Python process.
NEEDED_CAPABILITIES = {
    8: "CAP_SETPCAP",
    12: "CAP_NET_ADMIN",
    18: "CAP_SYS_CHROOT",
    21: "CAP_SYS_ADMIN",
    25: "CAP_SYS_TIME",
}
#: What it needs for other processes, such as one that has changed its user.
USEFUL_CAPABILITIES = {
    1: "CAP_DAC_OVERRIDE",
    5: "CAP_KILL",
    6: "CAP_SETGID",
    7: "CAP_SETUID",
    19: "CAP_SYS_PTRACE",
    24: "CAP_SYS_RESOURCE",
    40: "CAP_CHECKPOINT_RESTORE",
}
_AS_ROOT = "run as root; in a container, with --privileged"
_MIN_KERNEL = (5, 9)  # CAP_CHECKPOINT_RESTORE, clone3 with set_tid, pidfd


def examine(find_redis: Callable[[], Path]) -> list[Check]:
    """All checks, those that restores need first.

    ``find_redis`` returns the Redis server binary to use, or raises SetupError.
    """
    namespaces = check_user_namespaces() if by_user_namespaces() else check_namespaces()
    return [
        check_criu(),
        check_kernel(),
        namespaces,
        check_capabilities(capabilities.current()[0], needed=not by_user_namespaces()),
        check_user(namespaces),
        node_checks.check_redis(find_redis),
        node_checks.check_store(paths.home_place() / "snapshots"),
        *node_checks.check_shared_store(paths.shared_store_url()),
        check_pycriu(),
        check_time_namespace(),
        node_checks.check_pinning(),
        node_checks.check_gpu(gpus.inventory(), os.environ),
        *node_checks.check_images(),
        node_checks.check_python(),
    ]


def by_user_namespaces() -> bool:
    """Whether this user makes namespaces by way of a user namespace: one who is not root does, and
    root of a namespace of another's."""
    return not privilege.is_root_like()


#: Checks without which a kind of start cannot be.
_STARTS = {
    "cold starts": ("kernel", "namespaces", "Redis"),
    "forks": ("kernel", "namespaces", "Redis"),
    "restores": ("kernel", "namespaces", "Redis", "CRIU", "capabilities", "snapshot store"),
}


def what_works(checks: list[Check]) -> tuple[list[str], list[str]]:
    """The kinds of starts that this user can have here, and those that fail with their reason."""
    failed = {check.name for check in checks if check.status is Status.FAIL}
    works, fails = [], []
    for start, needs in _STARTS.items():
        missing = [name for name in needs if name in failed]
        if missing:
            fails.append(f"{start} ({', '.join(missing)})")
        else:
            works.append(start)
    return works, fails


def who() -> str:
    """This user, and how functions are isolated for them."""
    way = ", by user namespaces" if by_user_namespaces() else ""
    return f"{'root' if os.geteuid() == 0 else f'uid {os.geteuid()}'}{way}"


def restore_possible(checks: list[Check]) -> bool:
    """Whether nothing was found that restores cannot do without."""
    return all(check.status is not Status.FAIL for check in checks)


# ---- CRIU and the kernel -------------------------------------------------------------------


def check_criu() -> Check:
    """A CRIU that is new enough and that the kernel suits."""
    try:
        found = criu.find()
    except CriuNotFoundError as error:
        remedy = criu.remedy_of_surroundings(str(error)) or "rekindle setup criu"
        return Check("CRIU", Status.FAIL, str(error), remedy)
    return Check("CRIU", Status.OK, f"{found.version}, `criu check` passes ({found.binary})")


def check_pycriu() -> Check:
    """The reader of CRIU's images."""
    try:
        module = pycriu.images()
    except CriuNotFoundError as error:
        return Check("pycriu", Status.WARN, str(error), "rekindle setup criu")
    return Check("pycriu", Status.OK, str(Path(str(module.__file__)).parent))


def check_kernel() -> Check:
    """A kernel with what checkpoint and restore of processes is made from."""
    release = os.uname().release
    missing = []
    if kernel_version(release) < _MIN_KERNEL:
        missing.append(f"a version from {'.'.join(map(str, _MIN_KERNEL))} on")
    if not os.path.exists("/proc/sys/kernel/ns_last_pid"):
        missing.append("ns_last_pid (CONFIG_CHECKPOINT_RESTORE)")
    missing += [
        f"{kind} namespaces"
        for kind in ("pid", "mnt", "uts", "ipc")
        if not os.path.exists(f"/proc/self/ns/{kind}")
    ]
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        missing.append(f"pidfd ({error.strerror})")
    if missing:
        return Check(
            "kernel",
            Status.FAIL,
            f"{release} lacks {', '.join(missing)}",
            "boot a kernel of a current distribution; in a sandbox such as gVisor, use another one",
        )
    return Check(
        "kernel", Status.OK, f"{release}: PID, mount, UTS and IPC namespaces, pidfd, ns_last_pid"
    )


def kernel_version(release: str) -> tuple[int, int]:
    """(6, 18) of "6.18.44-generic"; (0, 0) where it is not known."""
    found = re.match(r"(\d+)\.(\d+)", release)
    return (int(found[1]), int(found[2])) if found else (0, 0)


_PROBE = """
import os
from rekindle.linux import mounts, namespaces
namespaces.unshare(namespaces.CLONE_NEWPID | namespaces.CLONE_OWN)
child = os.fork()
if child == 0:
    mounts.make_private()
    mounts.mount_proc()
    with open("/proc/sys/kernel/ns_last_pid", "w") as last:
        last.write("99")
    os._exit(0)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def check_namespaces() -> Check:
    """Whether this process may make namespaces, mount /proc in them and choose process ids."""
    return _probed(_PROBE, "made one: /proc mounts, process ids can be chosen")


def _probed(probe: str, fine: str) -> Check:
    """What a process says that runs ``probe``: by its status, and on standard error why not."""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    try:
        done = programs.run([sys.executable, "-c", probe], PROBE_TIMEOUT_S, env=env)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("namespaces", Status.FAIL, f"the probe does not run: {error}", _AS_ROOT)
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines()[-1:] or ["the probe fails"])[0]
        reason, _, remedy = said.partition(privilege.TO_DO)
        return Check("namespaces", Status.FAIL, reason, remedy or _AS_ROOT)
    return Check("namespaces", Status.OK, fine)


_USER_PROBE = """
import sys
from rekindle.linux import capabilities
from rekindle.runtime.isolation import privilege
try:
    status = privilege.enter()
    if status is None:
        with open("/proc/sys/kernel/ns_last_pid", "r+") as last:
            pass
except OSError as error:
    print(privilege.explain(error), file=sys.stderr)
    status = 1
sys.exit(status or 0)
"""


def check_user_namespaces() -> Check:
    """Whether this user may make a user namespace, and all others in it."""
    fine = "made a user namespace: all others can be made in it, /proc mounts"
    return _probed(_USER_PROBE, fine)


def check_time_namespace() -> Check:
    """Time namespaces keep the monotonic clock from running backwards after a reboot."""
    if os.geteuid() != 0:
        return Check(
            "time namespaces",
            Status.OK,
            "not used without root: snapshots are made again after a reboot",
        )
    if os.path.exists("/proc/self/ns/time_for_children"):
        return Check("time namespaces", Status.OK, "the monotonic clock survives a reboot")
    return Check(
        "time namespaces",
        Status.WARN,
        "not in this kernel: snapshots do not outlive a reboot",
        "boot a kernel with CONFIG_TIME_NS (Linux 5.6 or newer)",
    )


# ---- privileges ----------------------------------------------------------------------------


def check_capabilities(effective: int, *, needed: bool = True) -> Check:
    """``effective`` is the mask of this process's capabilities; ``needed``, unless a user namespace
    gives them."""
    if not needed:
        return Check("capabilities", Status.OK, "none are needed: the user namespace gives them")
    missing = [name for bit, name in NEEDED_CAPABILITIES.items() if not effective >> bit & 1]
    fewer = [name for bit, name in USEFUL_CAPABILITIES.items() if not effective >> bit & 1]
    if missing:
        return Check("capabilities", Status.FAIL, f"missing: {' '.join(missing)}", _AS_ROOT)
    if fewer:
        return Check("capabilities", Status.OK, f"all that are needed (without {' '.join(fewer)})")
    return Check("capabilities", Status.OK, "all that are needed")


def check_user(namespaces: Check) -> Check:
    """Who runs functions: root, or a user by user namespaces."""
    if namespaces.status is not Status.OK:
        return Check("user", Status.WARN, f"{who()}: may make no namespaces", namespaces.remedy)
    limit = "; threads in a template that use shared memory rule out its restores"
    return Check("user", Status.OK, who() + (limit if by_user_namespaces() else ""))
