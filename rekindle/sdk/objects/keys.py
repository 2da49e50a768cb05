"""Which keys of a Dict are the same key, as bytes: its identity, and what the key itself was.

Keys that are equal in Python are one key here too, where they are made of the built-in types: 1,
1.0 and True; strings however they came to be; tuples and frozensets of such. What goes by pickling
otherwise does so in one form (canonical.py). Standard library only, until a key needs cloudpickle.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterable, Sequence
from itertools import compress, repeat
from operator import itemgetter
from struct import Struct
from time import time
from typing import Any

from rekindle.exception import DeserializationError
from rekindle.sdk.objects import canonical
from rekindle.wire import pickling
from rekindle.wire.serialization import deserialize, serialize
from rekindle.wire.usercode import came_by_signal

#: In front of a value: when it was put, in seconds, and the size of the key that follows.
_HEAD = Struct(">II")
#: Identities that tell the whole key, and the types of such keys.
_TELLS, _TOLD = b"sib", (str, int, bytes)
#: What pickle takes as it is.
SCALARS = frozenset((int, float, str, bytes, bool, type(None)))
#: An entry goes when no one has read or written it for so long (lua/common.lua).
LIFE_S = 7 * 24 * 3600
#: Longer identities are replaced by a digest.
_LONGEST = 256


class _Members:
    """A frozenset: its members in an order that is the same everywhere."""

    def __init__(self, members: list[Any]) -> None:
        self.members = members

    def __reduce__(self) -> tuple[Any, ...]:
        return frozenset, (self.members,)


def _plain(key: Any) -> Any:
    """A key that is pickled alike for all that are equal to ``key``."""
    kind = type(key)
    if kind is bool:
        return int(key)
    if kind is float:
        return int(key) if key.is_integer() else key
    if kind is tuple:
        return tuple(map(_plain, key))
    if kind is frozenset:
        return _Members(sorted(map(_plain, key), key=canonical.pickled))
    return key


def identity(key: Any) -> bytes:
    """The bytes that name the entry. Raises SerializationError, InvalidError."""
    kind = type(key)
    found: bytes
    if kind is str:
        found = b"s" + key.encode("utf-8", "surrogatepass")
    elif kind is int:
        found = b"i%d" % key
    elif kind is bytes:
        found = b"b" + key
    else:
        plain = _plain(key)
        found = b"i%d" % plain if type(plain) is int else b"p" + canonical.pickled(plain)
    if len(found) > _LONGEST:
        return b"#" + hashlib.sha256(found).digest()
    return found


def entry(key: Any, name: bytes, value: bytes) -> bytes:
    """What is stored under ``name``, the identity of ``key``: the key, where that does not tell it.

    ``value`` is pickled already.
    """
    if name[0] in _TELLS and type(key) in _TOLD:
        return _HEAD.pack(int(time()), 0) + value
    raw = serialize(key, "the key")
    return _HEAD.pack(int(time()), len(raw)) + raw + value


def plain_entries(keys: Sequence[Any], values: Sequence[Any], most: int) -> list[bytes] | None:
    """Identities and entries by turns, the quick way; None unless all are short and simple.

    None, too, where they could take more than ``most`` bytes together.
    """
    if not keys or set(map(type, keys)) != {str} or not SCALARS.issuperset(map(type, values)):
        return None
    # All at once; a key that contains what they are joined by goes the long way.
    names = ("s" + "\0s".join(keys)).encode("utf-8", "surrogatepass").split(b"\0")
    if len(names) != len(keys) or max(map(len, names)) > _LONGEST:
        return None
    head = _HEAD.pack(int(time()), 0)
    pickles = list(map(pickle.dumps, values, repeat(pickling.PROTOCOL)))
    if len(names) * (_LONGEST + len(head) + max(map(len, pickles))) > most:
        return None
    both = [b""] * (2 * len(names))
    both[::2] = names
    both[1::2] = map(head.__add__, pickles)
    return both


def living(names: list[bytes], entries: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Those that have been used within their time, as their entries begin with when that was."""
    oldest = _HEAD.pack(int(time()) - LIFE_S + 1, 0)[:4]
    if not entries or min(entries) >= oldest:
        return names, entries
    new = [entry >= oldest for entry in entries]
    return list(compress(names, new)), list(compress(entries, new))


