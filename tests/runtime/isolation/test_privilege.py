"""Why namespaces cannot be made, in words, and what a user namespace of ours gives."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys

import psutil
import pytest

from rekindle.runtime.isolation import privilege
from tests.e2e.harness import plain_user


@pytest.mark.parametrize(
    ("setting", "value", "reason", "remedy"),
    [
        (
            "user/max_user_namespaces",
            "0",
            "user.max_user_namespaces is 0",
            "sysctl -w user.max_user_namespaces=",
        ),
        (
            "kernel/unprivileged_userns_clone",
            "0",
            "kernel.unprivileged_userns_clone is 0",
            "sysctl -w kernel.unprivileged_userns_clone=1",
        ),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "AppArmor",
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ],
)
def test_the_setting_that_forbids_it_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, setting: str, value: str, reason: str, remedy: str
) -> None:
    monkeypatch.setattr(privilege, "_setting", lambda name: value if name == setting else "")
    said, _, to_do = privilege.explain(OSError(errno.EPERM, "Operation not permitted")).partition(
        privilege.TO_DO
    )
    assert reason in said and remedy in to_do and "\n" not in said + to_do


def test_a_container_and_an_unknown_cause_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privilege, "_setting", lambda _name: "")
    refused = OSError(errno.EPERM, "Operation not permitted")
    monkeypatch.setattr(privilege, "_in_container", lambda: True)
    assert "this container forbids it" in privilege.explain(refused)
    monkeypatch.setattr(privilege, "_in_container", lambda: False)
    assert "the kernel refuses: Operation not permitted" in privilege.explain(refused)
    full = OSError(errno.ENOSPC, "No space left on device")
    assert "too many namespaces" in privilege.explain(full)
    monkeypatch.setattr(privilege, "_in_container", lambda: True)
    used_up = OSError(errno.EAGAIN, "Resource temporarily unavailable")
    assert "raise the limit on processes (ulimit -u" in privilege.explain(used_up)


_STAGES = """
import json, os
from rekindle.linux import capabilities, namespaces
uid = os.getuid()
namespaces.enter_user_namespace()
stages = {"entered": capabilities.current()}
assert (os.getuid(), os.stat("/proc/self").st_uid) == (uid, uid)
capabilities.hand_down()
def ambient():
    return [int(line.split()[1], 16) for line in open("/proc/self/status") if "CapAmb" in line][0]
stages["handed down"] = (ambient(), 0)
capabilities.set_aside()
stages["aside"] = capabilities.current() + (ambient(),)
capabilities.take_up()
stages["up"] = capabilities.current() + (ambient(),)
capabilities.drop()
stages["dropped"] = capabilities.current() + (ambient(),)
print(json.dumps(stages))
"""


def test_capabilities_are_set_aside_taken_up_and_dropped() -> None:
    launcher = plain_user(61999) if os.geteuid() == 0 else ()
    done = subprocess.run(
        [*launcher, sys.executable, "-c", _STAGES], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    stages = json.loads(done.stdout)
    everything, _permitted = stages["entered"]
    assert everything >> 21 & 1 and everything >> 40 & 1
    assert stages["handed down"][0] == everything & ~(1 << 7)
    assert stages["aside"] == [0, 1 << 21 | 1 << 18, 0]
    assert stages["up"] == [1 << 21 | 1 << 18, 1 << 21 | 1 << 18, 0]
    assert stages["dropped"] == [0, 0, 0]


def test_a_command_can_be_run_as_criu_is() -> None:
    program = (
        "import os; print(os.getpid(), os.getuid(), sorted(int(name) for name in "
        "os.listdir('/proc') if name.isdigit()))"
    )
    done = subprocess.run(
        [sys.executable, "-m", privilege.__name__, sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"1 {os.getuid()} [1]\n"


def test_who_runs_a_command_as_criu_is_sees_that_it_was_killed() -> None:
    program = "print('up', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-m", privilege.__name__, sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as runs:
        assert runs.stdout is not None
        assert runs.stdout.readline() == "up\n"
        (command,) = psutil.Process(runs.pid).children()
        command.kill()
    assert runs.returncode == -signal.SIGKILL


@pytest.mark.needs_root("unshare maps it without a namespace of its own")
@pytest.mark.parametrize(("more", "can"), [((), False), (("-p", "-f", "--mount-proc"), True)])
def test_root_of_a_user_namespace_needs_a_pid_namespace_that_is_its_own(
    more: tuple[str, ...], can: bool
) -> None:
    asks = "from rekindle.runtime.isolation import privilege; print(privilege.is_root_like())"
    done = subprocess.run(
        ["unshare", "-U", "-r", *more, sys.executable, "-c", asks],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(can)
