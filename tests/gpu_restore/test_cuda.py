"""The calls of the CUDA driver: numbers in and out, errors in words, nothing left behind."""

from __future__ import annotations

import ctypes

import pytest

from rekindle.exception import CudaError, GpuError
from rekindle.gpu_restore import cuda as room
from rekindle.gpu_restore import cuda_abi as abi
from rekindle.gpu_restore.cuda import Driver
from tests.gpu_restore.fake_cuda import GRANULARITY, FakeCuda


def test_what_is_handed_over_has_the_size_that_cuda_h_gives_it() -> None:
    """Measured with the header of CUDA 13.0 on x86_64."""
    sizes = {
        abi.AllocationProperties: 32,
        abi.Access: 12,
        abi.LockArguments: 64,
        abi.RestoreArguments: 64,
        abi.GpuPair: 32,
        abi.IpcHandle: 64,
    }
    assert {kind: ctypes.sizeof(kind) for kind in sizes} == sizes
    assert abi.AllocationProperties.flags.offset == 24
    assert abi.RestoreArguments.reserved1.offset == 56


def test_every_call_is_declared() -> None:
    library = FakeCuda()
    driver = Driver(library)
    driver.init()
    assert driver.count() == 1
    assert driver.name(driver.device(0)) == "NVIDIA Fake"
    assert driver.uuid(0) == "GPU-00000000-0000-0000-0000-000000000001"
    assert driver.memory() == (1 << 30, 80 << 30)
    assert set(library.calls) <= set(abi.PROTOTYPES)


def test_an_error_has_the_call_its_number_and_words() -> None:
    library = FakeCuda()
    library.fail["cuMemAlloc_v2"] = 2
    driver = Driver(library)
    driver.init()
    with pytest.raises(
        CudaError, match=r"cuMemAlloc_v2 failed: CUDA_ERROR_OUT_OF_MEMORY \(2\)"
    ) as e:
        driver.allocate(1)
    assert (e.value.code, e.value.call) == (2, "cuMemAlloc_v2")


def test_a_call_that_an_older_driver_lacks_is_named() -> None:
    with pytest.raises(CudaError, match="no cuCheckpointProcessLock"):
        Driver(FakeCuda(version=12040)).process_lock(1, 100)


@pytest.mark.parametrize("step", ["cuMemMap", "cuMemSetAccess"])
def test_a_mapping_that_fails_leaves_no_address_taken(step: str) -> None:
    library = FakeCuda()
    driver = Driver(library)
    driver.init()
    handle = driver.create(0, GRANULARITY)
    library.fail[step] = 1
    with pytest.raises(CudaError, match=step):
        driver.map(handle, 0, GRANULARITY)
    assert not library.memory


def test_what_is_no_uuid_is_refused() -> None:
    driver = Driver(FakeCuda())
    driver.init()
    with pytest.raises(GpuError, match="'nonsense' is no GPU's UUID"):
        driver.process_restore(1, {"GPU-00000000-0000-0000-0000-000000000001": "nonsense"})


def test_without_a_driver_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_PLACES", ("libcuda-that-is-not-there.so.1",))
    with pytest.raises(GpuError, match="no CUDA driver library on this machine"):
        room.load()
