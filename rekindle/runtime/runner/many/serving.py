"""The life of a runner that has several inputs at a time, once it is ready."""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from rekindle.execution import nesting
from rekindle.forkserver import exception_hooks, forking
from rekindle.runtime.runner.many import prints
from rekindle.runtime.runner.many.batches import Batches
from rekindle.runtime.runner.many.concurrent import Concurrent
from rekindle.runtime.runner.many.execution import Running
from rekindle.runtime.runner.many.intake import Intake
from rekindle.runtime.runner.orphans import Orphans
from rekindle.runtime.runner.service import Service
from rekindle.wire.frames import FrameSocket
from rekindle.wire.page import RunnerPage
from rekindle.wire.reuse import IDLE_S, drop_idle

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping


def serve(
    service: Service, channel: FrameSocket, page: RunnerPage, sharing: Mapping[str, Any]
) -> None:
    """Serve until the agent orders the end. Raises FrameError: the agent is gone."""
    nesting.attach(page)
    prints.install()
    intake = Intake(channel, page, service.what)
    if sharing["max_batch_size"]:
        wait_s = sharing["wait_ms"] / 1000
        batches = Batches(service, intake, sharing["max_batch_size"], wait_s)
        intake.take = batches.take
        batches.serve()
        return
    engine = Concurrent(service, Running(page))
    intake.take = engine.take
    if engine.wants_loop:
        engine.loop = service.event_loop()
        _serve_on_loop(engine.loop, intake)
        return
    orphans = Orphans()
    while not intake.stopped:
        orphans.look(perf_counter_ns())
        if not service.wait(intake.fileno(), IDLE_S):
            drop_idle()
        intake.pump()


def _serve_on_loop(loop: asyncio.AbstractEventLoop, intake: Intake) -> None:
    over: asyncio.Future[None] = loop.create_future()
    orphans = Orphans()

    def pump() -> None:
        forking.end_users_child()  # of a task that no input waits for
        try:
            intake.pump()
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            if not over.done():
                over.set_exception(error)
            return
        if intake.stopped and not over.done():
            over.set_result(None)

    def tidy() -> None:
        drop_idle()
        orphans.look(perf_counter_ns())
        loop.call_later(IDLE_S, tidy)

    loop.add_reader(intake.fileno(), pump)
    loop.call_later(IDLE_S, tidy)
    while not over.done():
        try:
            loop.run_until_complete(over)
        except BaseException as error:  # noqa: BLE001 - of a task that no input waits for
            forking.end_users_child(error)
            if not over.done():
                exception_hooks.print_error(error)
    loop.remove_reader(intake.fileno())
    over.result()
