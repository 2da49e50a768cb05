"""Unique again: libraries in machine code, found in the process's maps, in every copy of them.

A library is known by the symbol with which it is made to ask the system again. One process may
have several of a kind: the system's, one in a wheel, one inside an extension module. So all
mapped files are looked through, for what they export and for what they hide.

Those that watch the process id, as OpenSSL does, or that ``fork`` notifies (pthread_atfork), notice
a fork but no restore, as the process id is the same in every restored copy.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable, Iterator

from rekindle.linux import maps
from rekindle.runtime.runner.unique import elf
from rekindle.runtime.runner.unique.step import Step

_RTLD_DI_TLS_MODID = 9


# Each makes the step for a function at an address: ctypes is asked once, and not in every copy.


def _openssl_add(function: int) -> Callable[[], None]:
    """Fresh bytes for the root of OpenSSL's generators; those of threads follow it."""
    add = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_int, ctypes.c_double)(function)
    return lambda: add(os.urandom(32), 32, 32.0)


def _sqlite_reset(function: int) -> Callable[[], None]:
    """Asked for no bytes, SQLite forgets its generator and asks the system for the next ones."""
    return functools.partial(
        ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p)(function), 0, None
    )


def _call(function: int) -> Callable[[], None]:
    return ctypes.CFUNCTYPE(None)(function)


#: Exported or hidden function -> how the step for it is made.
_FUNCTIONS: dict[str, Callable[[int], Callable[[], None]]] = {
    "RAND_add": _openssl_add,
    "sqlite3_randomness": _sqlite_reset,
    "randombytes_stir": _call,  # libsodium
}
#: A part of the name of a hidden function, as Rust's compiler writes it.
#: Rust's rand to 0.8 notifies its generators, those of all threads, of a fork by it.
_FORK_HANDLER = "reseeding4fork12fork_handler"
#: Rust's rand from 0.9 on does nothing at a fork. This is the calling thread's generator.
_THREAD_GENERATOR = "THREAD_RNG_KEY"
#: Arrow seeds what asks for a seed of the system (``pyarrow.compute.random``) from generators that
#: are statics of C++ functions. These are the ends of the names of the notes that they are made.
_ARROW_MADE = ("_ZGVZN5arrow", "E8seed_gen")


#: Files, and the functions with a step that they lead to.
_reached: set[tuple[str, str]] = set()


def reaches(path: str, function: str) -> bool:
    """Whether there is a step for the function that this file calls by that name."""
    return (os.path.realpath(path), function) in _reached


def steps() -> Iterator[Step]:
    """The steps for what is mapped, each function once however many files lead to it."""
    yield Step("the C library", _libc)
    done = set()
    for path, base in _mapped_files().items():
        for what, address, run in _of_file(path, base):
            _reached.add((path, what))
            if address not in done:
                done.add(address)
                yield Step(f"{what} in {path}", run)


def _libc() -> None:
    """rand(), random() and drand48(), which libraries seed with the time and the process id."""
    seed = int.from_bytes(os.urandom(8), "little")
    _linker().srandom(seed >> 32)
    _linker().srand48(seed & 0xFFFFFFFF)


def _mapped_files() -> dict[str, int]:
    """Files with mapped code, and the address where each begins."""
    bases: dict[str, int] = {}
    code: dict[str, int] = {}
    for area in maps.mappings():
        if not area.path.startswith("/") or area.path.endswith(" (deleted)"):
            continue
        if area.offset == 0:
            bases.setdefault(area.path, area.start)
        if "x" in area.permissions and area.path in bases:
            code[area.path] = bases[area.path]
    return code


def _of_file(path: str, base: int) -> Iterator[tuple[str, int, Callable[[], None]]]:
    """What a file offers: in words, its address, and the step."""
    program = path == os.path.realpath("/proc/self/exe")
    name = None if program else os.fsencode(path)
    library = _linker().dlopen(name, os.RTLD_NOLOAD | os.RTLD_NOW)
    if not library:
        return  # mapped by other means than the dynamic linker's: no library
    for function, call in _FUNCTIONS.items():
        exported = _linker().dlsym(library, function.encode())
        if exported:
            yield function, exported, call(exported)
    parts = (*_FUNCTIONS, _FORK_HANDLER, _THREAD_GENERATOR, _ARROW_MADE[1])
    try:
        hidden = elf.symbols(path, parts)
    except OSError:
        return  # replaced since it was loaded
    for symbol in hidden:
        address = symbol.value if symbol.fixed else base + symbol.value
        if symbol.kind == elf.STT_FUNC and symbol.name in _FUNCTIONS:
            yield symbol.name, address, _FUNCTIONS[symbol.name](address)
        elif symbol.kind == elf.STT_FUNC and _FORK_HANDLER in symbol.name:
            yield "Rust's rand", address, _call(address)
        elif symbol.kind == elf.STT_OBJECT and _is_arrows(symbol.name):
            yield "Arrow", address, functools.partial(_forget, address, symbol.size)
        elif symbol.kind == elf.STT_TLS and _THREAD_GENERATOR in symbol.name and not program:
            own = _thread_address(library, symbol.value)
            if own is not None:
                yield "Rust's rand", own, functools.partial(_forget, own, symbol.size)


def _is_arrows(name: str) -> bool:
    start, end = _ARROW_MADE
    return name.startswith(start) and name.endswith(end)


class _TlsIndex(ctypes.Structure):
    _fields_ = (("module", ctypes.c_ulong), ("offset", ctypes.c_ulong))


@functools.cache
def _linker() -> ctypes.CDLL:
    """The dynamic linker's functions; ctypes makes a class for each library, which is slower."""
    linker = ctypes.CDLL(None)
    linker.dlopen.restype = linker.dlsym.restype = linker.__tls_get_addr.restype = ctypes.c_void_p
    linker.srandom.argtypes, linker.srand48.argtypes = [ctypes.c_uint], [ctypes.c_long]
    linker.dlopen.argtypes = [ctypes.c_char_p, ctypes.c_int]
    linker.dlsym.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    linker.dlinfo.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
    return linker


def _thread_address(library: int, offset: int) -> int | None:
    """Where a thread-local variable of a library lies for the calling thread."""
    module = ctypes.c_size_t()
    if _linker().dlinfo(library, _RTLD_DI_TLS_MODID, ctypes.byref(module)):
        return None
    address: int | None = _linker().__tls_get_addr(ctypes.byref(_TlsIndex(module.value, offset)))
    return address


def _forget(address: int, size: int) -> None:
    """Set what is made at first use back to "not made yet", which is zeros.

    So it is for a lazy thread-local of Rust's, whatever its layout, and for the guard of a C++
    function's static. The next use makes it again, from the system; the few hundred bytes that an
    old one may have on the heap are lost.
    """
    ctypes.memset(address, 0, size)
