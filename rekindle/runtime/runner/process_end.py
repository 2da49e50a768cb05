"""What Python does for user code at the end of a process: handlers of ``atexit``, and open files
write what is in their buffers.

A runner ends without Python's own end, which takes 0.4 s with PyTorch, so it does these itself.
What a template has left is of all its copies: none of them removes it. Knows nothing of ``@exit``.
"""

from __future__ import annotations

import _io
import atexit
import gc
import sys
import weakref
from collections.abc import Callable
from typing import Any

from rekindle.forkserver import exception_hooks

#: What removes files: module and qualified name.
_REMOVERS = frozenset(
    {
        ("shutil", "rmtree"),
        ("posix", "remove"),
        ("posix", "unlink"),
        ("posix", "rmdir"),
        ("os", "removedirs"),
        ("pathlib", "Path.unlink"),
        ("pathlib", "Path.rmdir"),
        ("pathlib._local", "Path.unlink"),  # Python 3.13
        ("pathlib._local", "Path.rmdir"),
        ("tempfile", "TemporaryDirectory.cleanup"),
    }
)
#: Handlers of libraries that have something to do seldom or never. In a copy they take 0.6 ms and
#: 150 pages of its own, with PyTorch; ``_end_logging`` looks whether there is something.
_SELDOM = (
    ("logging", "shutdown"),
    ("torch._subclasses.fake_tensor", "dump_cache_stats"),
    ("torch.utils.data._utils", "_set_python_exit_flag"),
)
_BUFFERED = (_io.BufferedWriter, _io.BufferedRandom, _io.BufferedRWPair)

_register, _unregister = atexit.register, atexit.unregister
#: Handlers that remove files, in a process that may become a template.
_removals: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = []
#: How many handlers of logging a template has left; -1: its end is a handler of ``atexit`` as ever.
_of_logging = -1


def watch() -> None:
    """Before user code: set handlers aside that remove files, until it is known whose these are."""
    atexit.register, atexit.unregister = _watched_register, _watched_unregister


def leave_to_copies() -> None:
    """In a template that parks: files that are to be removed at its end stay for its copies.

    Others of its handlers run at the end of each copy, as after ``os.fork``: they may send what the
    copy has gathered.
    """
    atexit.register, atexit.unregister = _register, _unregister
    _removals.clear()
    _leave_seldom()
    _leave_finalizers()


def _leave_seldom() -> None:
    global _of_logging
    logging: Any = sys.modules.get("logging")
    given = [one() for one in logging._handlerList] if logging else []
    plain = (logging.Handler.flush, logging.StreamHandler.flush) if logging else ()
    if any(handler is not None and type(handler).flush not in plain for handler in given):
        return  # it keeps something back
    _of_logging = len(given)
    for module, name in _SELDOM:
        if (handler := getattr(sys.modules.get(module), name, None)) is not None:
            atexit.unregister(handler)


def _leave_finalizers() -> None:
    """None of those that there are is called at the end of a copy: ``tempfile`` removes by these.

    Their handler looks at each of them, 1 ms with PyTorch's in a copy that has touched none: it is
    registered again, by weakref itself, where user code makes another.
    """
    for finalizer in list(getattr(weakref.finalize, "_registry", ())):
        finalizer.atexit = False
    if getattr(weakref.finalize, "_registered_with_atexit", False):
        atexit.unregister(weakref.finalize._exitfunc)  # type: ignore[attr-defined]
        weakref.finalize._registered_with_atexit = False  # type: ignore[attr-defined]


def take_over() -> None:
    """In a process that has no copies: all that user code has registered is its own."""
    atexit.register, atexit.unregister = _register, _unregister
    for handler, args, kwargs in _removals:
        atexit.register(handler, *args, **kwargs)
    _removals.clear()


def forget() -> None:
    """In a copy of a template that is no runner: nothing of user code runs at its end."""
    atexit._clear()


def finish() -> None:
    """Run the handlers, the last one first, and have files write what is in their buffers.

    What fails is shown, and has no other effect. Of files those that were opened in this process
    since it was forked or restored.
    """
    multiprocessing: Any = sys.modules.get("multiprocessing.util")
    if multiprocessing is not None:
        atexit.unregister(multiprocessing._exit_function)  # it waits for processes
    atexit._run_exitfuncs()
    if multiprocessing is not None and multiprocessing._finalizer_registry:
        multiprocessing._run_finalizers()
    _end_logging()
    files = [one for one in gc.get_objects() if issubclass(type(one), _io._IOBase)]
    # Those first that write to another: text to bytes, compressed files to what they lie in.
    _each(_flush, [one for one in files if issubclass(type(one), _io.TextIOWrapper)])
    _each(_close, [one for one in files if type(one).__module__ not in ("_io", "io")])
    _each(_flush, [one for one in files if issubclass(type(one), _BUFFERED)])


def _end_logging() -> None:
    logging: Any = sys.modules.get("logging")
    if logging is not None and 0 <= _of_logging != len(logging._handlerList):
        logging.shutdown()


def _each(step: Callable[[Any], None], files: list[Any]) -> None:
    standard = [id(one) for one in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)]
    for file in files:
        try:
            if id(file) not in standard and not file.closed:
                step(file)
        except BaseException as error:  # noqa: BLE001 - shown: the process is at its end
            exception_hooks.show_ignored(error, file)


def _flush(file: Any) -> None:
    if file.writable():
        file.flush()


def _close(file: Any) -> None:
    """As its ``__del__`` would: a compressed file has an end of its own."""
    file.close()


def _watched_register(handler: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    if _removes(handler):
        _removals.append((handler, args, kwargs))
        return handler
    return _register(handler, *args, **kwargs)


def _watched_unregister(handler: Callable[..., Any], /) -> None:
    _removals[:] = [one for one in _removals if one[0] != handler]
    _unregister(handler)


def _removes(handler: Any) -> bool:
    handler = getattr(handler, "func", handler)  # of a ``functools.partial``
    names = getattr(handler, "__module__", None), getattr(handler, "__qualname__", None)
    return names in _REMOVERS