def keys_of(names: Sequence[bytes], entries: Sequence[bytes]) -> list[Any]:
    """The keys of many entries. Raises DeserializationError."""
    keys = _strings_of(names)
    return list(map(key_of, names, entries)) if keys is None else keys


def _strings_of(names: Sequence[bytes]) -> list[Any] | None:
    """Keys that are all strings, at once; None where one is not, or is long.

    An entry whose identity is a string's has no key, as entry() makes it.
    """
    joined = b"\0".join(names)
    between = len(names) - 1
    # None contains what they are joined by.
    if joined[:1] == b"s" and joined.count(b"\0") == joined.count(b"\0s") == between:
        return joined[1:].decode("utf-8", "surrogatepass").split("\0s")
    return None


def items_of(names: Sequence[bytes], entries: Sequence[bytes]) -> Iterable[tuple[Any, Any]]:
    """The keys and values of many entries, once. Raises DeserializationError."""
    keys = _strings_of(names)
    if keys is None:
        return zip(map(key_of, names, entries), values_of(entries), strict=True)
    return zip(keys, _values_of(entries, plain=True), strict=True)


_KEY_SIZE, _BEHIND = itemgetter(slice(4, 8)), itemgetter(slice(8, None))


def values_of(entries: Sequence[bytes]) -> list[Any]:
    """The values of many entries. Raises DeserializationError."""
    have_no_key = b"".join(map(_KEY_SIZE, entries)) == bytes(4 * len(entries))
    return _values_of(entries, plain=have_no_key)


def _values_of(entries: Sequence[bytes], *, plain: bool) -> list[Any]:
    if plain:
        try:
            return list(map(pickle.loads, map(_BEHIND, entries)))
        except Exception as error:  # it is found again, and named
            if came_by_signal(error):
                raise
    return [value_of(one, "a value of a Dict") for one in entries]


def key_of(name: bytes, stored: bytes) -> Any:
    """The key of an entry. Raises DeserializationError."""
    _, size = _HEAD.unpack_from(stored)
    if size:
        return deserialize(stored[8 : 8 + size], "a key")
    form, rest = name[:1], name[1:]
    if form == b"s":
        return rest.decode("utf-8", "surrogatepass")
    if form == b"i":
        return int(rest)
    if form == b"b":
        return rest
    raise DeserializationError("an entry of a Dict is damaged")


def value_of(stored: bytes, what: str) -> Any:
    """The value of an entry. Raises DeserializationError."""
    _, size = _HEAD.unpack_from(stored)
    return deserialize(stored[8 + size :], what)


def pickled(value: Any, what: str) -> bytes:
    """A value as it is stored. Raises SerializationError."""
    if type(value) in SCALARS:
        return pickle.dumps(value, pickling.PROTOCOL)
    return serialize(value, what)


def plain_pickles(values: Sequence[Any]) -> list[bytes]:
    """Many values, the quick way; empty unless all are simple."""
    if not SCALARS.issuperset(map(type, values)):
        return []
    return list(map(pickle.dumps, values, repeat(pickling.PROTOCOL)))


def unpickled(parts: Sequence[bytes], what: str) -> list[Any]:
    """Many values. Raises DeserializationError."""
    values, error = unpickled_before(parts, what)
    if error is not None:
        raise error
    return values


def unpickled_before(
    parts: Sequence[bytes], what: str
) -> tuple[list[Any], DeserializationError | None]:
    """The values before the first that cannot be unpickled here, and the error of that one.

    Raises what a signal raised meanwhile.
    """
    values: list[Any] = []
    try:
        return list(map(pickle.loads, parts)), None
    except Exception as error:  # it is found again, and named
        if came_by_signal(error):
            raise
    for part in parts:
        try:
            values.append(deserialize(part, what))
        except DeserializationError as error:
            return values, error
    return values, None
