"""Capabilities of this thread, and which of them what it starts will have."""

from __future__ import annotations

import ctypes
import struct

from rekindle.linux.libc import check, libc

_CAP_SETUID = 7
_CAP_SYS_CHROOT = 18
CAP_SYS_ADMIN = 21

_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522


#: Effective, permitted and inheritable capabilities: the low halves of all, then the high ones.
_SETS = struct.Struct("=6I")


def current() -> tuple[int, int]:
    """This thread's effective and permitted capabilities, as masks."""
    sets = ctypes.create_string_buffer(_SETS.size)
    check(libc.capget(_header(), sets), "capget")
    effective, permitted, _, more_effective, more_permitted, _ = _SETS.unpack(sets.raw)
    return effective | more_effective << 32, permitted | more_permitted << 32


def _set(effective: int, permitted: int, inheritable: int) -> None:
    masks = (effective, permitted, inheritable)
    halves = [mask >> shift & 0xFFFFFFFF for shift in (0, 32) for mask in masks]
    check(libc.capset(_header(), _SETS.pack(*halves)), "capset")


def _header() -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0))


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
    """Keep what making and entering namespaces takes within reach of this process alone; nothing
    uses it, and what it executes does not get it, before ``take_up``."""
    _ambient(_PR_CAP_AMBIENT_CLEAR_ALL, 0)
    _effective, permitted = current()
    _set(0, permitted & (1 << CAP_SYS_ADMIN | 1 << _CAP_SYS_CHROOT), 0)


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
