"""What a client reports as taken: together, and once more where no answer came."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from rekindle.exception import ConnectionError, Error, InvalidError, ServiceError
from rekindle.sdk.connection import taken
from rekindle.sdk.connection.taken import TakenReports
from rekindle.wire import rekindle_pb2 as pb
from tests.controller.harness import in_loop


class Controller:
    """Answers reports, or not."""

    def __init__(self) -> None:
        self.heard: list[set[str]] = []
        self.fails: list[Error] = []
        self.reports = TakenReports(asyncio.get_running_loop(), self._hear)

    async def _hear(self, request: pb.TakenRequest, patience_s: float) -> None:
        assert patience_s > 0
        if self.fails:
            raise self.fails.pop(0)
        self.heard.append({one.call_id for one in request.calls})


async def reported_once(*fails: Error) -> Controller:
    """A controller that fails so, after a first report."""
    controller = Controller()
    controller.fails = list(fails)
    controller.reports.note("fc-1", "fu-1", whole=True)
    await controller.reports.flush()
    return controller


@in_loop
async def test_what_got_no_answer_is_reported_with_what_comes_next() -> None:
    controller = Controller()
    reports = controller.reports
    controller.fails = [ServiceError("not answered")]
    for call_id in ("fc-1", "fc-2"):
        reports.note(call_id, "fu-1", whole=True)
    await reports.flush()
    assert reports and controller.heard == []
    reports.note("fc-3", "fu-1", whole=True)
    await reports.flush()
    assert controller.heard == [{"fc-1", "fc-2", "fc-3"}]
    assert not reports
    reports.end()


@in_loop
async def test_what_got_no_answer_is_reported_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    controller = Controller()
    monkeypatch.setattr(taken, "_AGAIN_S", 0.01)
    controller.fails = [ConnectionError("no controller answers")]
    controller.reports.note("fc-1", "fu-1", [0, 1])
    await controller.reports.flush()
    while controller.reports:
        await asyncio.sleep(0.01)
    assert controller.heard == [{"fc-1"}]


@in_loop
async def test_what_comes_next_does_not_wait_as_long_as_what_got_no_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    controller = Controller()
    reports = controller.reports
    monkeypatch.setattr(taken, "_AGAIN_S", 1000.0)
    controller.fails = [ServiceError("not answered")]
    reports.note("fc-1", "fu-1", whole=True)
    await reports.flush()
    reports.note("fc-2", "fu-1", whole=True)
    while reports:
        await asyncio.sleep(0.01)
    assert controller.heard == [{"fc-1", "fc-2"}]


@in_loop
async def test_what_got_no_answer_while_a_report_was_due_waits_all_the_same() -> None:
    controller = Controller()
    reports: Any = controller.reports
    send_later, waits = reports._send_later, []

    def noted(after_s: float) -> Coroutine[Any, Any, None]:
        waits.append(after_s)
        return send_later(after_s)  # type: ignore[no-any-return]

    reports._send_later = noted
    controller.fails = [ServiceError("not answered")]
    reports.note("fc-1", "fu-1", whole=True)
    await asyncio.sleep(0)  # it is due
    await reports.flush()
    assert waits == [taken._AFTER_S, taken._AGAIN_S] and reports
    reports.end()


@in_loop
async def test_more_of_a_call_that_got_no_answer_is_sent_twice_itself() -> None:
    controller = Controller()
    controller.fails = [ServiceError("not answered"), ServiceError("not answered")]
    for index in range(2):
        controller.reports.note("fc-1", "fu-1", [index])
        await controller.reports.flush()
    assert controller.reports
    await controller.reports.flush()
    assert controller.heard == [{"fc-1"}]


@in_loop
async def test_what_got_no_answer_twice_is_let_go() -> None:
    controller = await reported_once(ServiceError("not answered"), ServiceError("not answered"))
    assert controller.reports
    await controller.reports.flush()
    assert not controller.reports
    controller.reports.end()


@in_loop
async def test_what_was_refused_is_not_reported_again() -> None:
    controller = await reported_once(InvalidError("makes no sense"))
    assert not controller.reports


@in_loop
async def test_a_client_that_closes_keeps_nothing_to_report() -> None:
    controller = await reported_once(ServiceError("not answered"))
    controller.reports.end()
    assert not controller.reports
    await asyncio.sleep(0)  # what was cancelled ends
    assert asyncio.all_tasks() == {asyncio.current_task()}


@in_loop
async def test_reports_that_get_no_answer_do_not_pile_up() -> None:
    controller = Controller()
    reports = controller.reports

    controller.fails = [ServiceError("not answered") for _ in range(20)]
    for number in range(20_000):
        reports.note(f"fc-{number}", "fu-1", whole=True)
    for _ in range(20):
        await reports.flush()
    controller.fails = []
    reports.note("fc-last", "fu-1", whole=True)
    await reports.flush()
    assert "fc-last" in controller.heard[-1]
    assert sum(map(len, controller.heard)) < 20_000
    reports.end()
