"""Canonical digests of code: equal in every run of the same program, different after an edit.

Pickles of code differ between two runs (hash randomisation orders sets; memory addresses), so
they cannot name a snapshot. This walks what a function is made of: bytecode, constants, names,
line tables, defaults, closure, the values of the globals that it mentions, and so on through
everything that travels by value. What travels by name is digested as its name; the source bundle's
digest and the environment's answer for its content.
"""

from __future__ import annotations

import dis
import enum
import functools
from collections.abc import Callable
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    MappingProxyType,
    MethodType,
    ModuleType,
)
from typing import Any

from rekindle.digests import blake2b
from rekindle.exception import InvalidError
from rekindle.execution import annotated
from rekindle.sdk.binding import Binding
from rekindle.sdk.cls import Cls, Instance
from rekindle.sdk.declaration import Declaration
from rekindle.sdk.function import Function
from rekindle.sdk.program.places import Place, is_by_reference, is_by_value
from rekindle.wire import pickling
from rekindle.wire.usercode import came_by_signal

#: Class attributes that are made by the class statement and say nothing of their own.
_CLASS_NOISE = frozenset(
    {"__dict__", "__weakref__", "__module__", "__abstractmethods__", "_abc_impl"}
    | {"__firstlineno__", "__static_attributes__", "__annotate_func__", "__annotations_cache__"}
)
_GLOBAL_OPS = frozenset(
    {"LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_NAME"}
    | {"LOAD_FROM_DICT_OR_GLOBALS"}  # from 3.12 on: names in type parameters inside a class
)
_CODE_FIELDS = (
    "co_name",
    "co_qualname",
    "co_firstlineno",
    "co_flags",
    "co_argcount",
    "co_posonlyargcount",
    "co_kwonlyargcount",
    "co_names",
    "co_varnames",
    "co_freevars",
    "co_cellvars",
    "co_code",
    "co_linetable",
    "co_exceptiontable",
)


def digest(*values: Any, kind: type[Walk] | None = None) -> str:
    """32 hex digits that name the values. Raises InvalidError when they are nested too deeply."""
    walk = (kind or Walk)()
    try:
        for value in values:
            walk.feed(value)
    except RecursionError:
        raise InvalidError(
            "the code's globals, defaults or closures hold data that is nested too deeply to be "
            "shipped; load it in an @rekindle.enter() method instead"
        ) from None
    return walk.hexdigest()


def code_digest(raw: Any, place: Place | None = None) -> str:
    """The digest of a user's function or class: at a place in a module, or by value.

    Of code that travels by name, its own code counts here and the values it mentions do not: they
    are made again where the module is imported.
    """
    if place is not None:
        return digest("by name", *place, _own_code(raw))
    return digest("by value", raw)


def hooks_digest(raw: type, names: list[str], place: Place | None) -> str:
    """The digest of a class's hooks."""
    hooks = [getattr(raw, name) for name in names]
    return digest([hook.__code__ for hook in hooks] if place is not None else hooks)


def _own_code(raw: Any) -> Any:
    if isinstance(raw, FunctionType):
        return raw.__code__
    return [
        (name, value.__code__ if isinstance(value, FunctionType) else type(value).__name__)
        for cls in raw.__mro__[:-1]
        for name, value in vars(cls).items()
        if name not in _CLASS_NOISE
    ]


@functools.lru_cache(maxsize=4096)
def global_names(code: CodeType) -> tuple[str, ...]:
    """Names that the code, or code nested in it, looks up as globals."""
    names = {
        instruction.argval
        for instruction in dis.get_instructions(code)
        if instruction.opname in _GLOBAL_OPS
    }
    for const in code.co_consts:
        if isinstance(const, CodeType):
            names.update(global_names(const))
    return tuple(sorted(names))


#: So many parts of an item of a set decide its place: items may be a whole graph. In the sets
#: among those parts a quarter of it counts, and in the smallest only their size.
_PARTS_FOR_ORDER = 256
_TOO_FEW_PARTS = 16


