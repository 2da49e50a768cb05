"""Dict: values under keys, for all programs and runners of an instance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import compress
from typing import Any, ClassVar

from rekindle.exception import RequestSizeError, of_the_program
from rekindle.sdk.objects.handle import Handle
from rekindle.sdk.objects.keys import (
    entry,
    identity,
    items_of,
    keys_of,
    living,
    pickled,
    plain_entries,
    value_of,
    values_of,
)
from rekindle.sdk.objects.named import Objects
from rekindle.sdk.objects.steps import Batches, Steps, both, both_iterators
from rekindle.sdk.user_frames import trims
from rekindle.wire.object_frames import (
    AHEAD,
    MAX_VALUE_BYTES,
    OPTION,
    PART_BYTES,
    PART_COUNT,
    Op,
    Request,
    unpack_list,
)

_MISSING = object()
#: Entries of the first page that is read.
_FIRST_PAGE = 100
#: Of a later one: the server makes the next while one is taken apart.
_PAGE = 2000
_PUT, _GET, _POP = int(Op.DICT_PUT), int(Op.DICT_GET), int(Op.DICT_POP)


@trims
class Dict(Handle):
    """A dictionary that programs and runners share.

    Keys and values are pickled, so what is got is a copy: to change a value in it, put it back. An
    entry goes when no one has read or written it for seven days. A key is found by each process and
    each Python; its class must be at the top level of a module, or of the program.
    """

    _kind = "dict"
    #: ``create``, ``list``, ``delete``: those that have names.
    objects: ClassVar[Objects[Dict]]

    @both
    def get(self, key: Any, default: Any = None) -> Steps[Any]:
        """``get(key, default=None)``: the value, or ``default`` where there is none."""
        reply = yield Request(_GET, identity(key))
        return value_of(reply.body, "a value of a Dict") if reply.body else default

    @both
    def put(self, key: Any, value: Any, *, skip_if_exists: bool = False) -> Steps[bool]:
        """``put(key, value, *, skip_if_exists=False)``: whether it was put.

        With ``skip_if_exists`` a value that is there stays; of many that try at the same time one
        is told True. Raises RequestSizeError beyond 100 MiB, SerializationError.
        """
        flags = OPTION if skip_if_exists else 0
        reply = yield Request(_PUT, flags=flags, parts=[*_pair(key, value)])
        return bool(reply.body == b"1")

    @both
    def pop(self, key: Any, default: Any = _MISSING) -> Steps[Any]:
        """``pop(key[, default])``: take a value out. Raises KeyError without a default."""
        reply = yield Request(_POP, identity(key))
        if reply.body:
            return value_of(reply.body, "a value of a Dict")
        if default is _MISSING:
            raise _missing(self, key)
        return default

    @both
    def contains(self, key: Any) -> Steps[bool]:
        """``contains(key)``: whether there is a value."""
        reply = yield Request(_GET, identity(key), flags=OPTION)
        return bool(reply.body)

    @both
    def update(
        self, other: Mapping[Any, Any] | Iterable[tuple[Any, Any]] = (), /, **kwargs: Any
    ) -> Steps[None]:
        """``update(other, /, **kwargs)``: put many; of up to 5,000 that take 8 MiB, all at once."""
        if type(other) is dict:
            keys, values = list(other), list(other.values())
        else:
            pairs = list(other.items() if isinstance(other, Mapping) else other)
            keys, values = [key for key, _ in pairs], [value for _, value in pairs]
        keys += kwargs
        values += kwargs.values()
        plain = plain_entries(keys, values, PART_BYTES) if len(keys) <= PART_COUNT else None
        if plain is not None:
            yield Request(_PUT, parts=plain)
            return
        parts: list[bytes] = []
        size = 0
        for key, value in zip(keys, values, strict=True):
            pair = _pair(key, value)
            more = len(pair[0]) + len(pair[1])
            if parts and (size + more > PART_BYTES or len(parts) >= 2 * PART_COUNT):
                yield Request(_PUT, parts=parts)
                parts, size = [], 0
            parts += pair
            size += more
        if parts:
            yield Request(_PUT, parts=parts)

    @both
    def len(self) -> Steps[int]:
        """``len()``: how many entries there are, all of them counted. Raises NotFoundError."""
        reply = yield Request(Op.DICT_LEN)
        return int(reply.body)

    @both
    def clear(self) -> Steps[None]:
        """``clear()``: take everything out; the Dict stays. Raises NotFoundError."""
        yield Request(Op.DICT_CLEAR)

    @both_iterators
    def keys(self) -> Batches[Any]:
        """``keys()``: in no order. Each that is there all the time comes once."""
        yield from _scan(OPTION, keys_of)

    @both_iterators
    def values(self) -> Batches[Any]:
        """``values()``: in no order, as ``keys()``."""
        yield from _scan(0, lambda _, entries: values_of(entries))

    @both_iterators
    def items(self) -> Batches[tuple[Any, Any]]:
        """``items()``: pairs of key and value, in no order, as ``keys()``."""
        yield from _scan(0, items_of)

    # ---- as a dict -----------------------------------------------------------------------------

    def __getitem__(self, key: Any) -> Any:
        found = self.get(key, _MISSING)
        if found is _MISSING:
            raise _missing(self, key)
        return found

    def __setitem__(self, key: Any, value: Any) -> None:
        self.put(key, value)

    def __delitem__(self, key: Any) -> None:
        self.pop(key)

    def __contains__(self, key: Any) -> bool:
        return self.contains(key)

    def __len__(self) -> int:
        return self.len()

    def __iter__(self) -> Iterator[Any]:
        return self.keys()

    def __bool__(self) -> bool:
        return True  # as a handle: to ask for its length would be a request


def _missing(where: Dict, key: Any) -> KeyError:
    error = of_the_program(KeyError(key))
    error.add_note(f"{where!r} has no such key; its get(key) gives None instead")
    return error


def _pair(key: Any, value: Any) -> tuple[bytes, bytes]:
    name = identity(key)
    raw = pickled(value, "the value")
    if len(raw) > MAX_VALUE_BYTES:
        raise RequestSizeError(
            f"the value of {key!r} takes {len(raw):,} bytes, the limit is {MAX_VALUE_BYTES:,}; "
            f"keep it in a file, or divide it"
        )
    return name, entry(key, name, raw)


def _scan(flags: int, make: Callable[[list[bytes], list[bytes]], Iterable[Any]]) -> Batches[Any]:
    """Some at a time; ``make`` gets identities and entries."""
    seen: set[bytes] = set()
    cursor, count = b"0", _FIRST_PAGE
    while True:
        reply = yield Request(Op.DICT_SCAN, cursor, flags=flags, quantity=count)
        parts = unpack_list(reply.body) if reply.parts is None else reply.parts
        cursor = parts.pop()
        names, entries = parts[::2], parts[1::2]
        if reply.parts is not None:
            names, entries = living(names, entries)
        if not seen.isdisjoint(names):  # the server may give one twice while it makes room
            new = [name not in seen for name in names]
            names, entries = list(compress(names, new)), list(compress(entries, new))
        if cursor == b"0":
            yield make(names, entries)
            return
        seen.update(names)
        if entries and count == _FIRST_PAGE:  # few at first: each may be large
            mean = sum(map(len, entries)) // len(entries)
            count = max(1, min(_PAGE, PART_BYTES // (mean + 1)))
            flags |= AHEAD
        yield make(names, entries)


Dict.objects = Objects(Dict)
