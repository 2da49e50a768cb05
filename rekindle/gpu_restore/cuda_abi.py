"""What the CUDA driver library takes, as cuda.h has it: structures, and the arguments of its calls.

Checked against the header of CUDA 13.0 (tests/gpu_restore/test_cuda.py). Standard library only.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_int, c_size_t, c_ubyte, c_uint, c_uint64, c_void_p
from typing import Any

#: Bytes of a handle of cuIpcGetMemHandle.
IPC_HANDLE_BYTES = 64


class IpcHandle(ctypes.Structure):
    _fields_ = [("reserved", c_ubyte * IPC_HANDLE_BYTES)]


class Uuid(ctypes.Structure):
    _fields_ = [("bytes", c_ubyte * 16)]


class Location(ctypes.Structure):
    _fields_ = [("type", c_int), ("id", c_int)]


class AllocationFlags(ctypes.Structure):
    _fields_ = [
        ("compression_type", c_ubyte),
        ("gpu_direct_rdma", c_ubyte),
        ("usage", ctypes.c_ushort),
        ("reserved", c_ubyte * 4),
    ]


class AllocationProperties(ctypes.Structure):
    _fields_ = [
        ("type", c_int),
        ("handle_types", c_int),
        ("location", Location),
        ("win32_meta_data", c_void_p),
        ("flags", AllocationFlags),
    ]


class Access(ctypes.Structure):
    _fields_ = [("location", Location), ("flags", c_int)]


class LockArguments(ctypes.Structure):
    _fields_ = [("timeout_ms", c_uint), ("reserved0", c_uint), ("reserved1", c_uint64 * 7)]


class GpuPair(ctypes.Structure):
    _fields_ = [("old", Uuid), ("new", Uuid)]


class RestoreArguments(ctypes.Structure):
    _fields_ = [
        ("pairs", POINTER(GpuPair)),
        ("pair_count", c_uint),
        ("reserved", c_ubyte * (52 - ctypes.sizeof(c_void_p))),
        ("reserved1", c_uint64),
    ]


#: Symbols as the library exports them (a macro of cuda.h names the version), and their arguments.
PROTOTYPES: dict[str, list[Any]] = {
    "cuInit": [c_uint],
    "cuDriverGetVersion": [c_void_p],
    "cuGetErrorName": [c_int, c_void_p],
    "cuGetErrorString": [c_int, c_void_p],
    "cuDeviceGetCount": [c_void_p],
    "cuDeviceGet": [c_void_p, c_int],
    "cuDeviceGetName": [c_void_p, c_int, c_int],
    "cuDeviceGetUuid": [c_void_p, c_int],
    "cuDeviceGetAttribute": [c_void_p, c_int, c_int],
    "cuDevicePrimaryCtxRetain": [c_void_p, c_int],
    "cuCtxSetCurrent": [c_void_p],
    "cuMemGetInfo_v2": [c_void_p, c_void_p],
    "cuMemAlloc_v2": [c_void_p, c_size_t],
    "cuMemFree_v2": [c_uint64],
    "cuMemHostAlloc": [c_void_p, c_size_t, c_uint],
    "cuMemFreeHost": [c_void_p],
    "cuMemcpyHtoD_v2": [c_uint64, c_void_p, c_size_t],
    "cuMemcpyDtoH_v2": [c_void_p, c_uint64, c_size_t],
    "cuMemcpyHtoDAsync_v2": [c_uint64, c_void_p, c_size_t, c_void_p],
    "cuStreamCreate": [c_void_p, c_uint],
    "cuStreamSynchronize": [c_void_p],
    "cuStreamDestroy_v2": [c_void_p],
    "cuEventCreate": [c_void_p, c_uint],
    "cuEventRecord": [c_void_p, c_void_p],
    "cuEventSynchronize": [c_void_p],
    "cuEventDestroy_v2": [c_void_p],
    "cuIpcGetMemHandle": [c_void_p, c_uint64],
    "cuIpcOpenMemHandle_v2": [c_void_p, IpcHandle, c_uint],
    "cuIpcCloseMemHandle": [c_uint64],
    "cuMemGetAllocationGranularity": [c_void_p, c_void_p, c_int],
    "cuMemCreate": [c_void_p, c_size_t, c_void_p, c_uint64],
    "cuMemRelease": [c_uint64],
    "cuMemAddressReserve": [c_void_p, c_size_t, c_size_t, c_uint64, c_uint64],
    "cuMemAddressFree": [c_uint64, c_size_t],
    "cuMemMap": [c_uint64, c_size_t, c_size_t, c_uint64, c_uint64],
    "cuMemUnmap": [c_uint64, c_size_t],
    "cuMemSetAccess": [c_uint64, c_size_t, c_void_p, c_size_t],
    "cuMemExportToShareableHandle": [c_void_p, c_uint64, c_int, c_uint64],
    "cuMemImportFromShareableHandle": [c_void_p, c_void_p, c_int],
    # From driver 570 on.
    "cuCheckpointProcessGetState": [c_int, c_void_p],
    "cuCheckpointProcessLock": [c_int, c_void_p],
    "cuCheckpointProcessCheckpoint": [c_int, c_void_p],
    "cuCheckpointProcessRestore": [c_int, c_void_p],
    "cuCheckpointProcessUnlock": [c_int, c_void_p],
}
