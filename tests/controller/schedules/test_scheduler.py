"""Schedules with a clock of the test's and a real Redis: one run for each due time, ends included.

The controller's parts run in this process, without its sockets and its loop that waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import DecodeError

from rekindle.controller.storage import keys
from rekindle.exception import NotFoundError, ServiceError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.messages import spec_message
from tests.controller import in_process
from tests.controller.harness import Instance, in_loop, new_id, running_instance, spec
from tests.controller.in_process import parts_of

HOUR = 3600.0
HOURLY = pb.Schedule(seconds=HOUR, payload=b"nothing")
DAILY = pb.Schedule(cron="0 9 * * *", payload=b"nothing")


class Clock:
    """A clock that the test sets."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Controller:
    """The parts of a controller, of which nothing runs by itself."""

    def __init__(self, instance: Instance, clock: Clock) -> None:
        self.parts = parts_of(instance)
        self.instance_id = self.parts.core.state.instance_id
        self.parts.deployments._clock = clock
        self.schedules = self.parts.schedules
        self.schedules.clock = clock

    async def load(self) -> Controller:
        """Read back what there was."""
        await self.parts.deployed.load()
        for stored in await self.parts.registry.load_apps():
            app = await self.parts.apps.restore(stored)
            for function in app.functions.values():
                await self.parts.loader.recover(function, orphaned=False)
            self.parts.deployments.restored(app)
        await self.schedules.load()
        return self

    async def deploy(self, name: str, **functions: pb.Schedule | None) -> None:
        """Deploy an app; its schedules are followed then."""
        definitions = [
            pb.FunctionDef(spec=spec_message(spec(one)), code=b"code", schedule=schedule)
            for one, schedule in functions.items()
        ]
        app = pb.RegisterAppRequest(app_id=new_id("ap"), name=name, functions=definitions)
        await self.parts.deployments.deploy(pb.DeployRequest(app=app))
        await self.schedules.follow(name)

    async def queued(self) -> list[str]:
        """The calls that are in queues of functions, as Redis has them."""
        link = self.parts.link
        found = []
        for key in sorted(await link.command("KEYS", "rk:q:*")):
            for _, fields in await link.command("XRANGE", key, "-", "+"):
                words = fields.values() if isinstance(fields, dict) else fields[1::2]
                found += [one for one in map(_call_of, words) if one]
        return found

    async def report(self, app: str = "") -> list[pb.ScheduleStatus]:
        """What people are shown."""
        return list((await self.parts.schedule_report.make(app)).schedules)

    async def end(self) -> None:
        """As if it were killed: what it had begun does not go on."""
        await in_process.end(self.parts)


def _call_of(raw: bytes) -> str:
    try:
        call_id = pb.SubmitRequest.FromString(raw).call_id
    except DecodeError:
        return ""
    return call_id if call_id.startswith("fc-") else ""


def scheduled(test: Callable[..., Any]) -> Callable[[], None]:
    """A test that gets an instance with a Redis, and a clock."""

    def run() -> None:
        with running_instance(start=False) as instance:
            instance.start_redis()
            in_loop(lambda: test(instance, Clock()))()

    run.__name__ = test.__name__
    return run


@scheduled
async def test_each_due_time_has_one_run(instance: Instance, clock: Clock) -> None:
    one = await Controller(instance, clock).load()
    await one.deploy("app", f=HOURLY, quiet=None)
    assert await one.schedules.step() == clock.now + HOUR
    assert await one.queued() == []
    for count in range(1, 4):
        clock.now += HOUR
        wake_at = await one.schedules.step()
        assert wake_at == clock.now + HOUR
        await one.schedules.step()
        assert len(set(await one.queued())) == len(await one.queued()) == count
    (status,) = await one.report()
    assert (status.app, status.function, status.schedule) == ("app", "f", "every 1 h")
    assert (status.runs, status.missed, status.next) == (3, 0, clock.now + HOUR)
    assert [run.state for run in status.last] == ["waiting"] * 3
    assert status.last[0].due == clock.now
    await one.end()


