"""How much disk the snapshots of a store may take, and which ones go first. Removes nothing."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rekindle.exception import InvalidError

VARIABLE = "REKINDLE_SNAPSHOT_BUDGET_BYTES"

#: Unless it is set: this share of the disk, and this many bytes at most.
DEFAULT_SHARE = 0.2
DEFAULT_MOST = 100 << 30

#: What messages can carry, and less: sizes are added up.
MOST_BYTES = 1 << 60
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?\s*\Z", re.IGNORECASE)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_size(text: str) -> int:
    """Bytes of ``50G``, ``1.5 TiB`` or ``1048576``; units are powers of 1024.

    Raises InvalidError, also for more than any message can carry.
    """
    match = _SIZE.match(text)
    if match is None:
        raise InvalidError(f"{text!r} is no size: write bytes, or a number with K, M, G or T")
    size = float(match[1]) * _UNITS[match[2].lower()]
    if size > MOST_BYTES:
        raise InvalidError(f"{text[:99]!r} is too large for a size: {MOST_BYTES} bytes at most")
    return int(size)


def asked(variable: str) -> int | None:
    """The size that a variable of the environment says; None where it says nothing.

    Raises InvalidError, naming the variable.
    """
    text = os.environ.get(variable, "")
    try:
        return parse_size(text) if text else None
    except InvalidError as error:
        raise InvalidError(f"{variable}: {error}") from None


def of_store(root: Path) -> int:
    """The budget of a store: what the environment says, or the default. Raises InvalidError."""
    if (found := asked(VARIABLE)) is not None:
        return found
    return min(int(shutil.disk_usage(root).total * DEFAULT_SHARE), DEFAULT_MOST)


@dataclass(frozen=True)
class Candidate:
    """A snapshot, its files on disk, and whether it may go."""

    key: str
    last_used: float
    #: Bytes on disk by inode; an inode that two snapshots have is one file.
    inodes: dict[int, int]
    in_use: bool = False


def to_remove(candidates: Iterable[Candidate], budget: int) -> list[Candidate]:
    """Those to remove so that the rest fits, least recently used first.

    One that would free nothing, as others hold all its files, still goes: its turn has come.
    """
    rest = sorted(candidates, key=lambda one: one.last_used)
    holders: dict[int, int] = {}
    sizes: dict[int, int] = {}
    for one in rest:
        for inode, size in one.inodes.items():
            holders[inode] = holders.get(inode, 0) + 1
            sizes[inode] = size
    total = sum(sizes.values())
    chosen = []
    for one in rest:
        if total <= budget:
            break
        if one.in_use:
            continue
        chosen.append(one)
        for inode in one.inodes:
            holders[inode] -= 1
            if not holders[inode]:
                total -= sizes[inode]
    return chosen
