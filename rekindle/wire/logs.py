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
from types import TracebackType

from rekindle.exception import InvalidError

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


class LineFormatter(logging.Formatter):
    """Always one line: ``ts=... level=... component=... event="..." key=value ...``.

    Or the same as a JSON object, in which numbers and truth values stay what they are.
    """

    def __init__(self, component: str, *, as_json: bool) -> None:
        super().__init__()
        self._component = component
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
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
        if self._as_json:
            return json.dumps(pairs, default=str, ensure_ascii=False)
        return " ".join(f"{key}={_quote(value)}" for key, value in pairs.items())


def configure(component: str) -> None:
    """Send every log line of this process to standard error, one line each.

    ``REKINDLE_LOG_FORMAT`` (kv or json) says how, ``REKINDLE_LOG_LEVEL`` (debug, info, warning or
    error) from which level on. Where one of them is unknown, the first line says so.
    """
    form = _format()
    level = os.environ.get("REKINDLE_LOG_LEVEL", "").lower() or "info"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(component, as_json=form == "json"))
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


def check_settings() -> None:
    """Raises InvalidError for a ``REKINDLE_LOG_FORMAT`` or ``REKINDLE_LOG_LEVEL`` that is none."""
    for name, known in (("REKINDLE_LOG_FORMAT", FORMATS), ("REKINDLE_LOG_LEVEL", LEVELS)):
        value = os.environ.get(name, "")
        if value and value.lower() not in known:
            raise InvalidError(f"{name}={value!r} must be one of {', '.join(known)}")


def last_words(component: str, event: str, error: BaseException) -> bytes:
    """One line, with its newline, for a process that ends by an error and has no logger."""
    fields = kv(error=type(error).__name__, reason=error)
    record = logging.makeLogRecord({"msg": event, "levelname": "ERROR", **fields})
    line = LineFormatter(component, as_json=_format() == "json").format(record)
    return line.encode(errors="replace") + b"\n"


def _format() -> str:
    return os.environ.get("REKINDLE_LOG_FORMAT", "").lower() or "kv"


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logging.getLogger().critical("ended by an error", exc_info=(kind, error, trace))


def kv(**fields: object) -> dict[str, dict[str, object]]:
    """The ``extra=`` of a log call: ``log.info("agent joined", extra=kv(agent=agent_id))``."""
    return {"fields": fields}
