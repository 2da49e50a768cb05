"""Leases on one node: real runners, called by a client over their own connections."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from rekindle.runtime.agent.leases import lease_monitor
from rekindle.runtime.agent.leases import leases as leases_room
from rekindle.runtime.agent.runners.runner import RunnerState
from rekindle.sdk.calls.lease import Lease
from rekindle.wire.exceptions import remote_traceback
from rekindle.wire.frames import pack_frame
from tests.runtime.agent.harness import PATIENCE_S, Harness, run
from tests.runtime.agent.leases.clients import is_marked, until, warm


def test_a_client_calls_a_runner_that_it_leased_and_gives_it_back(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        function_id, client = await warm(h)
        (runner,) = h.runners(function_id)
        held = await client.lease()
        assert held.runner_id == runner.id and runner.state is RunnerState.LENT
        assert await client.value(held, "who") == runner.id
        assert await client.value(held, "who") == runner.id
        [stats] = h.node.leases.stats()
        assert (stats.calls, stats.failures, stats.leases) == (2, 0, 1)
        held.close()
        await until(lambda: runner.state is RunnerState.IDLE)
        assert (await h.call(function_id, "who")).value == runner.id
        [stats] = h.node.leases.stats()
        assert (stats.function_id, stats.leases) == (function_id, 0)

    run(home, scenario)


def test_exceptions_come_home_with_their_traceback(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        _, client = await warm(h)
        held = await client.lease()
        with pytest.raises(LookupError, match="no such thing") as caught:
            await client.value(held, "fail")
        assert "in fail" in (remote_traceback(caught.value) or "")
        with pytest.raises(Exception, match=r"is a _thread\.lock"):
            await client.value(held, "lock")
        with pytest.raises(Exception, match="no method 'nothing'"):
            await client.value(held, "nothing")
        assert await client.value(held, "who")
        [stats] = h.node.leases.stats()
        assert stats.failures == 3
        held.close()

    run(home, scenario)


def test_large_values_go_both_ways_and_can_be_written_to(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        _, client = await warm(h)
        held = await client.lease()
        sent = np.arange(1_000_000, dtype=np.float64)
        got = await client.value(held, "double", sent)
        assert got[10] == 20 and sent[10] == 10
        got += 1
        data = os.urandom(3 << 20)
        assert await client.value(held, "length", data) == (len(data), data)
        held.close()

    run(home, scenario)


def test_what_a_call_prints_is_followed_by_its_mark_and_silence_by_none(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        _, client = await warm(h)
        held = await client.lease()
        first = await client.call(held, "who")
        for number in range(20):
            reply = await client.call(held, "talk", f"line {number}")
            assert reply is not None and reply.printed
            call_id = f"fc-direct-{client._calls}"
            await until(partial(is_marked, h, call_id))
            mine = [line for line in h.uplink.lines if line.call_id == call_id]
            assert [line.stream for line in mine] == ["stdout", "mark"]
            assert mine[0].text == f"line {number}" and mine[0].runner_id == held.runner_id
        # Where the agent was reading when the last line was told of, one call more is taken for
        # one that printed: a mark too many.
        await client.call(held, "who")
        last = await client.call(held, "who")
        assert first is not None and last is not None
        assert not first.printed and not last.printed
        held.close()

    run(home, scenario)


def test_a_token_is_good_for_one_connection_of_one_lease(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        _, client = await warm(h)
        granted = await client.ask()
        reply = client.reply_for(granted)
        wrong = client.reply_for(granted)
        wrong.token = "wrong"
        with pytest.raises(ConnectionError):
            await Lease.take_up(wrong)
        held = await Lease.take_up(reply)
        assert await client.value(held, "who")
        with pytest.raises(ConnectionError):
            await Lease.take_up(reply)
        assert await client.value(held, "who")
        mode = os.stat(granted.socket).st_mode
        assert mode & 0o777 == 0o600
        for nonsense in (b"GET / HTTP/1.1\r\n\r\n", pack_frame({}), pack_frame({"lease": 1})):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(PATIENCE_S)
                sock.connect(granted.socket)
                sock.sendall(nonsense)
                sock.shutdown(socket.SHUT_WR)
                with contextlib.suppress(ConnectionResetError):
                    assert await asyncio.to_thread(sock.recv, 100) == b""
        held.close()

    run(home, scenario)


def test_a_lease_that_nobody_takes_up_ends(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_monitor, "OFFER_S", PATIENCE_S)

    async def scenario(h: Harness) -> None:
        function_id, client = await warm(h, max_containers=1)
        (runner,) = h.runners(function_id)
        assert (await client.ask()).ok
        assert (await client.ask()).reason == "no runner is idle"
        monkeypatch.setattr(lease_monitor, "OFFER_S", 0.2)
        await until(lambda: runner.state is RunnerState.IDLE)
        assert (await client.ask()).ok

    run(home, scenario)


def test_a_call_over_its_timeout_ends_with_its_runner_and_the_client_hears_why(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        function_id, client = await warm(h, timeout_s=1.0)
        (runner,) = h.runners(function_id)
        held = await client.lease()
        assert await client.call(held, "sleep", str(home / "begun"), 60) is None
        fate = await asyncio.to_thread(held.fate)
        assert fate.kind == "timeout"
        assert "ran longer than timeout=1 s" in fate.message
        assert runner not in h.runners(function_id)  # another may be there already
        assert (await h.call(function_id, "who")).value

    run(home, scenario)


def test_a_runner_that_dies_under_a_call_is_told_with_how_it_died(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        function_id, client = await warm(h)
        held = await client.lease()
        assert await client.call(held, "crash") is None
        fate = await asyncio.to_thread(held.fate)
        assert fate.kind == "lost" and "SIGKILL" in fate.message
        assert (await h.call(function_id, "who")).value

    run(home, scenario)


def test_a_client_that_goes_away_takes_its_call_with_it_and_the_runner_stays(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        function_id, client = await warm(h)
        (runner,) = h.runners(function_id)
        held, begun = await client.lease(), home / "begun"
        calling = asyncio.create_task(client.call(held, "sleep", str(begun), 60))
        await until(begun.exists)
        held._sock.shutdown(socket.SHUT_RDWR)  # as when its process is killed
        assert await calling is None
        await until(lambda: begun.read_text() == "cancelled")
        await until(lambda: runner.state is RunnerState.IDLE)
        assert (await h.call(function_id, "who")).value == runner.id

    run(home, scenario)


def test_a_call_whose_client_is_gone_is_signalled_until_it_has_heard(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        function_id, client = await warm(h)
        (runner,) = h.runners(function_id)
        held, heard = await client.lease(), home / "heard"
        calling = asyncio.create_task(client.call(held, "sleep_after_the_signal", str(heard), 3600))
        await until(lambda: "pause" in Path(f"/proc/{runner.channel.pid}/wchan").read_text())
        held._sock.shutdown(socket.SHUT_RDWR)
        assert await calling is None
        await until(heard.exists)
        await until(lambda: runner.state is RunnerState.IDLE)
        assert (await h.call(function_id, "who")).value == runner.id

    run(home, scenario)


def test_what_a_client_called_is_counted_when_it_hangs_up_and_not_when_its_runner_is_back(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program may end right after its first call, which is when a snapshot is due."""
    monkeypatch.setattr(leases_room, "LOOK_S", 3600)

    async def scenario(h: Harness) -> None:
        function_id, client = await warm(h)
        (runner,) = h.runners(function_id)
        before = runner.inputs_done
        held = await client.lease()
        assert await client.value(held, "who") == runner.id
        os.kill(runner.channel.pid, signal.SIGSTOP)
        held.close()
        await until(lambda: runner.inputs_done == before + 1)
        assert runner.state is RunnerState.LENT
        os.kill(runner.channel.pid, signal.SIGCONT)
        await until(lambda: runner.state is RunnerState.IDLE)

    run(home, scenario)