class Walk:
    """Feeds a hash with a canonical form of values; cycles become references to earlier ones."""

    def __init__(self, budget: int | None = None) -> None:
        #: How many more values count; None for all.
        self._budget = budget
        self._hash = blake2b(digest_size=16)
        #: id -> (number of its first visit, the object: kept, so that ids stay unique).
        self._seen: dict[int, tuple[int, Any]] = {}

    def hexdigest(self) -> str:
        return self._hash.hexdigest()

    def _put(self, tag: str, data: bytes = b"") -> None:
        self._hash.update(f"{tag}:{len(data)}:".encode())
        self._hash.update(data)

    def feed(self, value: Any) -> None:
        """Add one value."""
        kind = type(value)
        if self._budget is not None:
            self._budget -= 1
            if self._budget < 0:
                return
        if value is None or kind in (bool, int, float, complex) or value is Ellipsis:
            self._put(kind.__name__, repr(value).encode())
        elif kind is str:
            self._put("str", value.encode("utf-8", "surrogatepass"))
        elif kind in (bytes, bytearray):
            self._put(kind.__name__, bytes(value))
        elif kind in (set, frozenset):
            self._set(kind.__name__, value)
        elif self._is_new(value):
            self._compound(value, kind)

    def _is_new(self, value: Any) -> bool:
        known = self._seen.get(id(value))
        if known is not None:
            self._put("again", str(known[0]).encode())
            return False
        self._seen[id(value)] = (len(self._seen), value)
        return True

    def _all(self, tag: str, values: Any) -> None:
        items = list(values)
        self._put(tag, str(len(items)).encode())
        for item in items:
            self.feed(item)

    def _set(self, tag: str, items: Any) -> None:
        parts = _PARTS_FOR_ORDER if self._budget is None else self._budget // 4
        if parts < _TOO_FEW_PARTS:
            self._put(tag, str(len(items)).encode())
        else:
            self._all(tag, sorted(items, key=lambda item: self._order(item, parts)))

    def _order(self, item: Any, parts: int) -> str:
        """A key that sorts the items of a set alike in each run."""
        walk = type(self)(parts)
        walk.feed(item)
        return walk.hexdigest()

    def _compound(self, value: Any, kind: type) -> None:
        if kind in (tuple, list):
            self._all(kind.__name__, value)
        elif kind in (dict, MappingProxyType):
            self._all("dict", (part for item in value.items() for part in item))
        elif kind is CodeType:
            self._code(value)
        elif kind is FunctionType:
            self._function(value)
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, ModuleType):
            self._put("module", value.__name__.encode())
        elif isinstance(value, (Declaration, Function, Cls, Instance, Binding)):
            self._handle(value)
        elif kind is MethodType:
            self._all("method", (value.__func__, value.__self__))
        elif kind is BuiltinFunctionType:
            self._put("builtin", f"{value.__module__}.{value.__qualname__}".encode())
        elif kind in (staticmethod, classmethod):
            self._all(kind.__name__, (value.__func__,))
        elif kind is property:
            self._all("property", (value.fget, value.fset, value.fdel))
        elif kind is pickling.CACHED and not pickling.is_importable(value):
            self._all("lru_cache", (value.cache_parameters(), value.__wrapped__))
        elif kind is CellType:
            self._cell(value)
        elif isinstance(value, enum.Enum):
            self._all("enum", (kind, value.name))
        else:
            self._instance(value, kind)

    def _code(self, code: CodeType) -> None:
        self._put("code")
        # Where it is in no file, Python 3.13's prompt says how much was typed before it.
        self.feed("<>" if code.co_filename.startswith("<") else code.co_filename)
        for field in _CODE_FIELDS:
            self.feed(getattr(code, field))
        self._all("consts", code.co_consts)

    def _function(self, function: FunctionType) -> None:
        if is_by_reference(function):
            self._put("by name", f"{function.__module__}.{function.__qualname__}".encode())
            return
        self._all(
            "function",
            (
                function.__name__,
                function.__qualname__,
                function.__code__,
                function.__defaults__,
                function.__kwdefaults__,
                annotated.as_written(function),
                dict(function.__dict__),
            ),
        )
        self._all("closure", function.__closure__ or ())
        names = [n for n in global_names(function.__code__) if n in function.__globals__]
        self._all("globals", (part for n in names for part in (n, function.__globals__[n])))

    def _cell(self, cell: CellType) -> None:
        try:
            content = cell.cell_contents
        except ValueError:
            self._put("empty cell")
        else:
            self._all("cell", (content,))

    def _class(self, cls: type) -> None:
        # In a key, the class of an item would use up what counts of the item.
        if cls.__module__ == "builtins" or is_by_reference(cls) or self._budget is not None:
            self._put("by name", f"{cls.__module__}.{cls.__qualname__}".encode())
            return
        self._all("class", (cls.__name__, cls.__qualname__, type(cls), cls.__bases__))
        members = {name: v for name, v in vars(cls).items() if name not in _CLASS_NOISE}
        if "__annotations__" not in members and (said := annotated.as_written(cls)):
            members["__annotations__"] = said  # from Python 3.14 on it is no member
        self._all("members", (part for name in sorted(members) for part in (name, members[name])))

    def _handle(self, value: Any) -> None:
        if isinstance(value, Declaration):
            # Its code travels along, so that .local works: an edit of it counts.
            raw = value.raw if is_by_value(getattr(value.raw, "__module__", None)) else None
            self._all("declaration", (value.app_name, value.name, value.kind, raw))
        elif isinstance(value, Function):
            self._all("Function", (value._declaration, value._method, value._binding))
        elif isinstance(value, Cls):
            self._all("Cls", (value._declaration,))
        elif isinstance(value, Instance):
            self._all("instance", (value._binding,))
        else:
            self._all("binding", (value.declaration, value.parameters, value.args))

    def _instance(self, value: Any, kind: type) -> None:
        """Any other object, by what pickle would make of it (4: nothing is out of band)."""
        try:
            parts = _stable_parts(value)
            if parts is not None:
                self._all("object", (kind, parts))
                return
            reduced = value.__reduce_ex__(4)
        except BaseException as error:
            if came_by_signal(error):
                raise
            # A user's __reduce__; pickling it reports it better.
            self._all("opaque", (kind,))
            return
        if isinstance(reduced, str):
            self._put("global", f"{kind.__module__}.{reduced}".encode())
            return
        make, args, *rest = reduced
        state, items, pairs = (*rest[:3], None, None, None)[:3]
        self._all("object", (kind, make, args, state))
        if items is not None:
            self._all("items", items)
        if pairs is not None:
            self._all("pairs", (part for pair in pairs for part in pair))


