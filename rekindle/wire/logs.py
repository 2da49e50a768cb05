"""Structured logs of rekindle's daemons: one ``key=value`` line an event, on standard error.

Standard library only. Nothing here knows what is logged.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time

_PLAIN = re.compile(r"^[\w./:@+,%-]+$")


def _quote(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    if _PLAIN.match(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


class KeyValueFormatter(logging.Formatter):
    """``ts=... level=... component=... event="..." key=value ...``, always one line."""

    def __init__(self, component: str) -> None:
        super().__init__()
        self._component = component

    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        pairs: list[tuple[str, object]] = [
            ("ts", f"{when}.{int(record.msecs):03d}Z"),
            ("level", record.levelname.lower()),
            ("component", self._component),
            ("event", record.getMessage()),
        ]
        fields = getattr(record, "fields", None)
        if isinstance(fields, dict):
            pairs.extend(fields.items())
        if record.exc_info:
            pairs.append(("error", self.formatException(record.exc_info)))
        return " ".join(f"{key}={_quote(value)}" for key, value in pairs)


def configure(component: str) -> None:
    """Send every log line of this process to standard error as ``key=value``.

    The level is ``$REKINDLE_LOG_LEVEL`` (``info`` where it is not set or unknown).
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(KeyValueFormatter(component))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    wanted = os.environ.get("REKINDLE_LOG_LEVEL", "info").upper()
    root.setLevel(wanted if wanted in logging.getLevelNamesMapping() else "INFO")


def kv(**fields: object) -> dict[str, dict[str, object]]:
    """The ``extra=`` of a log call: ``log.info("agent joined", extra=kv(agent=agent_id))``."""
    return {"fields": fields}
