"""Plain data that a newer peer wrote: its fields that this version has. Knows no kind of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


def known_fields(kind: Any, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``raw`` that the dataclass ``kind`` has."""
    names = {one.name for one in dataclasses.fields(kind)}
    return {name: value for name, value in raw.items() if name in names}
