"""Structured logs of rekindle's daemons: one line an event, on standard error.

``key=value`` pairs, or JSON with ``REKINDLE_LOG_FORMAT=json``. Every line begins with the same four
keys: ts, level, component, event. Standard library only. Nothing here knows what is logged.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
from collections.abc import Mapping
from types import TracebackType

_PLAIN = re.compile(r"^[\w./:@+,%-]+$")
#: Keys that every line has; a field of the same name gets an underscore behind it.
_OWN = frozenset({"ts", "level", "component", "event"})

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("kv", "json")


def _quote(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    if _PLAIN.match(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


class _Formatter(logging.Formatter):
    def __init__(self, component: str) -> None:
        super().__init__()
        self._component = component

    def _pairs(self, record: logging.LogRecord) -> dict[str, object]:
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        pairs: dict[str, object] = {
            "ts": f"{when}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "component": self._component,
            "event": record.getMessage(),
        }
        fields = getattr(record, "fields", None)
        if isinstance(fields, dict):
            pairs |= {f"{key}_" if key in _OWN else key: value for key, value in fields.items()}
        if record.exc_info:
            pairs["traceback"] = self.formatException(record.exc_info)
        return pairs


class KeyValueFormatter(_Formatter):
    """``ts=... level=... component=... event="..." key=value ...``, always one line."""

    def format(self, record: logging.LogRecord) -> str:
        return " ".join(f"{key}={_quote(value)}" for key, value in self._pairs(record).items())


class JsonFormatter(_Formatter):
    """The same as a JSON object. Numbers and truth values stay what they are."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(self._pairs(record), default=str, ensure_ascii=False)


def configure(component: str, environ: Mapping[str, str] | None = None) -> None:
    """Send every log line of this process to standard error, one line each.

    ``REKINDLE_LOG_FORMAT`` (kv or json) says how, ``REKINDLE_LOG_LEVEL`` (debug, info, warning or
    error) from which level on. Where one of them is unknown, the first line says so.
    """
    env = os.environ if environ is None else environ
    form = env.get("REKINDLE_LOG_FORMAT", "").lower() or "kv"
    level = env.get("REKINDLE_LOG_LEVEL", "").lower() or "info"
    handler = logging.StreamHandler(sys.stderr)
    kind = JsonFormatter if form == "json" else KeyValueFormatter
    handler.setFormatter(kind(component))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper() if level in LEVELS else "INFO")
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    for name, value, known, used in (
        ("REKINDLE_LOG_FORMAT", form, FORMATS, "kv"),
        ("REKINDLE_LOG_LEVEL", level, LEVELS, "info"),
    ):
        if value not in known:
            fields = kv(name=name, value=value, known=", ".join(known), used=used)
            logging.getLogger(__name__).warning("unknown setting", extra=fields)


def last_words(component: str, event: str, error: BaseException) -> bytes:
    """One line, with its newline, for a process that ends by an error and has no logger."""
    record = logging.makeLogRecord(
        {
            "msg": event,
            "levelname": "ERROR",
            **kv(error=type(error).__name__, reason=error),
        }
    )
    form = os.environ.get("REKINDLE_LOG_FORMAT", "").lower()
    kind = JsonFormatter if form == "json" else KeyValueFormatter
    return kind(component).format(record).encode(errors="replace") + b"\n"


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        logging.getLogger().critical("ended by an error", exc_info=(kind, error, trace))


def kv(**fields: object) -> dict[str, dict[str, object]]:
    """The ``extra=`` of a log call: ``log.info("agent joined", extra=kv(agent=agent_id))``."""
    return {"fields": fields}
