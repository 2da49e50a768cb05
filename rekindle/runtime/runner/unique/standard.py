"""Unique again: the standard library. Modules that are not loaded are left alone."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator
from types import ModuleType

from rekindle.runtime.runner.unique.step import Step

#: Of a node identifier that is random, not a network card's (RFC 9562, section 6.10).
_MULTICAST = 1 << 40


def steps() -> Iterator[Step]:
    """The steps for what is loaded."""
    for name, renew in _RENEWERS.items():
        module = sys.modules.get(name)
        if module is not None:
            yield Step(name, functools.partial(renew, module))


def _random(random: ModuleType) -> None:
    """The global generator, from os.urandom."""
    random.seed()


def _ssl(ssl: ModuleType) -> None:
    """OpenSSL's own check is on the process id, which is equal in every restored copy.

    It is named here, too, for interpreters that carry it without its symbols.
    """
    ssl.RAND_add(os.urandom(32), 32.0)


def _uuid(uuid: ModuleType) -> None:
    """uuid4 asks the system each time; uuid1 counts from what it said last.

    libuuid keeps that (time, clock sequence) where no one can renew it, so Python's own way is
    taken; it draws a clock sequence for each. Fourteen bits of it are few, and copies share the
    network card's address, so the node is a random one.
    """
    uuid._last_timestamp = None  # type: ignore[attr-defined]
    uuid._generate_time_safe = None  # type: ignore[attr-defined]
    uuid._node = int.from_bytes(os.urandom(6), "big") | _MULTICAST  # type: ignore[attr-defined]
    for later in ("_last_timestamp_v6", "_last_timestamp_v7"):  # from Python 3.14 on
        if hasattr(uuid, later):
            setattr(uuid, later, None)


def _tempfile(tempfile: ModuleType) -> None:
    """The sequence of temporary names seeds itself again only when the process id changes."""
    tempfile._name_sequence = None  # type: ignore[attr-defined]


def _semaphores(synchronize: ModuleType) -> None:
    """Names of semaphores, which come from such a sequence too."""
    synchronize.SemLock._rand._rng_pid = None


def _processes(process: ModuleType) -> None:
    """The key with which processes of one family recognise each other."""
    process.current_process().authkey = os.urandom(32)


_RENEWERS = {
    "random": _random,
    "ssl": _ssl,
    "uuid": _uuid,
    "tempfile": _tempfile,
    "multiprocessing.synchronize": _semaphores,
    "multiprocessing.process": _processes,
}
