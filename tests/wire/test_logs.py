"""Log lines are one line each, as pairs or as JSON, whatever is in them."""

from __future__ import annotations

import json
import logging
import os
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

from rekindle.wire.logs import LineFormatter, kv, last_words


def line(message: str, **fields: object) -> dict[str, str]:
    """One record, formatted and taken apart."""
    record = logging.makeLogRecord(
        {"msg": message, "levelname": "INFO", "created": 0.25, "msecs": 250.0, **kv(**fields)}
    )
    text = LineFormatter("agent", as_json=False).format(record)
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


def test_json_lines_keep_numbers_and_put_a_traceback_on_one_line() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = logging.makeLogRecord(
            {
                "msg": "went wrong",
                "levelname": "ERROR",
                "exc_info": sys.exc_info(),
                **kv(count=3, took_s=0.5, path=Path("x"), level="warm"),
            }
        )
    text = LineFormatter("controller", as_json=True).format(record)
    assert "\n" not in text
    parts = json.loads(text)
    assert list(parts)[:4] == ["ts", "level", "component", "event"]
    assert (parts["level"], parts["level_"]) == ("error", "warm")
    assert (parts["count"], parts["took_s"], parts["path"]) == (3, 0.5, "x")
    assert parts["traceback"].endswith("ValueError: two\nlines")
    [plain] = LineFormatter("controller", as_json=False).format(record).splitlines()
    assert "level_=warm" in plain


def said(program: str, **environ: str) -> list[str]:
    """What a process that configures its logs writes to standard error."""
    ended = subprocess.run(
        [sys.executable, "-c", "from rekindle.wire import logs\n" + textwrap.dedent(program)],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ended.stderr.splitlines()


PROGRAM = """
    import logging, warnings
    logs.configure("agent")
    logging.getLogger("x").info("hello", extra=logs.kv(n=1))
    logging.getLogger("x").warning("careful")
    warnings.warn("odd")
    raise RuntimeError("on purpose")
"""


def test_everything_that_a_process_says_is_one_line_an_event() -> None:
    lines = said(PROGRAM, REKINDLE_LOG_FORMAT="json", REKINDLE_LOG_LEVEL="")
    told = [json.loads(line) for line in lines]
    assert [one["event"].split(":")[0] for one in told][:2] == ["hello", "careful"]
    assert "odd" in told[2]["event"]
    assert told[3]["event"] == "ended by an error"
    assert told[3]["traceback"].endswith("RuntimeError: on purpose")
    assert {one["component"] for one in told} == {"agent"}
    assert len(said(PROGRAM, REKINDLE_LOG_FORMAT="kv", REKINDLE_LOG_LEVEL="info")) == 4
    interrupted = PROGRAM.replace('RuntimeError("on purpose")', "KeyboardInterrupt")
    assert len(said(interrupted, REKINDLE_LOG_FORMAT="kv", REKINDLE_LOG_LEVEL="info")) == 4


def test_the_level_is_what_was_asked_for_and_an_unknown_one_is_told() -> None:
    assert "hello" not in "\n".join(said(PROGRAM, REKINDLE_LOG_LEVEL="warning"))
    first = said(PROGRAM, REKINDLE_LOG_LEVEL="loud", REKINDLE_LOG_FORMAT="")[0]
    for part in ("REKINDLE_LOG_LEVEL", "value=loud", "debug, info, warning, error", "used=info"):
        assert part in first


def test_last_words_are_a_line_like_the_others() -> None:
    words = last_words("spawner", "init failed", OSError(1, "not\npermitted")).decode()
    assert words.count("\n") == 1
    parts = dict(part.split("=", 1) for part in shlex.split(words))
    assert (parts["level"], parts["component"], parts["event"]) == (
        *("error", "spawner", "init failed"),
    )
    assert parts["error"] == "PermissionError"
