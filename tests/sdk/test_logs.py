"""Output of runners on the caller's terminal."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import rekindle
from rekindle.sdk import logs
from rekindle.wire import rekindle_pb2 as pb
from tests.sdk.fake_controller import FakeController

app = rekindle.App("logs")


@app.function()
def quiet(x: int) -> int:
    return x


def test_lines_are_printed_before_the_call_returns(
    controller: FakeController, capsys: pytest.CaptureFixture[str]
) -> None:
    with rekindle.enable_output(), app.run() as running:
        for i in range(50):
            controller.log(str(running.app_id), f"line {i}")
        controller.log(str(running.app_id), "an error", stream="stderr")
        controller.log(str(running.app_id), "a note", stream="system")
        controller.log(str(running.app_id), "no newline", partial=True)
        quiet.remote(1)
        shown = capsys.readouterr()
    assert shown.out == "".join(f"line {i}\n" for i in range(50)) + "no newline"
    assert shown.err == "an error\na note\n"


def test_without_enable_output_nothing_is_shown(
    controller: FakeController, capsys: pytest.CaptureFixture[str]
) -> None:
    with app.run() as running:
        controller.log(str(running.app_id), "line")
        quiet.remote(1)
    assert capsys.readouterr().out == ""


def test_what_comes_late_is_printed_at_the_end(
    controller: FakeController, capsys: pytest.CaptureFixture[str]
) -> None:
    with rekindle.enable_output(), app.run() as running:
        quiet.remote(1)
        controller.log(str(running.app_id), "the last words")
    assert capsys.readouterr().out == "the last words\n"


def test_nothing_is_printed_twice_after_a_lost_connection(
    controller: FakeController, capsys: pytest.CaptureFixture[str]
) -> None:
    with rekindle.enable_output(), app.run() as running:
        controller.log(str(running.app_id), "before")
        quiet.remote(1)
        controller.stop()
        controller.start()
        controller.log(str(running.app_id), "after")
        quiet.remote(1)
    assert capsys.readouterr().out == "before\nafter\n"


def test_lines_that_do_not_come_do_not_hold_a_result_for_long(
    controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_QUIET_S", 0.2)

    def promise(result: pb.Result) -> None:
        result.log_seq = 10_000

    controller.edit = promise
    with rekindle.enable_output(), app.run():
        assert quiet.remote(3) == 3


def test_results_behind_one_whose_lines_did_not_come_are_not_held_again(
    controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_QUIET_S", 0.2)
    waits = list[object]()
    is_late = logs.LogPrinter._is_late

    def late(self: logs.LogPrinter) -> bool:
        waits.append(self)
        return is_late(self)

    def promise(result: pb.Result) -> None:
        result.log_seq = 10_000

    monkeypatch.setattr(logs.LogPrinter, "_is_late", late)
    controller.edit = promise
    with rekindle.enable_output(), app.run():
        assert [quiet.remote(x) for x in range(3)] == [0, 1, 2]
        assert len(waits) == 1


def test_while_the_controller_is_away_no_call_waits_for_its_lines_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logs, "_QUIET_S", 3600.0)

    async def main() -> None:
        nobody: Any = None
        printer = logs.LogPrinter(nobody, "ap-1")
        waiting = asyncio.create_task(printer.marked("fc-0001"))
        await asyncio.sleep(0)
        printer.link_lost()
        async with asyncio.timeout(60):
            await waiting

    asyncio.run(main())


def test_a_terminal_that_has_gone_does_not_break_calls(
    controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    class Gone:
        def write(self, text: str) -> int:
            raise BrokenPipeError

        def flush(self) -> None: ...

    gone: Any = Gone()
    with rekindle.enable_output(), app.run() as running:
        monkeypatch.setattr(sys, "stdout", gone)
        controller.log(str(running.app_id), "line")
        assert quiet.remote(3) == 3


def test_many_lines_are_all_shown_before_the_call_returns(
    controller: FakeController, capsys: pytest.CaptureFixture[str]
) -> None:
    with rekindle.enable_output(), app.run() as running:
        controller.log(str(running.app_id), *(f"line {i}" for i in range(5_000)))
        quiet.remote(1)
        shown = capsys.readouterr()
    assert shown.out == "".join(f"line {i}\n" for i in range(5_000))


def test_each_line_has_the_time_when_it_was_written_and_a_part_that_goes_on_has_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def line(text: str, runner_id: str, partial: bool = False) -> pb.LogLine:
        return pb.LogLine(
            text=text, runner_id=runner_id, stream="stdout", at_ns=10**18, partial=partial
        )

    at = f"{logs.when(10**18)} "
    with logs.timestamps(True):
        logs.show(line("one\ntwo", "ru-1"))
        logs.show(line("1 %", "ru-1", partial=True))
        logs.show(line(" 2 %\nthree", "ru-1"))
        logs.show(line("four", "ru-2"))
    logs.show(line("five", "ru-2"))
    assert capsys.readouterr().out == (
        f"{at}one\n{at}two\n{at}1 % 2 %\n{at}three\n{at}four\nfive\n"
    )


def test_output_that_cannot_be_followed_any_more_is_told(
    controller: FakeController,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(self: logs.LogPrinter, line: object) -> None:
        raise ValueError("no such line")

    monkeypatch.setattr(logs.LogPrinter, "_take", broken)
    with rekindle.enable_output(), app.run() as running:
        controller.log(str(running.app_id), "line")
        assert quiet.remote(3) == 3
    assert "output is no longer shown: ValueError: no such line" in capsys.readouterr().err
