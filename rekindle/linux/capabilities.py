"""Capabilities of this thread, and which of them what it starts will have."""

from __future__ import annotations

import ctypes

from rekindle.linux.libc import check, libc

_CAP_SETUID = 7
CAP_SYS_ADMIN = 21

_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapSets(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def current() -> tuple[int, int]:
    """This thread's effective and permitted capabilities, as masks."""
    header, sets = _CapHeader(_CAPABILITY_VERSION_3, 0), (_CapSets * 2)()
    check(libc.capget(ctypes.byref(header), sets), "capget")
    low, high = sets
    return low.effective | high.effective << 32, low.permitted | high.permitted << 32


def _set(effective: int, permitted: int, inheritable: int) -> None:
    header, sets = _CapHeader(_CAPABILITY_VERSION_3, 0), (_CapSets * 2)()
    for half, shift in zip(sets, (0, 32), strict=True):
        half.effective = effective >> shift & 0xFFFFFFFF
        half.permitted = permitted >> shift & 0xFFFFFFFF
        half.inheritable = inheritable >> shift & 0xFFFFFFFF
    check(libc.capset(ctypes.byref(header), sets), "capset")


def hand_down() -> None:
    """Keep, across ``exec`` by a user who is not root, what this process may do in its namespace.

    All but CAP_SETUID: with it CRIU becomes user 0 before it restores, which is not mapped.
    """
    _effective, permitted = current()
    kept = permitted & ~(1 << _CAP_SETUID)
    _set(permitted, permitted, kept)
    for number in range(kept.bit_length()):
        if kept >> number & 1:
            _ambient(_PR_CAP_AMBIENT_RAISE, number)


def set_aside() -> None:
    """Keep what making namespaces takes within reach of this process alone; nothing uses it, and
    what it executes does not get it, before ``take_up``."""
    _ambient(_PR_CAP_AMBIENT_CLEAR_ALL, 0)
    _effective, permitted = current()
    _set(0, permitted & 1 << CAP_SYS_ADMIN, 0)


def take_up() -> None:
    """Use again what was set aside."""
    _effective, permitted = current()
    _set(permitted, permitted, 0)


def drop() -> None:
    """Give up every capability for good, in this thread and all that it starts."""
    _ambient(_PR_CAP_AMBIENT_CLEAR_ALL, 0)
    _set(0, 0, 0)


def _ambient(operation: int, number: int) -> None:
    zero = ctypes.c_ulong(0)
    check(
        libc.prctl(_PR_CAP_AMBIENT, ctypes.c_ulong(operation), ctypes.c_ulong(number), zero, zero),
        "prctl(PR_CAP_AMBIENT)",
    )
