"""Unique again: modules that keep a generator, by the way that each offers.

Those of the standard library first, then installed packages; what is not loaded is left alone. A
package that has no such way, but whose library has (see ``native``), needs no entry. Each entry of
a package has its test with the real one.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator
from types import ModuleType

from rekindle.runtime.runner.unique import native
from rekindle.runtime.runner.unique.step import Step

#: Of a node identifier that is random, not a network card's (RFC 9562, section 6.10).
_MULTICAST = 1 << 40


def steps() -> Iterator[Step]:
    """The steps for what is loaded."""
    for name, renew in _RENEWERS.items():
        module = sys.modules.get(name)
        if module is not None and not (name == "ssl" and _has_native_step()):
            what = name.removesuffix("._rust").removesuffix(".hazmat.bindings")
            yield Step(what, functools.partial(renew, module))


def _has_native_step() -> bool:
    """Whether the OpenSSL behind ``ssl`` has one."""
    library = getattr(sys.modules.get("_ssl"), "__file__", None)
    return library is not None and native.reaches(library, "RAND_add")


def fresh(size_bytes: int) -> int:
    """A number of that many random bytes."""
    return int.from_bytes(os.urandom(size_bytes), "little")


def _random(random: ModuleType) -> None:
    """The global generator, from os.urandom."""
    random.seed()


def _ssl(ssl: ModuleType) -> None:
    """OpenSSL's own check is on the process id, which is equal in every restored copy.

    It is named here, too, for interpreters that carry it without its symbols; where it is one that
    ``native`` has found, that is enough.
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


def _numpy(numpy_random: ModuleType) -> None:
    """The legacy global generator, which SciPy and scikit-learn use by default."""
    # As words of our own: numpy's own way to fresh entropy takes half a millisecond.
    numpy_random.seed(memoryview(os.urandom(64)).cast("I").tolist())


def _torch(torch: ModuleType) -> None:
    """The default CPU generator; ``torch.seed`` would also touch CUDA."""
    if hasattr(torch, "default_generator"):  # not in a torch that is half imported
        torch.default_generator.manual_seed(fresh(8))  # ``seed`` opens a file for its eight bytes


def _torch_cuda(cuda: ModuleType) -> None:
    """Those of the GPUs, in a copy of a process that has used them."""
    if getattr(cuda, "_initialized", False):
        for generator in cuda.default_generators:
            generator.seed()


def _polars(polars: ModuleType) -> None:
    """Samples and shuffles without a seed draw theirs from one generator."""
    polars.set_random_seed(fresh(8))


def _cryptography(rust: ModuleType) -> None:
    """It carries an OpenSSL of its own: keys, salts of signatures."""
    library = rust._openssl.lib
    if hasattr(library, "RAND_add"):  # not where it was built on BoringSSL or AWS-LC
        library.RAND_add(os.urandom(32), 32, 32.0)


def _apsw(apsw: ModuleType) -> None:
    """It carries a SQLite of its own, which asks the system again after this."""
    apsw.randomness(0)


def _uuid_utils(uuid_utils: ModuleType) -> None:
    uuid_utils.reseed_rng()


def _bson(objectid: ModuleType) -> None:
    """An ObjectId is a time, a number of this process and a counter, both random at first."""
    kind = objectid.ObjectId
    kind._pid = -1  # the number is drawn again for another process
    kind._inc = fresh(3)


def _numba(helperlib: ModuleType) -> None:
    """What ``random`` and ``numpy.random`` are in compiled functions, for this thread."""
    for state in (helperlib.rnd_get_np_state_ptr(), helperlib.rnd_get_py_state_ptr()):
        helperlib.rnd_seed(state, os.urandom(2500))


_RENEWERS = {
    "random": _random,
    "ssl": _ssl,
    "uuid": _uuid,
    "tempfile": _tempfile,
    "multiprocessing.synchronize": _semaphores,
    "multiprocessing.process": _processes,
    "numpy.random": _numpy,
    "torch": _torch,
    "torch.cuda": _torch_cuda,
    "polars": _polars,
    "cryptography.hazmat.bindings._rust": _cryptography,
    "apsw": _apsw,
    "uuid_utils": _uuid_utils,
    "bson.objectid": _bson,
    "numba._helperlib": _numba,
}
