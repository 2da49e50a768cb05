"""Spares: forked ahead of a start, of one template, unique, and gone with it. Real processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import time
import uuid
from pathlib import Path
from typing import Any

import psutil
import pytest

from rekindle.runtime.agent.starts import spares as starts_spares
from rekindle.runtime.agent.starts.child import ForkedChild
from rekindle.runtime.agent.starts.spares import AT_ONCE
from rekindle.wire import rekindle_pb2 as pb
from tests.runtime.agent.harness import Harness, run
from tests.runtime.agent.starts.hanging import HangsWhileMarked

pytestmark = pytest.mark.criu

SECRET = uuid.uuid4().hex


class Model:
    """State of a template, and what a copy has around it."""

    def load(self) -> None:
        self.table = list(range(1000))
        random.random()

    def total(self) -> int:
        return sum(self.table)

    def draw(self) -> tuple[float, bytes, str]:
        import socket

        return random.random(), os.urandom(8), socket.gethostname()

    def environment(self) -> dict[str, str | None]:
        return {name: os.environ.get(name) for name in ("MY_SECRET", "REKINDLE_RUNNER_ID")}


def spares(h: Harness, function_id: str) -> list[ForkedChild]:
    template = h.revision(function_id).live_template()
    return template.spares.waiting if template is not None else []


async def waiting(h: Harness, function_id: str, count: int) -> list[ForkedChild]:
    """Until so many spares wait."""
    await h.uplink.until(lambda: len(spares(h, function_id)) == count)
    return spares(h, function_id)


async def with_spares(h: Harness, count: int = 2, code: type = Model, **spec: Any) -> str:
    """A function whose template stays as it is, and its spares wait."""
    function_id = h.add(code, enable_memory_snapshot=True, spare_containers=count, **spec)
    prepared = await h.prepare(function_id, "restore")
    assert prepared.ok, prepared.reason
    prepared = await h.prepare(function_id, "fork")
    assert prepared.ok, prepared.reason
    await waiting(h, function_id, count)
    return function_id


def test_a_start_takes_a_spare_and_the_next_one_is_forked(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        model = await with_spares(h)
        before = spares(h, model)
        outcome = await h.call(model, "total")
        assert (outcome.strategy, outcome.value) == ("spare", 499500)
        assert outcome.result.runner_id == before[0].name
        after = await waiting(h, model, 2)
        assert after[0] is before[1] and after[1] is not before[0]
        assert {"queue", "fork", "reseed"} <= set(outcome.phases)

    run(home, scenario)


def test_one_that_is_asked_for_waits_also_where_a_start_takes_the_first_that_comes(
    home: Path,
) -> None:
    async def scenario(h: Harness) -> None:
        model = await with_spares(h, 0)
        template = h.revision(model).live_template()
        assert template is not None
        asked = asyncio.create_task(template.spares.have_one())
        await asyncio.sleep(0)  # the first is ordered
        (coming,) = template.spares._tasks
        taken: list[ForkedChild | None] = []
        coming.add_done_callback(lambda _task: taken.append(template.spares.take()))
        assert await asked
        (first,) = taken
        (second,) = template.spares.waiting
        assert first is not None and first is not second
        first.let_go()

    run(home, scenario)


def test_spares_of_one_template_repeat_nothing_and_forks_beside_them_neither(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        model = await with_spares(h, 3)
        keys = [h.submit(model, "draw", strategy="spare") for _ in range(3)]
        keys += [h.submit(model, "draw", strategy="fork") for _ in range(3)]
        draws = [(await h.result(key)).value for key in keys]
        for seen in zip(*draws, strict=True):
            assert len(set(seen)) == len(seen), seen

    run(home, scenario)


def test_secrets_reach_a_spare_with_its_start_only(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        model = await with_spares(h, secrets={"MY_SECRET": SECRET})
        for spare in spares(h, model):
            pid = spare.channel.pid
            assert SECRET.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
            assert not _has_in_memory(pid, SECRET.encode())
        outcome = await h.call(model, "environment")
        assert (outcome.strategy, outcome.value["MY_SECRET"]) == ("spare", SECRET)
        assert outcome.value["REKINDLE_RUNNER_ID"] == outcome.result.runner_id
        [runner] = h.runners(model)
        assert _has_in_memory(runner.channel.pid, SECRET.encode())

    run(home, scenario)


def _has_in_memory(pid: int, text: bytes) -> bool:
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            where, permissions = line.split()[:2]
            if not permissions.startswith("rw") or "[v" in line:
                continue
            start, end = (int(part, 16) for part in where.split("-"))
            try:
                memory.seek(start)
                if text in memory.read(end - start):
                    return True
            except OSError:
                continue
    return False


def test_a_spare_that_is_killed_is_replaced_and_never_handed_out(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        model = await with_spares(h)
        victim, other = spares(h, model)
        os.kill(victim.channel.pid, signal.SIGKILL)
        await h.uplink.until(lambda: victim not in spares(h, model))
        assert (await h.call(model, "total", strategy="spare")).result.runner_id == other.name
        await waiting(h, model, 2)

    run(home, scenario)


def test_a_spare_that_dies_as_it_is_taken_is_passed_over_and_the_call_is_served(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        model = await with_spares(h, 1)
        [spare] = spares(h, model)
        os.kill(spare.channel.pid, signal.SIGSTOP)  # it does not die before it is taken
        key = h.submit(model, "total")
        await h.uplink.until(lambda: spare not in spares(h, model))
        os.kill(spare.channel.pid, signal.SIGKILL)
        outcome = await h.result(key)
        assert (outcome.strategy, outcome.value) == ("fork", 499500)
        assert any("spare passed over" in note for note in outcome.result.notes)

    run(home, scenario)


def test_spares_end_with_a_template_that_is_killed(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        model = await with_spares(h)
        pids = [spare.channel.pid for spare in spares(h, model)]
        template = h.revision(model).template
        os.kill(template.channel.pid, signal.SIGKILL)
        await h.uplink.until(template.gone.is_set)
        assert template.spares.take() is None
        await h.uplink.until(lambda: not any(map(psutil.pid_exists, pids)))
        outcome = await h.call(model, "total")
        assert outcome.value == 499500 and outcome.result.runner_id not in pids

    run(home, scenario)


def test_no_spare_is_handed_out_after_its_template_was_replaced(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        model = await with_spares(h)
        old = spares(h, model)
        starter = h.node.inventory.pools[(model, "")].starter
        await starter.restore_template()
        assert not set(old) & set(spares(h, model))
        # By name at once: it is one that the new template forks, as many as were asked for.
        outcome = await h.call(model, "total", strategy="spare")
        assert outcome.result.runner_id not in {spare.name for spare in old}
        await h.uplink.until(lambda: not any(psutil.pid_exists(s.channel.pid) for s in old))

    run(home, scenario)


def test_zero_spares_are_none_and_a_start_by_name_says_so(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        model = await with_spares(h, 0)
        refused = await h.call(model, "total", strategy="spare")
        assert refused.result.status == pb.START_FAILURE
        assert refused.result.error_type == "rekindle.exception.StrategyUnavailableError"
        assert refused.result.message == "spare: none waits"
        assert (await h.call(model, "total")).strategy == "fork"
        assert not h.revision(model).template.spares.waiting

    run(home, scenario)


def test_a_spare_that_was_asked_for_by_name_waits_for_its_start_though_no_plan_wants_it(
    home: Path,
) -> None:
    async def scenario(h: Harness) -> None:
        model = await with_spares(h, 0)
        template = h.revision(model).template
        os.kill(template.channel.pid, signal.SIGSTOP)
        preparing = asyncio.create_task(h.prepare(model, "spare"))
        await h.uplink.until(lambda: template.spares._coming)
        h.node.spare_keeper.follow()
        os.kill(template.channel.pid, signal.SIGCONT)
        assert (await preparing).ok
        h.node.spare_keeper.follow()
        assert len(template.spares.waiting) == 1
        assert (await h.call(model, "total", strategy="spare")).value == 499500
        assert not template.spares.waiting
        assert (await h.prepare(model, "spare")).ok
        template.spares.give_up()
        assert not template.spares.waiting

    run(home, scenario)


def test_single_use_containers_are_spares(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        model = await with_spares(h, 2, single_use_containers=True)
        seen = set()
        for _ in range(4):
            await waiting(h, model, 2)
            seen.add((await h.call(model, "total")).result.runner_id)
        assert len(seen) == 4
        how = {start.runner_id: start.strategy for start in h.node.history.starts}
        assert {how[runner_id] for runner_id in seen} == {"spare"}

    run(home, scenario)


class Alarmed:
    """Timers that were set when the template parked."""

    def load(self) -> None:
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK)
        libc.timerfd_settime(self.fd, 0, (ctypes.c_long * 4)(0, 0, 3600, 0), None)
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 3600)

    def left(self) -> tuple[float, float]:
        with open(f"/proc/self/fdinfo/{self.fd}") as info:
            value = next(line for line in info if line.startswith("it_value"))
        seconds = float(value.split("(")[1].split(",")[0])
        return seconds, signal.getitimer(signal.ITIMER_REAL)[0]


def test_timers_stand_still_while_a_spare_waits(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        alarmed = await with_spares(h, 1, Alarmed)
        [spare] = spares(h, alarmed)
        fdinfo = Path(f"/proc/{spare.channel.pid}/fdinfo")
        texts = []
        for one in fdinfo.iterdir():
            with contextlib.suppress(FileNotFoundError):  # it may be taking its outfit just then
                texts.append(one.read_text())
        timers = [text for text in texts if "it_value" in text]
        assert len(timers) == 1 and "it_value: (0, 0)" in timers[0]
        for left_s in (await h.call(alarmed, "left", strategy="spare")).value:
            assert 3500 < left_s <= 3600

    run(home, scenario)


def test_short_of_memory_spares_go_first_and_come_back_with_use(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        model = await with_spares(h)
        budget = h.node.budget
        await budget.look()
        assert budget.memory.spare_share(h.revision(model).template).private > 0
        budget.limit_bytes = budget.held() - 1
        budget.enforce()
        assert not spares(h, model) and h.revision(model).live_template() is not None
        assert budget.evictions[0].what == "spare"
        budget.limit_bytes = 1 << 40
        h.node.spare_keeper.follow()
        assert not h.revision(model).template.spares.missing(0)
        assert (await h.call(model, "total")).strategy == "fork"
        await waiting(h, model, 2)

    run(home, scenario)


def test_many_starts_at_once_are_forked_by_one_order_but_for_the_first(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        model = await with_spares(h, 0)
        template = h.revision(model).template
        orders: list[list[str]] = []
        send = template.channel.send_with_fds

        def noting(order: dict[str, Any], fds: list[int]) -> None:
            orders.append(order["names"])
            send(order, fds)

        template.channel.send_with_fds = noting
        keys = [h.submit(model, "draw", strategy="fork") for _ in range(12)]
        draws = [(await h.result(key)).value for key in keys]
        # What follows is the pool's: it keeps a runner when quiet.
        assert [len(names) for names in orders[:2]] == [1, 11]
        assert {draw[2] for draw in draws} == {*orders[0], *orders[1]}

    run(home, scenario)


def test_a_template_that_does_not_read_its_orders_for_a_while_is_not_gone(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        model = await with_spares(h, 0)
        template = h.revision(model).template
        template.channel._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        os.kill(template.channel.pid, signal.SIGSTOP)
        children = []
        for _ in range(12):  # more orders than the socket has room for
            children.append(template.fork())
            await asyncio.sleep(0)
        os.kill(template.channel.pid, signal.SIGCONT)
        for child in children:
            await child.forked
            child.kill()

    run(home, scenario)


def test_spares_that_are_wanted_no_more_go_at_once_and_are_not_forked_first(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        model = await with_spares(h, 2)
        template = h.revision(model).template
        before, fork = spares(h, model), template.spares._fork
        ordered = []

        def noting(**how: bool) -> ForkedChild:
            ordered.append(fork(**how))
            return ordered[-1]

        template.spares._fork = noting
        os.kill(template.channel.pid, signal.SIGSTOP)
        template.spares.add(500)
        await asyncio.sleep(0)
        assert len(ordered) == AT_ONCE and not template.spares.missing(502)
        template.spares.keep(2)
        assert template.spares.missing(3) == 1
        os.kill(template.channel.pid, signal.SIGCONT)
        for child in ordered:
            await child.exit_status
        assert len(ordered) == AT_ONCE and spares(h, model) == before

    run(home, scenario)


def test_many_spares_come_a_few_at_once_until_all_wait(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        await with_spares(h, 2 * AT_ONCE + 1)

    run(home, scenario, max_runners=2 * AT_ONCE + 1)


def test_no_more_spares_wait_than_the_node_may_have_runners(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        function_id = h.add(Model, enable_memory_snapshot=True, spare_containers=1_000_000)
        assert (await h.prepare(function_id, "fork")).ok
        template = h.revision(function_id).template
        await waiting(h, function_id, 3)
        h.node.spare_keeper.follow()
        await template.spares.ready()
        assert len(spares(h, function_id)) == template.spares.wanted == 3

    run(home, scenario, max_runners=3)


def test_spares_that_hang_are_killed_and_tried_again_one_by_one_ever_more_rarely(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starts_spares, "NOT_AGAIN_S", 3600.0)
    monkeypatch.setattr(starts_spares, "_LONGEST_S", 10_000.0)
    mark = tmp_path / "mark"

    async def scenario(h: Harness) -> None:
        h.node.context.criu = None
        env = {"MARK": str(mark)}
        hangs = h.add(HangsWhileMarked, enable_memory_snapshot=True, spare_containers=20, env=env)
        assert (await h.prepare(hangs, "fork")).ok
        template = h.revision(hangs).live_template()
        await waiting(h, hangs, 20)
        mark.touch()
        template.spares.timeout_s = 1.0
        template.spares.give_up()
        template.spares.add(20)
        coming = {*template.spares._coming}
        assert len(coming) == AT_ONCE
        refused = await h.call(hangs, "total", strategy="spare")
        assert refused.result.message.startswith("spare: none waits: it did not come to wait")
        for child in coming:
            assert await child.exit_status == -signal.SIGKILL
        h.node.spare_keeper.follow()
        assert not template.spares._coming and not template.spares.missing(20)
        mark.unlink()
        outcome = await h.call(hangs, "total")
        assert (outcome.strategy, outcome.value) == ("fork", 1)
        assert any("os.register_at_fork" in note for note in outcome.result.notes)

        mark.touch()
        for longer_s in (7200.0, 10_000.0):
            template.spares._not_before = 0.0  # the time is over
            h.node.spare_keeper.follow()
            (one,) = template.spares._coming
            await template.spares.ready()
            assert await one.exit_status == -signal.SIGKILL
            assert longer_s - 600 < template.spares._not_before - time.monotonic() <= longer_s
        mark.unlink()
        template.spares._not_before, template.spares.timeout_s = 0.0, 60.0
        h.node.spare_keeper.follow()
        assert len(template.spares._coming) == 1
        await waiting(h, hangs, 20)  # all come again
        assert not template.spares.why_none

    run(home, scenario, max_runners=20)
