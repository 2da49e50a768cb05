"""The doctor: each finding is told, with what to do where something is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rekindle.exception import CriuNotFoundError, SetupError
from rekindle.gpu_restore.inventory import Gpu, Inventory
from rekindle.runtime import doctor, node_checks
from rekindle.runtime.check import Check, Status
from rekindle.snapshot import criu
from tests.gpu_restore import machines

_ALL = (1 << 41) - 1


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left in the user's home."""
    monkeypatch.setenv("REKINDLE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("REKINDLE_REDIS_URL", raising=False)


def _no_redis() -> Path:
    raise SetupError("no Redis server here")


@pytest.mark.criu
def test_restores_are_possible_where_the_tests_of_restores_run() -> None:
    checks = [check for check in doctor.examine(_no_redis) if check.name != "Redis"]
    assert doctor.restore_possible(checks), checks
    assert [check.name for check in checks][:4] == ["CRIU", "kernel", "namespaces", "capabilities"]
    assert all(check.detail for check in checks)


def test_whatever_is_not_fine_comes_with_a_remedy() -> None:
    for check in doctor.examine(_no_redis):
        assert check.status is Status.OK or check.remedy, check


def test_one_failure_makes_restores_impossible() -> None:
    fine = Check("a", Status.OK, "x")
    limited = Check("b", Status.WARN, "x", "y")
    assert doctor.restore_possible([fine, limited])
    assert not doctor.restore_possible([fine, Check("c", Status.FAIL, "x", "y")])


def test_without_criu_set_up_is_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> criu.Criu:
        raise CriuNotFoundError("no working CRIU on this machine")

    monkeypatch.setattr(criu, "find", none)
    found = doctor.check_criu()
    assert (found.status, found.remedy) == (Status.FAIL, "rekindle setup criu")


@pytest.mark.parametrize(
    ("effective", "status", "words"),
    [
        (_ALL, Status.OK, "all that are needed"),
        (_ALL & ~(1 << 24), Status.OK, "without CAP_SYS_RESOURCE"),
        (_ALL & ~(1 << 21), Status.FAIL, "missing: CAP_SYS_ADMIN"),
        (0, Status.FAIL, "CAP_SETPCAP CAP_NET_ADMIN CAP_SYS_CHROOT CAP_SYS_ADMIN CAP_SYS_TIME"),
    ],
)
def test_missing_capabilities_are_named(effective: int, status: Status, words: str) -> None:
    found = doctor.check_capabilities(effective)
    assert found.status is status
    assert words in found.detail


@pytest.mark.parametrize(
    ("release", "version"),
    [
        ("6.18.44-fc", (6, 18)),
        ("5.10.0-21-amd64", (5, 10)),
        ("6.1-rc2", (6, 1)),
        ("weird", (0, 0)),
        ("", (0, 0)),
    ],
)
def test_kernel_versions_are_read(release: str, version: tuple[int, int]) -> None:
    assert doctor.kernel_version(release) == version


def test_a_redis_server_is_named_with_its_version(tmp_path: Path) -> None:
    binary = tmp_path / "redis-server"
    binary.write_text("#!/bin/sh\necho Redis server v=7.0.15 sha=00000000:0 malloc=libc\n")
    binary.chmod(0o755)
    found = node_checks.check_redis(lambda: binary)
    assert (found.status, found.detail) == (Status.OK, f"7.0.15 ({binary})")
    binary.write_text("#!/bin/sh\nexit 1\n")
    assert node_checks.check_redis(lambda: binary).status is Status.FAIL


def test_without_a_redis_server_nothing_runs_unless_one_is_configured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = node_checks.check_redis(_no_redis)
    assert found.status is Status.FAIL
    assert "rekindle[server]" in found.remedy
    monkeypatch.setenv("REKINDLE_REDIS_URL", "redis://elsewhere")
    assert node_checks.check_redis(_no_redis).status is Status.OK


def test_gpus_are_named_and_their_absence_explained() -> None:
    gpu = Gpu(
        index=0,
        name="NVIDIA H200",
        uuid="GPU-0",
        memory_bytes=141 << 30,
        free_bytes=0,
        compute_capability=(9, 0),
    )
    found = node_checks.check_gpu(Inventory((gpu,), "570.1", "12.8"), {})
    assert found.status is Status.OK
    assert found.detail == "NVIDIA H200 (141 GiB, gpu='H200'); driver 570.1, CUDA 12.8"
    one_less = node_checks.check_gpu(Inventory((gpu,), "570.1", "12.8", lost=("GPU 1: gone",)), {})
    assert one_less.status is Status.WARN
    assert one_less.detail == f"GPU 1: gone; there is {found.detail}"
    absent = node_checks.check_gpu(Inventory(reason="no driver"), {})
    assert (absent.status, absent.detail) == (Status.WARN, "none: no driver")


def test_only_gpus_that_the_environment_leaves_are_named() -> None:
    there = machines.inventory("two_rtx_4090")
    found = node_checks.check_gpu(there, {"CUDA_VISIBLE_DEVICES": "1"})
    assert found.detail.count("RTX 4090") == 1 and "leaves 1 of 2" in found.detail
    absent = node_checks.check_gpu(there, {"CUDA_VISIBLE_DEVICES": ""})
    assert absent.detail == "none: CUDA_VISIBLE_DEVICES='' leaves no GPU"


def test_a_disk_with_little_room_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert str(tmp_path) in node_checks.check_store(tmp_path / "not" / "yet").detail
    monkeypatch.setattr(node_checks, "_LOW_DISK_BYTES", 1 << 62)
    found = node_checks.check_store(tmp_path)
    assert found.status is Status.WARN
    assert "rekindle snapshot rm" in found.remedy


def test_the_store_that_nodes_share_is_told_of_where_one_is_named(tmp_path: Path) -> None:
    assert node_checks.check_shared_store("") == []
    (fine,) = node_checks.check_shared_store((tmp_path / "store").as_uri())
    assert fine.status is Status.OK
    (tmp_path / "file").touch()
    for url, why in (
        ("nosuch://x", "nosuch"),
        ("not/absolute", "is not an absolute path"),
        ("s3://", "names no place"),
        ((tmp_path / "file" / "store").as_uri(), "Not a directory"),
    ):
        (found,) = node_checks.check_shared_store(url)
        assert found.status is Status.WARN and why in found.detail and found.remedy, found


def test_the_package_that_packs_what_nodes_share_is_told_of_where_it_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    (found,) = node_checks.check_shared_store((tmp_path / "store").as_uri())
    assert found.status is Status.WARN and "rekindle[blobs]" in found.detail
    assert "install" in found.remedy
    assert not (tmp_path / "store").exists()


_AS_NOBODY = """
import os
from rekindle.linux import capabilities
from rekindle.runtime import doctor
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
found = doctor.check_namespaces()
print(found.status, found.remedy)
print(doctor.check_user(found).detail)
print(doctor.check_capabilities(capabilities.current()[0]).status)
"""


@pytest.mark.needs_root("becomes somebody else")
def test_a_user_without_privileges_is_told_what_is_missing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _AS_NOBODY], capture_output=True, text=True, check=False
    )
    namespaces, user, capabilities = done.stdout.splitlines()
    assert namespaces.startswith("fail run as root")
    assert "uid 65534" in user
    assert capabilities == "fail"