@scheduled
async def test_a_clock_that_is_set_back_runs_nothing_twice(
    instance: Instance, clock: Clock
) -> None:
    one = await Controller(instance, clock).load()
    await one.deploy("app", f=HOURLY)
    clock.now += 3 * HOUR
    await one.schedules.step()
    ran = clock.now
    clock.now -= 2.5 * HOUR
    assert await one.schedules.step() == ran + HOUR
    await one.end()
    other = await Controller(instance, clock).load()
    clock.now = ran + HOUR / 2
    assert await other.schedules.step() == ran + HOUR
    assert len(await other.queued()) == 1
    clock.now = ran + HOUR
    await other.schedules.step()
    assert len(await other.queued()) == 2
    await other.end()


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "after_a_restart"])
def test_after_a_clock_that_was_years_ahead_schedules_go_on_from_now(restarted: bool) -> None:
    @scheduled
    async def run(instance: Instance, clock: Clock) -> None:
        one = await Controller(instance, clock).load()
        began = clock.now
        await one.deploy("app", daily=DAILY, hourly=HOURLY)
        clock.now += 100_000 * HOUR
        await one.deploy("later", hourly=HOURLY)
        await one.schedules.step()
        before = await one.queued()
        assert len(before) == 2
        clock.now = began + 12.5 * HOUR
        if restarted:
            await one.end()
            one = await Controller(instance, clock).load()
        assert await one.schedules.step() == began + 13 * HOUR
        assert await one.queued() == before
        ends = {"app/daily": 0, "app/hourly": 0, "later/hourly": 0}
        for hours in range(13, 13 + 48):
            clock.now = began + hours * HOUR
            await one.schedules.step()
            await one.schedules.step()
        for status in await one.report():
            ends[f"{status.app}/{status.function}"] = status.runs
        assert ends == {"app/daily": 1 + 2, "app/hourly": 1 + 48, "later/hourly": 47}
        await one.end()

    run()


@scheduled
async def test_what_was_missed_is_run_once_for_the_latest_time(
    instance: Instance, clock: Clock
) -> None:
    one = await Controller(instance, clock).load()
    began = clock.now
    await one.deploy("app", f=HOURLY)
    await one.end()
    clock.now += 30.5 * HOUR
    other = await Controller(instance, clock).load()
    assert await other.schedules.step() == began + 31 * HOUR
    assert len(await other.queued()) == 1
    (status,) = await other.report()
    assert (status.runs, status.missed, status.last[0].due) == (1, 29, began + 30 * HOUR)
    await other.end()


@pytest.mark.parametrize("submitted", [False, True], ids=["claimed", "submitted"])
def test_a_controller_that_ends_within_a_run_leaves_just_one(submitted: bool) -> None:
    """It ends when the due time is claimed and its call is, or is not, in the queue."""

    async def body(instance: Instance, clock: Clock) -> None:
        one = await Controller(instance, clock).load()
        await one.deploy("app", f=HOURLY)
        clock.now += HOUR
        real, reached = one.schedules._submit, asyncio.Event()

        async def ends(*args: Any) -> Any:
            if submitted:
                await real(*args)
            reached.set()
            await asyncio.Event().wait()

        one.schedules._submit = ends  # type: ignore[method-assign]
        step = asyncio.create_task(one.schedules.step())
        await reached.wait()
        step.cancel()
        await asyncio.gather(step, return_exceptions=True)
        assert len(await one.queued()) == int(submitted)
        (before,) = await one.report()
        await one.end()
        # Its successor finds another version of the app's code, too, when it has claimed.
        other = await Controller(instance, clock).load()
        await other.deploy("app", f=HOURLY, more=None)
        await other.schedules.step()
        await other.schedules.step()
        queued = await other.queued()
        (after,) = await other.report()
        assert queued == [before.last[0].call_id] == [run.call_id for run in after.last]
        assert after.runs == 1
        await other.end()

    scheduled(body)()


@pytest.mark.parametrize("moved", [False, True], ids=["before_its_apps", "after_its_apps"])
def test_a_controller_that_ends_within_a_rename_runs_no_due_time_again(moved: bool) -> None:
    """It ends before, or after, the app of an environment is called otherwise."""

    async def body(instance: Instance, clock: Clock) -> None:
        one = await Controller(instance, clock).load()
        await one.deploy("old/app", f=HOURLY)
        clock.now += HOUR
        await one.schedules.step()
        real, reached = one.parts.deployments.rename, asyncio.Event()

        async def ends(*args: Any) -> None:
            if moved:
                await real(*args)
            reached.set()
            await asyncio.Event().wait()

        one.parts.deployments.rename = ends  # type: ignore[method-assign]
        renaming = asyncio.create_task(one.parts.environments.rename("old", "new"))
        await reached.wait()
        renaming.cancel()
        await asyncio.gather(renaming, return_exceptions=True)
        await one.end()
        other = await Controller(instance, clock).load()
        assert await other.schedules.step() == clock.now + HOUR
        assert len(await other.queued()) == 1
        await other.parts.environments.rename("old", "new")
        await other.schedules.step()
        assert [(of.app, of.runs) for of in await other.report()] == [("new/app", 1)]
        clock.now += HOUR
        await other.schedules.step()
        assert len(await other.queued()) == 2
        kept = await other.parts.link.command("HKEYS", keys.schedules(other.instance_id))
        assert kept == [b"new/app/f"]
        await other.end()

    scheduled(body)()


@scheduled
async def test_a_rename_that_is_made_again_moves_what_was_run_since_it_came_to_nothing(
    instance: Instance, clock: Clock
) -> None:
    one = await Controller(instance, clock).load()
    await one.deploy("old/app", f=HOURLY)
    await one.schedules.rename("old/app", "new/app")
    await one.schedules.follow("old/app")  # in the end it is not called otherwise
    clock.now += HOUR
    await one.schedules.step()
    await one.parts.environments.rename("old", "new")
    await one.end()
    other = await Controller(instance, clock).load()
    await other.schedules.step()
    assert len(await other.queued()) == 1
    assert [(of.app, of.runs) for of in await other.report()] == [("new/app", 1)]
    await other.end()


