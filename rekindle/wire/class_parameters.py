"""Values for the parameters of a class: what names its pool, as text that anyone can read.

One JSON object in one spelling, so that equal values are equal bytes whoever packs them: names in
order, str, int and bool as JSON has them, bytes as ``{"bytes": "<base64>"}``. A spec says what
parameters there are, so that a client without the class can give values for them, too. The
controller reads these, templates as well: standard library only, and no pickle. Knows nothing of
decorators.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rekindle.exception import DeserializationError, InvalidError

Value = str | int | bytes | bool
#: The types that a parameter can have, by the name that they have in a spec.
TYPES: dict[str, type[Value]] = {kind.__name__: kind for kind in (str, int, bytes, bool)}
#: All parameters of an instance, packed.
MAX_BYTES = 16 * 1024


@dataclass(frozen=True)
class ClassParameter:
    """One parameter of a class."""

    name: str
    type: str
    #: As ``to_text`` has it; None where a value has to be given.
    default: str | None = None

    def value(self) -> Value | None:
        """Its default; None where it has none. Raises DeserializationError."""
        return None if self.default is None else from_text(self.default)


def to_text(value: Value) -> str:
    """One value. Raises InvalidError for a number that is too large to be written out."""
    return _dumps(_plain(value))


def from_text(text: str) -> Value:
    """The inverse of ``to_text``. Raises DeserializationError."""
    return _value(_loads(text))


def pack(owner: str, values: Mapping[str, Value]) -> bytes:
    """Values of an instance of ``owner``; nothing for none.

    Raises InvalidError where they take more than ``MAX_BYTES``.
    """
    if not values:
        return b""
    data = _dumps({name: _plain(values[name]) for name in sorted(values)}).encode()
    if len(data) > MAX_BYTES:
        raise InvalidError(
            f"the parameters of {owner} take {len(data)} bytes, more than {MAX_BYTES}: "
            f"pass large values as arguments of a method"
        )
    return data


def unpack(data: bytes) -> dict[str, Value]:
    """The inverse of ``pack``. Raises DeserializationError."""
    if not data:
        return {}
    found = _loads(data)
    if not isinstance(found, dict):
        raise _unreadable(data)
    return {name: _value(value) for name, value in found.items()}


def for_others(owner: str, parameters: Sequence[ClassParameter], data: bytes) -> bytes | None:
    """Values as a class takes them that has these parameters now: what it knows, else its defaults.

    None where one has to be given. Raises DeserializationError.
    """
    known, values = unpack(data), {}
    for one in parameters:
        value = known.get(one.name)
        if type(value) is not TYPES[one.type]:
            value = one.value()
        if value is None:
            return None
        values[one.name] = value
    return pack(owner, values)


def shown(data: bytes, most: int = 60) -> str:
    """For people: ``size=7, name='small'``, cut where it is long; "" for none.

    Raises DeserializationError.
    """
    text = ", ".join(f"{name}={value!r}" for name, value in unpack(data).items())
    return text if len(text) <= most else text[: most - 3] + "..."


def _plain(value: Value) -> object:
    if not isinstance(value, bytes):
        return value
    import base64  # two libraries in each template otherwise

    return {"bytes": base64.b64encode(value).decode()}


def _value(plain: object) -> Value:
    if isinstance(plain, str | int):
        return plain
    if isinstance(plain, dict) and list(plain) == ["bytes"]:
        import base64  # as above

        try:
            return base64.b64decode(plain["bytes"], validate=True)
        except (TypeError, ValueError):
            pass
    raise _unreadable(plain)


def _dumps(plain: object) -> str:
    try:
        return json.dumps(plain, separators=(",", ":"))
    except ValueError as error:  # a number of more digits than Python writes
        raise InvalidError(f"a parameter of a class is too large: {error}") from None


def _loads(text: str | bytes) -> object:
    try:
        found: object = json.loads(text)
    except ValueError:
        raise _unreadable(text) from None
    return found


def _unreadable(what: object) -> DeserializationError:
    return DeserializationError(
        f"{what!r:.80} are no parameters of a class, as this version writes them: whoever sent "
        f"them has another version of rekindle; deploy the app, or make the call, again"
    )
