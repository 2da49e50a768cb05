"""Unique again: what was random or unique in a template differs in each of its runners.

A restored or forked process shares its memory with its siblings, so every generator that was
seeded before would say the same in all of them. Runs in every runner before any user code.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

_on_restore: list[Callable[[], object]] = []


def on_restore(function: Callable[[], object]) -> Callable[[], object]:
    """Call ``function`` in every runner, after rekindle's own steps and before user code.

    For library authors whose module keeps state that must differ between copies of a process.
    Usable as a decorator. An exception in it fails the start of the runner.
    """
    _on_restore.append(function)
    return function


def make_unique() -> None:
    """All steps, in order. Modules that are not loaded are left alone."""
    _reseed_random()
    _reseed_numpy()
    _reseed_torch()
    _reseed_openssl()
    _renew_uuid()
    _renew_tempfile()
    _renew_multiprocessing()
    for function in _on_restore:
        function()


def warm_up() -> None:
    """In a template, before it is forked or frozen: what is set up at first use is set up once."""
    ssl = _loaded("ssl")
    if ssl is not None:
        ssl.RAND_add(os.urandom(32), 32.0)
        ssl.RAND_bytes(1)


def _loaded(name: str) -> Any:
    return sys.modules.get(name)


def _reseed_random() -> None:
    random = _loaded("random")
    if random is not None:
        random.seed()  # from os.urandom


def _reseed_numpy() -> None:
    """The legacy global generator. Generators that the user made are the user's."""
    numpy_random = _loaded("numpy.random")
    if numpy_random is not None:
        # As words of our own: numpy's own way to fresh entropy takes half a millisecond.
        numpy_random.seed(memoryview(os.urandom(64)).cast("I").tolist())


def _reseed_torch() -> None:
    """The default CPU generator; ``torch.seed`` would also touch CUDA."""
    torch = _loaded("torch")
    if torch is not None and hasattr(torch, "default_generator"):
        torch.default_generator.seed()


def _reseed_openssl() -> None:
    """Fresh bytes into OpenSSL's generator; its own check is on the process id, which is equal in
    every restored copy."""
    ssl = _loaded("ssl")
    if ssl is not None:
        ssl.RAND_add(os.urandom(32), 32.0)


def _renew_uuid() -> None:
    """uuid4 asks the system each time; uuid1 counts from its last time stamp and clock sequence."""
    uuid = _loaded("uuid")
    if uuid is not None:
        uuid._last_timestamp = None


def _renew_tempfile() -> None:
    """The sequence of temporary names re-seeds itself only when the process id changes."""
    tempfile = _loaded("tempfile")
    if tempfile is not None:
        tempfile._name_sequence = None


def _renew_multiprocessing() -> None:
    """The key with which processes of one family recognise each other."""
    process = _loaded("multiprocessing.process")
    if process is not None:
        process.current_process().authkey = os.urandom(32)
