"""Apps and functions as they lie in Redis, made into plain data.

Raises one of ``damage.UNREADABLE`` for what is damaged. Knows nothing of where it lies.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rekindle.controller.storage.records import StoredApp, StoredVariant
from rekindle.controller.storage.typed import checked
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.spec import FunctionSpec

_KINDS = ("function", "cls")


def app_of(app_id: str, fields: Mapping[bytes, bytes]) -> StoredApp:
    """An app without its functions."""
    functions_of(fields)
    return StoredApp(
        app_id=app_id,
        name=fields[b"name"].decode(),
        ephemeral=_flag(fields, b"ephemeral"),
        closed=_flag(fields, b"closed"),
        functions={},
        version=int(fields.get(b"version", 0)),
        detached=_flag(fields, b"detached"),
    )


def functions_of(app: Mapping[bytes, bytes]) -> dict[str, str]:
    """Id -> digest of the source, "" without one, of an app's functions; ``app``: its hash."""
    return {
        name[2:].decode(): digest.decode() for name, digest in app.items() if name.startswith(b"f:")
    }


def _flag(fields: Mapping[bytes, bytes], name: bytes) -> bool:
    raw = fields.get(name, b"0")
    if raw not in (b"0", b"1"):
        raise ValueError(f"{name.decode()} is {raw!r}")
    return raw == b"1"


def function_of(reply: Any) -> FunctionSpec:
    """From the name and the spec of a function; an error, where Redis answered with that."""
    if isinstance(reply, Exception):
        raise ValueError(str(reply))
    name, raw = reply
    if name is None or raw is None:
        raise ValueError("its definition is missing")
    spec = spec_of(raw)
    if spec.name != name.decode():
        raise ValueError(f"it is that of {spec.name!r}")
    return spec


def spec_of(raw: bytes) -> FunctionSpec:
    """A spec, all of whose fields are what they are declared to be."""
    spec: FunctionSpec = checked(FunctionSpec.from_json(raw.decode()))
    if spec.kind not in _KINDS:
        raise ValueError(f"kind is {spec.kind!r}")
    return spec


def variant_of(raw: bytes) -> StoredVariant:
    """What a variant was made from."""
    made: StoredVariant = checked(StoredVariant.from_json(raw))
    return made


def named_of(fields: Mapping[bytes, bytes]) -> list[pb.NamedSecret]:
    """The secrets that a function names."""
    return [pb.NamedSecret(**one) for one in json.loads(fields.get(b"named", b"[]"))]
