"""What a daemon does again and again goes on after a pass that failed, and the log says so."""

from __future__ import annotations

import asyncio
import logging

import pytest

from rekindle import guarded_loops
from rekindle.guarded_loops import Guard, Retries, repeat


def _logged(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Without what threads and garbage of tests before these log meanwhile."""
    return [one for one in caplog.records if one.name in (guarded_loops.__name__, "a")]


def test_a_loop_goes_on_after_passes_that_failed_and_logs_each_type_of_error_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded_loops, "_AFTER_FAILURE_S", 0.0)
    raised = [OSError("no memory read"), RuntimeError("can't start new thread"), OSError("again")]

    async def main() -> None:
        well = asyncio.Event()

        async def one_pass() -> None:
            if raised:
                raise raised.pop(0)
            well.set()
            await asyncio.Event().wait()

        loop = asyncio.create_task(repeat("look", one_pass))
        await well.wait()
        loop.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loop

    asyncio.run(asyncio.wait_for(main(), 30))
    logged = [record.exc_info[1] for record in _logged(caplog) if record.exc_info]
    assert [str(error) for error in logged] == ["no memory read", "can't start new thread"]
    assert _logged(caplog)[0].__dict__["fields"] == {"of": "look"}


def test_a_pass_that_fails_is_followed_at_once_by_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that never gets to its wait would take all of a processor."""
    monkeypatch.setattr(guarded_loops, "_AFTER_FAILURE_S", 3600.0)
    passes = 0

    async def one_pass() -> None:
        nonlocal passes
        passes += 1
        raise ValueError

    async def main() -> None:
        loop = asyncio.create_task(repeat("look", one_pass))
        for _ in range(10):
            await asyncio.sleep(0)
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)

    asyncio.run(main())
    assert passes == 1


def test_the_same_error_of_another_thing_is_logged_too(caplog: pytest.LogCaptureFixture) -> None:
    guard = Guard("look")
    for function in ("one", "other", "one"):
        with guard.one_pass(function=function):
            raise OSError("away")
    assert [record.__dict__["fields"]["function"] for record in _logged(caplog)] == ["one", "other"]


def test_an_error_that_lasts_is_logged_again_after_a_while(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(guarded_loops.time, "monotonic", lambda: now)
    guard = Guard("look")

    def fail() -> None:
        with guard.one_pass(function="f"):
            raise OSError("away")
        assert guard.failed

    fail()
    fail()
    assert len(_logged(caplog)) == 1
    now += 60.0
    fail()
    assert len(_logged(caplog)) == 2
    assert _logged(caplog)[1].__dict__["fields"] == {"of": "look", "function": "f"}
    with guard.one_pass():
        pass
    assert not guard.failed


def test_what_fails_for_good_is_tried_ever_more_seldom_and_each_cause_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    retries = Retries(logging.getLogger("a"), "not yet", "again", first_s=1.0, longest_s=5.0)
    waits = [retries.failed(f"no answer for {n}.{n} s", queue="q") for n in range(5)]
    assert waits == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert retries.failed("refused", queue="q") == 5.0
    assert [record.getMessage() for record in _logged(caplog)] == ["not yet", "not yet"]
    assert _logged(caplog)[1].__dict__["fields"] == {"reason": "refused", "queue": "q"}
    retries.worked(queue="q")
    retries.worked(queue="q")
    assert [record.getMessage() for record in _logged(caplog)[2:]] == ["again"]
    assert retries.failed("refused") == 1.0
    assert _logged(caplog)[-1].getMessage() == "not yet"
