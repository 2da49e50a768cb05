"""Which keys of a Dict are the same key, as bytes: its identity, and what the key itself was.

Keys that are equal in Python are one key here too, where they are made of the built-in types: 1,
1.0 and True; strings however they came to be; tuples and frozensets of such. What goes by pickling
otherwise does so without a memo, so that two equal values give equal bytes whether or not their
parts are one object. Standard library only, until a key needs cloudpickle.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from struct import Struct
from typing import Any

from rekindle.exception import DeserializationError, InvalidError
from rekindle.wire import pickling
from rekindle.wire.serialization import deserialize, serialize

_SIZE = Struct(">I")
#: In front of a value whose key its identity tells.
_NO_KEY = _SIZE.pack(0)
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
        return _Members(sorted(map(_plain, key), key=_pickled))
    return key


def _pickled(key: Any) -> bytes:
    for make in (lambda: pickle.Pickler, pickling.rich_pickler):
        buffer = io.BytesIO()
        pickler = make()(buffer, pickling.PROTOCOL)
        pickler.fast = True  # no memo: whether two parts are one object must not show
        try:
            pickler.dump(key)
        except (ValueError, RecursionError) as error:
            raise InvalidError(
                "a key of a Dict must not contain itself, directly or by what it holds"
            ) from error
        except Exception:  # noqa: BLE001 - cloudpickle may be able to, or says why not
            continue
        return buffer.getvalue()
    return serialize(key, "the key")  # raises, with the part that cannot be pickled


def identity(key: Any) -> bytes:
    """The bytes that name the entry. Raises SerializationError, InvalidError."""
    kind = type(key)
    if kind is str:
        found = b"s" + key.encode("utf-8", "surrogatepass")
    elif kind is int:
        found = b"i%d" % key
    elif kind is bytes:
        found = b"b" + key
    else:
        plain = _plain(key)
        found = b"i%d" % plain if type(plain) is int else b"p" + _pickled(plain)
    if len(found) > _LONGEST:
        return b"#" + hashlib.sha256(found).digest()
    return found


def entry(key: Any, name: bytes, value: bytes) -> bytes:
    """What is stored under ``name``, the identity of ``key``: the key, where that does not tell it.

    ``value`` is pickled already.
    """
    if name[0] in b"sib" and type(key) in (str, int, bytes):
        return _NO_KEY + value
    raw = serialize(key, "the key")
    return _SIZE.pack(len(raw)) + raw + value


def key_of(name: bytes, stored: bytes) -> Any:
    """The key of an entry. Raises DeserializationError."""
    (size,) = _SIZE.unpack_from(stored)
    if size:
        return deserialize(stored[4 : 4 + size], "a key")
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
    (size,) = _SIZE.unpack_from(stored)
    return deserialize(stored[4 + size :], what)