@scheduled
async def test_of_two_controllers_one_runs_a_due_time(instance: Instance, clock: Clock) -> None:
    one = await Controller(instance, clock).load()
    await one.deploy("app", **{f"f{i}": HOURLY for i in range(20)})
    other = await Controller(instance, clock).load()
    clock.now += HOUR
    await asyncio.gather(one.schedules.step(), other.schedules.step())
    await asyncio.gather(one.schedules.step(), other.schedules.step())
    queued = await one.queued()
    assert len(queued) == len(set(queued)) == 20
    await one.end()
    await other.end()


@scheduled
async def test_a_new_version_keeps_the_rhythm_and_a_stopped_app_has_none(
    instance: Instance, clock: Clock
) -> None:
    one = await Controller(instance, clock).load()
    await one.deploy("app", f=HOURLY)
    clock.now += 0.5 * HOUR
    await one.deploy("app", f=HOURLY, more=None)
    assert await one.schedules.step() == clock.now + 0.5 * HOUR
    await one.deploy("app", f=pb.Schedule(seconds=2 * HOUR, payload=b"nothing"))
    assert await one.schedules.step() == clock.now + 2 * HOUR
    await one.parts.deployments.stop("app")
    await one.schedules.follow("app")
    clock.now += 10 * HOUR
    await one.schedules.step()
    assert await one.queued() == [] and await one.report() == []
    # What was due while it was stopped was not missed.
    await one.deploy("app", f=HOURLY)
    assert await one.schedules.step() == clock.now + HOUR
    assert await one.queued() == []
    await one.end()


@scheduled
async def test_schedules_are_looked_at_again_after_an_error(
    instance: Instance, clock: Clock
) -> None:
    one = await Controller(instance, clock).load()
    await one.deploy("app", f=HOURLY)
    clock.now += HOUR
    real, refused = one.schedules._run_due, asyncio.Event()

    async def refuses(*_: Any) -> bool:
        refused.set()
        one.schedules._run_due = real  # type: ignore[method-assign]
        raise ServiceError("Redis refused a command: NOPERM")

    one.schedules._run_due = refuses  # type: ignore[method-assign]
    running = asyncio.create_task(one.schedules.run())
    await refused.wait()
    while not await one.queued():
        await asyncio.sleep(0.02)  # it gives no event
    running.cancel()
    await one.end()


@scheduled
async def test_a_schedule_that_redis_has_lost_is_run_as_it_is_known(
    instance: Instance, clock: Clock
) -> None:
    one = await Controller(instance, clock).load()
    await one.deploy("app", f=HOURLY, g=HOURLY)
    for count in range(1, 3):
        clock.now += HOUR
        await one.parts.link.command("HDEL", keys.schedules(one.instance_id), "app/f")
        await one.schedules.step()
        assert len(await one.queued()) == 2 * count
    assert [status.runs for status in await one.report()] == [2, 2]
    await one.end()


#: Not JSON; of no schedule; a message that cannot be decoded; not even text.
_DAMAGED = (b"{", b'{"app": "app"}', b"[]", b"\xff")


@pytest.mark.parametrize("text", _DAMAGED)
def test_a_damaged_schedule_begins_anew_and_hides_no_other(text: bytes) -> None:
    @scheduled
    async def test(instance: Instance, clock: Clock) -> None:
        one = await Controller(instance, clock).load()
        await one.deploy("app", f=HOURLY, g=HOURLY)
        key = keys.schedules(one.instance_id)
        clock.now += HOUR
        await one.schedules.step()
        await one.parts.link.command("HSET", key, "app/f", text)
        await one.end()
        two = await Controller(instance, clock).load()
        await two.schedules.step()
        assert len(await two.queued()) == 2  # what has run does not run again
        for count in range(2, 4):
            clock.now += HOUR
            await two.schedules.step()
            assert len(await two.queued()) == 2 * count
            await two.parts.link.command("HSET", key, "app/f", text)  # also while it is known
        await two.end()

    test()


@scheduled
async def test_a_run_by_hand_is_besides_the_due_times(instance: Instance, clock: Clock) -> None:
    one = await Controller(instance, clock).load()
    await one.deploy("app", f=HOURLY, quiet=None)
    call_id = new_id("fc")
    for _ in range(2):  # sent again
        made = await one.schedules.run_now("app", "f", call_id)
        assert (made.call_id, made.by_hand) == (call_id, True)
    assert await one.queued() == [call_id]
    assert await one.schedules.step() == clock.now + HOUR
    with pytest.raises(NotFoundError, match="'quiet' of 'app' has no schedule; these have: f"):
        await one.schedules.run_now("app", "quiet", new_id("fc"))
    await one.end()
