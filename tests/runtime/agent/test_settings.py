"""What an operator may set on an agent."""

from __future__ import annotations

from pathlib import Path

import pytest

from rekindle.exception import InvalidError
from rekindle.runtime.agent import settings


@pytest.mark.parametrize(
    ("text", "bytes_"), [("400M", 400 << 20), ("1.5 GiB", 3 << 29), ("0", 0), ("1000", 1000)]
)
def test_what_arrives_is_bounded_by_a_size_written_as_other_budgets_are(
    monkeypatch: pytest.MonkeyPatch, text: str, bytes_: int
) -> None:
    monkeypatch.setenv("REKINDLE_LAZY_BYTES", text)
    assert settings.lazy_bytes() == bytes_


def test_what_is_no_size_is_refused_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REKINDLE_LAZY_BYTES", "some")
    with pytest.raises(InvalidError, match="REKINDLE_LAZY_BYTES: 'some' is no size"):
        settings.lazy_bytes()


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("MAX_RUNNERS", "9" * 5000, "from 1 to"),
        ("MAX_RUNNERS", "0", "from 1 to"),
        ("MAX_RUNNERS", "many", "from 1 to"),
        ("MAX_WAITING_RUNNERS", "-1", "from 0 to"),
        ("MAX_CALL_DEPTH", "9" * 5000, "from 1 to 100"),
        ("GPU_HELD_MIB", "9" * 5000, "must be a number of MiB"),
        ("LAZY_BYTES", "9" * 400, "is too large"),
        ("LAZY_BYTES", "some", "is no size"),
        ("POOL_REST_S", "0", "must be seconds, from 1 to"),
        ("MEMORY_BUDGET_BYTES", "0", "is no memory"),
        ("MEMORY_BUDGET_BYTES", "all", "is no size"),
        ("SNAPSHOT_BUDGET_BYTES", "x", "is no size"),
        ("SNAPSHOT_BUDGET_BYTES", "-1", "-1.*is no size"),
        ("IMAGES_BUDGET_BYTES", "-1", "-1.*is no size"),
        ("MAP_HUGE_PAGES", "maybe", "must be 1, or 0 for no"),
        ("STORE_URL", "simplecache::memory://", "is a chain"),
        ("VOLUMES_URL", "nosuch://x", "Protocol not known: nosuch; name a folder"),
        ("VOLUMES", "here", "must be an absolute path"),
        ("VOLUMES", "/dev/null/x", "is in /dev/null, which is no folder"),
        ("IMAGES", "/dev/null/x", "is in /dev/null, which is no folder"),
        ("VOLUMES", "/dev/null", "is no folder: name another place"),
        ("IMAGES", "/dev/null", "is no folder: name another place"),
        ("IMAGES", f"/tmp/{'n' * 256}", "File name too long"),
        ("CRIU", "here", "must be an absolute path"),
        ("NVML_RECORDING", "/no/such", "is not there"),
        ("DRIVER_DIR", "/no/such", "there is no libcuda.so.1 in it"),
    ],
)
def test_what_is_looked_up_later_only_is_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, allowed: str
) -> None:
    monkeypatch.setenv(f"REKINDLE_{variable}", value)
    with pytest.raises(InvalidError, match=f"REKINDLE_{variable}.*{allowed}"):
        settings.AgentSettings(tmp_path)