# ---- objects whose pickles differ from run to run ----------------------------------------------
# By the names of their types, so that nothing is imported for it.


def _stable_parts(value: Any) -> tuple[Any, ...] | None:
    """What an object is made of, without addresses and random names; None for most objects."""
    for base in type(value).__mro__:
        parts = _KINDS.get(f"{base.__module__}.{base.__qualname__}")
        if parts is not None:
            return parts(value)
    return None


def _typed_storage(storage: Any) -> tuple[Any, ...]:
    return str(storage.dtype), storage._untyped_storage


def _untyped_storage(storage: Any) -> tuple[Any, ...]:
    """Its pickle names the storage by its address."""
    device = str(storage.device)
    if device == "meta":
        return device, storage.nbytes()
    if device != "cpu":
        storage = storage.cpu()
    size = storage.nbytes()
    import ctypes  # of tensors alone

    return device, ctypes.string_at(storage.data_ptr(), size) if size else b""


def _numba_function(function: Any) -> tuple[Any, ...]:
    """Its pickle has a UUID that is another in each process."""
    return function.py_func, dict(function.targetoptions), bool(function._can_compile)


_KINDS: dict[str, Callable[[Any], tuple[Any, ...]]] = {
    "torch.storage.TypedStorage": _typed_storage,
    "torch.storage.UntypedStorage": _untyped_storage,
    "numba.core.dispatcher.Dispatcher": _numba_function,
}
