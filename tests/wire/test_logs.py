"""Log lines are one line each, key=value, whatever is in them."""

from __future__ import annotations

import logging
import shlex

from rekindle.wire.logs import KeyValueFormatter, kv


def line(message: str, **fields: object) -> dict[str, str]:
    """One record, formatted and taken apart."""
    record = logging.makeLogRecord(
        {"msg": message, "levelname": "INFO", "created": 0.25, "msecs": 250.0, **kv(**fields)}
    )
    text = KeyValueFormatter("agent").format(record)
    assert "\n" not in text
    return dict(part.split("=", 1) for part in shlex.split(text))


def test_fields_are_keys_and_values() -> None:
    parts = line("agent joined", agent="ag-1", took_s=0.5)
    assert parts["ts"] == "1970-01-01T00:00:00.250Z"
    assert parts["level"] == "info"
    assert parts["component"] == "agent"
    assert parts["event"] == "agent joined"
    assert parts["agent"] == "ag-1"
    assert parts["took_s"] == "0.500"


def test_values_that_need_it_are_quoted() -> None:
    assert line("x", reason='say "no" = never')["reason"] == 'say "no" = never'
    assert line("two\nlines")["event"] == "two\\nlines"
