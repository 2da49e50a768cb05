"""The contract as a module of the standard library alone: what stands for rekindle_pb2 in images.

Made from protobuf's own description of it, so that nothing is described twice; the classes are
those of plain_messages.py.
"""

from __future__ import annotations

import pprint
from collections.abc import Iterator
from typing import Any

from rekindle.wire import rekindle_pb2 as pb

_HEAD = '''"""The messages of the contract, for programs without protobuf."""

from rekindle.wire.plain_messages import define

'''


def source() -> str:
    """The text of the module."""
    file = pb.DESCRIPTOR
    messages: dict[str, list[tuple[Any, ...]]] = {}
    for message in _all(file.message_types_by_name.values()):
        name = message.full_name.removeprefix(f"{file.package}.")
        messages[name] = [_field(one, file.package) for one in message.fields]
    enums = {
        enum.name: {value.name: value.number for value in enum.values}
        for enum in file.enum_types_by_name.values()
    }
    shown = pprint.pformat(messages, width=100, compact=True, sort_dicts=False)
    return (
        f"{_HEAD}MESSAGES = {shown}\nENUMS = {pprint.pformat(enums)}\n"
        f"globals().update(define({file.package!r}, MESSAGES, ENUMS))\n"
    )


def _all(messages: Any) -> Iterator[Any]:
    for message in messages:
        yield message
        yield from _all(message.nested_types)


def _field(field: Any, package: str) -> tuple[Any, ...]:
    scalars = {
        getattr(field, f"TYPE_{name.upper()}"): name
        for name in ("double", "string", "bytes", "bool", "enum", "message")
        + ("int32", "int64", "uint32", "uint64", "sint32")
    }
    if field.type not in scalars:
        raise NotImplementedError(f"{field.full_name}: plain_messages.py has no such type")
    of = field.message_type
    is_map = of is not None and of.GetOptions().map_entry
    oneof = field.containing_oneof
    # protobuf has "optional" as a oneof of its own.
    alone = oneof is not None and oneof.name.startswith("_")
    label = "optional" if alone else "many" if _is_repeated(field) and not is_map else ""
    return (
        field.name,
        field.number,
        "map" if is_map else scalars[field.type],
        label,
        of.full_name.removeprefix(f"{package}.") if of is not None else "",
        oneof.name if oneof is not None and not alone else "",
    )


def _is_repeated(field: Any) -> bool:
    found = getattr(field, "is_repeated", None)
    return bool(found) if found is not None else bool(field.label == field.LABEL_REPEATED)
