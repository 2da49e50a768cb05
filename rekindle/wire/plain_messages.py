"""Messages of the contract without protobuf, which an image may lack, or have another of.

The classes behave as far as rekindle's own client goes like those that protobuf generates, and
their bytes are the same. Which there are, a table says that is made from the contract
(plain_contract.py). Unknown fields of a newer peer are passed over. Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple, Self

from rekindle.wire.plain_encoding import (
    BYTES,
    fields_in,
    put_tag,
    scalar,
    unpacked,
    value_of,
    varint,
    wire_of,
)

_DEFAULTS: dict[str, object] = {"double": 0.0, "string": "", "bytes": b"", "bool": False}


class Field(NamedTuple):
    """A field of a message."""

    name: str
    number: int
    kind: str  # a scalar type of protobuf's, "enum", "message", or "map"
    label: str = ""  # "many"; "optional" where absence is not the same as the default
    of: str = ""  # the message that it holds; of a map, that of its entries
    oneof: str = ""
    full_name: str = ""

    @property
    def has_presence(self) -> bool:
        """Whether it can be absent, and not only have its default."""
        return bool(self.label == "optional" or self.oneof) or (
            self.kind == "message" and self.label != "many"
        )


class Descriptor(NamedTuple):
    """What is known of a message: as much of protobuf's as rekindle looks at."""

    name: str
    full_name: str
    fields: tuple[Field, ...]


class Repeated(list[Any]):
    """Messages, as protobuf has them: a list that makes its own."""

    def __init__(self, kind: type[Message]) -> None:
        super().__init__()
        self._kind = kind

    def add(self, **given: Any) -> Any:
        """One more."""
        made = self._kind(**given)
        self.append(made)
        return made


class Message:
    """Of which each message is a subclass."""

    __slots__ = ("_read", "_values")
    DESCRIPTOR: ClassVar[Descriptor]
    _by_name: ClassVar[Mapping[str, Field]]
    _by_number: ClassVar[Mapping[int, Field]]
    _kinds: ClassVar[Mapping[str, type[Message]]]

    _values: dict[str, Any]
    #: What was only looked at: it counts as soon as it holds something.
    _read: dict[str, Any]

    def __init__(self, **given: Any) -> None:
        object.__setattr__(self, "_values", {})
        object.__setattr__(self, "_read", {})
        for name, value in given.items():
            field = self._field(name)
            if value is None:
                continue
            if field.kind == "map":
                getattr(self, name).update(value)
            elif field.label == "many":
                made = [self._made(field, one) for one in value]
                getattr(self, name).extend(made)
            else:
                setattr(self, name, self._made(field, value))

    def _field(self, name: str) -> Field:
        try:
            return self._by_name[name]
        except KeyError:
            raise ValueError(f"{self.DESCRIPTOR.name} has no field {name!r}") from None

    def _made(self, field: Field, value: Any) -> Any:
        if field.kind == "message" and isinstance(value, Mapping):
            return self._kinds[field.of](**value)
        return value

    # ---- fields --------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        field = self._by_name.get(name)
        if field is None:
            raise AttributeError(f"{self.DESCRIPTOR.name} has no field {name!r}")
        for found in (self._values, self._read):
            if name in found:
                return found[name]
        if field.kind == "map":
            value: Any = {}
        elif field.label == "many":
            value = Repeated(self._kinds[field.of]) if field.kind == "message" else []
        elif field.kind == "message":
            value = self._kinds[field.of]()
        else:
            return _DEFAULTS.get(field.kind, 0)
        self._read[name] = value
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        field = self._by_name.get(name)
        if field is None:
            raise AttributeError(f"{self.DESCRIPTOR.name} has no field {name!r}")
        _check(field, value)
        self._clear_others(field)
        self._read.pop(name, None)
        self._values[name] = value

    def _clear_others(self, field: Field) -> None:
        if field.oneof:
            for other in self.DESCRIPTOR.fields:
                if other.oneof == field.oneof and other is not field:
                    self.ClearField(other.name)

    def _set(self) -> Iterator[tuple[Field, Any]]:
        """What it holds, in the order of the contract."""
        for field in self.DESCRIPTOR.fields:
            if field.name in self._values:
                yield field, self._values[field.name]
            else:
                value = self._read.get(field.name)
                if _holds(value):
                    yield field, value

    def HasField(self, name: str) -> bool:
        """Whether one that can be absent is there."""
        if not self._field(name).has_presence:
            raise ValueError(f"{self.DESCRIPTOR.name}.{name} is always there")
        return name in self._values or _holds(self._read.get(name))

    def WhichOneof(self, group: str) -> str | None:
        """The name of the one that is there."""
        for field, _value in self._set():
            if field.oneof == group:
                return field.name
        return None

    def ClearField(self, name: str) -> None:
        """It is as if it had never been set."""
        self._values.pop(self._field(name).name, None)
        self._read.pop(name, None)

    def CopyFrom(self, other: Self) -> None:
        """Hold just what another holds."""
        self._values.clear()
        self._read.clear()
        self.ParseFromString(other.SerializeToString())

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and dict(self._plain()) == dict(other._plain())

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        said = ", ".join(f"{name}={value!r}" for name, value in self._plain())
        return f"{self.DESCRIPTOR.name}({said})"

    def _plain(self) -> Iterator[tuple[str, Any]]:
        for field, value in self._set():
            if field.has_presence or value != _DEFAULTS.get(field.kind, 0):
                yield field.name, value

    # ---- bytes ---------------------------------------------------------------------------------

    def SerializeToString(self) -> bytes:
        """Its bytes, as protobuf writes them."""
        made = bytearray()
        for field, value in self._set():
            if field.kind == "map":
                entry = self._kinds[field.of]
                for key, one in value.items():
                    _put(made, field, entry(key=key, value=one))
            elif field.label == "many" and wire_of(field.kind) != BYTES:
                packed = b"".join(scalar(field.kind, one) for one in value)
                put_tag(made, field.number, BYTES)
                made += varint(len(packed)) + packed
            elif field.label == "many":
                for one in value:
                    _put(made, field, one)
            elif field.has_presence or value != _DEFAULTS.get(field.kind, 0):
                _put(made, field, value)
        return bytes(made)

    def ByteSize(self) -> int:
        """How many bytes that is."""
        return len(self.SerializeToString())

    @classmethod
    def FromString(cls, data: bytes) -> Self:
        """The inverse. Raises ValueError for what is no such message."""
        made = cls()
        made.ParseFromString(data)
        return made

    def ParseFromString(self, data: bytes) -> None:
        """Hold what is in bytes, over what it holds. Raises ValueError."""
        for number, wire, raw in fields_in(memoryview(data)):
            field = self._by_number.get(number)
            if field is None:
                continue
            if field.label == "many" and wire == BYTES and wire_of(field.kind) != BYTES:
                getattr(self, field.name).extend(unpacked(field.kind, raw))
                continue
            if wire != wire_of(field.kind):
                raise ValueError(f"{self.DESCRIPTOR.name}.{field.name} is of another type")
            value = self._parsed(field, raw)
            if field.kind == "map":
                getattr(self, field.name)[value.key] = value.value
            elif field.label == "many":
                getattr(self, field.name).append(value)
            else:
                setattr(self, field.name, value)

    def _parsed(self, field: Field, raw: Any) -> Any:
        if field.kind in ("message", "map"):
            return self._kinds[field.of].FromString(raw)
        return value_of(field.kind, raw)


def _holds(value: Any) -> bool:
    if isinstance(value, Message):
        return any(True for _ in value._set())
    return bool(value)


def _check(field: Field, value: Any) -> None:
    expected: Any = {
        "string": str,
        "bytes": bytes,
        "double": (int, float),
        "message": Message,
    }.get(field.kind, int)
    if field.label == "many" or field.kind == "map":
        raise AttributeError(f"{field.name} has many values: extend or update it")
    if not isinstance(value, expected):
        raise TypeError(f"{field.name} is no {field.kind}: {value!r}")


def _put(made: bytearray, field: Field, value: Any) -> None:
    wire = wire_of(field.kind)
    put_tag(made, field.number, wire)
    if wire != BYTES:
        made += scalar(field.kind, value)
        return
    if isinstance(value, Message):
        data = value.SerializeToString()
    else:
        data = value.encode() if field.kind == "string" else value
    made += varint(len(data))
    made += data


# ---- the table ---------------------------------------------------------------------------------


class Enum:
    """An enumeration: its values are ints."""

    def __init__(self, name: str, values: Mapping[str, int]) -> None:
        self._name = name
        self._values = dict(values)

    def Name(self, number: int) -> str:
        """Raises ValueError for a number that has none."""
        for name, value in self._values.items():
            if value == number:
                return name
        raise ValueError(f"{self._name} has no value {number}")

    def Value(self, name: str) -> int:
        """Raises ValueError for a name that is none."""
        if name not in self._values:
            raise ValueError(f"{self._name} has no {name!r}")
        return self._values[name]


def define(
    package: str,
    messages: Mapping[str, Iterable[tuple[Any, ...]]],
    enums: Mapping[str, Mapping[str, int]],
) -> dict[str, Any]:
    """The names of a module that has them all."""
    kinds: dict[str, type[Message]] = {}
    made: dict[str, Any] = {}
    for name, given in messages.items():
        full_name = f"{package}.{name}"
        fields = tuple(Field(*one)._replace(full_name=f"{full_name}.{one[0]}") for one in given)
        body = {
            "__slots__": (),
            "DESCRIPTOR": Descriptor(name.rsplit(".", 1)[-1], full_name, fields),
            "_by_name": {field.name: field for field in fields},
            "_by_number": {field.number: field for field in fields},
            "_kinds": kinds,
        }
        kinds[name] = type(name, (Message,), body)
    made |= {name: kind for name, kind in kinds.items() if "." not in name}
    for name, values in enums.items():
        made[name] = Enum(name, values)
        made |= values
    return made
