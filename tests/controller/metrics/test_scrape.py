"""A real controller with traffic, scraped as Prometheus does it."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.messages import as_dict
from tests.controller.fake_agent import FakeAgent, echo, result_of
from tests.controller.harness import Client, Instance, in_loop, running_instance, spec

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: str) -> Samples:
    """Every sample by name and labels; fails where a sample is there twice."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, key
            found[key] = sample.value
    return found


def of(found: Samples, name: str, **labels: str) -> float:
    """One sample."""
    return found[(name, tuple(sorted(labels.items())))]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def scraped() -> Iterator[tuple[Instance, int]]:
    """A controller that serves its metrics, and the port."""
    port = free_port()
    with running_instance(REKINDLE_METRICS=f"127.0.0.1:{port}") as instance:
        yield instance, port


def get(
    port: int, path: str = "/metrics", method: str = "GET", **headers: str
) -> tuple[int, bytes, str]:
    """One HTTP request: status, body, type."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
    reply = connection.getresponse()
    body = reply.read()
    connection.close()
    return reply.status, body, reply.getheader("Content-Type", "")


async def fetch(port: int) -> Samples:
    """One scrape."""
    status, body, kind = await asyncio.to_thread(get, port)
    assert status == 200
    assert kind.startswith("text/plain; version=0.0.4")
    return samples(body.decode())


def answer(assign: pb.Assign) -> pb.Result | None:
    """Results with marks; ``fail`` fails, ``hold`` is held."""
    payload = assign.inputs[0].payload
    if payload == b"hold":
        return None
    result = result_of(assign, status=pb.FAILURE if payload == b"fail" else pb.SUCCESS)
    for step, phase in enumerate(("queue", "load_input", "execute"), 1):
        result.marks.add(phase=phase, at_ns=assign.submitted_ns + step * 1_000_000)
    return result


HEARTBEAT: dict[str, Any] = {
    "memory_total_bytes": 1000,
    "memory_available_bytes": 500,
    "memory": {"rss_bytes": 30, "pss_bytes": 20, "mapped_bytes": 10, "snapshot_store_bytes": 7},
}


@in_loop
async def test_traffic_is_seen_by_a_scrape(scraped: tuple[Instance, int]) -> None:
    instance, port = scraped
    async with Client(instance) as client, FakeAgent(instance) as agent:
        app_id, [function_id] = await client.register("shop", spec("price"))
        agent.answer(answer)
        for payload in (b"1", b"2", b"3", b"fail"):
            await client.invoke(function_id, payload)
        await client.submit(function_id, {0: b"hold", 1: b"hold"})
        for _ in range(2):
            await agent.assigned.get()
        entry = {"function_id": function_id, "app_id": app_id}
        beat = {
            **HEARTBEAT,
            "runners": [
                {**entry, "id": "ru-1", "state": "idle", "strategy": "fork"},
                {**entry, "id": "ru-2", "state": "busy", "strategy": "fork"},
            ],
            "direct": [pb.DirectCalls(function_id=function_id, calls=7, busy_s=0.5, leases=1)],
            "evictions": {"warm": 2},
            "runners_lost": {function_id: pb.LostRunners(by_reason={"died": 1})},
            "starts": [
                {
                    "function_id": function_id,
                    "seq": 1,
                    "runner_id": "ru-1",
                    "strategy": "fork",
                    "phases_ms": {"isolate": 4.0, "fork": 8.0},
                    "notes": ["restore passed over: snapshot sn-1: kernel changed"],
                }
            ],
        }
        await agent.send(heartbeat=pb.Heartbeat(stats=pb.NodeStats(**beat)))
        await client.invoke(function_id, b"4")  # behind the heartbeat
        found = await fetch(port)

        label = "shop.price"
        total = "rekindle_inputs_total"
        assert of(found, total, function=label, status="success") == 4
        assert of(found, total, function=label, status="failure") == 1
        phase = {"function": label, "phase": "execute", "strategy": "warm"}
        assert of(found, "rekindle_phase_seconds_count", **phase) == 5
        assert of(found, "rekindle_phase_seconds_sum", **phase) == pytest.approx(0.005)
        assert of(found, "rekindle_phase_seconds_bucket", le="0.001", **phase) == 5
        assert of(found, "rekindle_phase_seconds_bucket", le="0.0005", **phase) == 0
        assert of(found, "rekindle_call_seconds_count", function=label) == 5
        fork = {"function": label, "strategy": "fork"}
        assert of(found, "rekindle_starts_total", **fork) == 1
        assert of(found, "rekindle_start_seconds_sum", **fork) == pytest.approx(0.012)
        assert of(found, "rekindle_phase_seconds_sum", phase="fork", **fork) == pytest.approx(0.008)
        failed = {"function": label, "strategy": "restore", "reason": "foreign"}
        assert of(found, "rekindle_start_failures_total", **failed) == 1
        assert of(found, "rekindle_queue_inputs", function=label, state="in_flight") == 2
        assert of(found, "rekindle_runners", state="idle", **fork) == 1
        for kind, value in (("rss", 30), ("pss", 20), ("mapped", 10), ("total", 1000)):
            assert of(found, "rekindle_node_memory_bytes", node="test", kind=kind) == value
        assert of(found, "rekindle_snapshot_store_bytes", node="test") == 7
        assert of(found, "rekindle_direct_calls_total", function=label) == 7
        assert of(found, "rekindle_leases", function=label) == 1
        assert of(found, "rekindle_evictions_total", node="test", what="warm") == 2
        assert of(found, "rekindle_runners_lost_total", node="test", how="died") == 1
        assert of(found, "rekindle_agents", state="connected") == 1
        assert of(found, "rekindle_redis_up") == 1
        assert of(found, "rekindle_redis_memory_bytes") > 0
        assert of(found, "process_resident_memory_bytes") > 0
        assert any(name == "rekindle_build_info" for name, _ in found)
        lag = "rekindle_event_loop_lag_seconds"
        assert of(found, f"{lag}_count") == of(found, f"{lag}_bucket", le="+Inf")


@in_loop
async def test_the_rpc_gives_the_same_text_and_needs_no_listener(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        _, [function_id] = await client.register("rpc", spec("f"))
        agent.answer(echo)
        await client.invoke(function_id)
        reply = await client.call("Metrics", pb.MetricsRequest())
        found = samples(reply.text)
        assert of(found, "rekindle_inputs_total", function="rpc.f", status="success") == 1
        assert "serving metrics" not in shared.log()


@in_loop
async def test_metrics_and_status_are_answered_while_redis_is_away(
    scraped: tuple[Instance, int],
) -> None:
    instance, port = scraped
    async with Client(instance) as client:
        await client.register("app", spec())
        instance.kill_redis()
        found = await fetch(port)
        assert of(found, "rekindle_redis_up") == 0
        assert of(found, "rekindle_apps") == 1
        report = as_dict(await client.call("Status", pb.StatusRequest()))
        assert report["redis"]["up"] is False
        assert report["redis"]["reason"]
        assert len(report["apps"]) == 1


@in_loop
async def test_the_status_tells_the_last_minute_and_the_last_starts(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        _, [function_id] = await client.register("recent", spec("f"))
        agent.answer(answer)
        start = pb.RunnerStart(
            seq=1,
            function_id=function_id,
            runner_id="ru-9",
            strategy="restore",
            phases_ms={"isolate": 10.0, "restore": 20.0},
            at_ns=5 * 10**9,
        )
        await agent.send(heartbeat=pb.Heartbeat(stats=pb.NodeStats(starts=[start])))
        await client.invoke(function_id, b"1")
        report = as_dict(await client.call("Status", pb.StatusRequest()))
        [function] = [
            one
            for app in report["apps"]
            for one in app["functions"]
            if one["function_id"] == function_id
        ]
        assert function["start_ms"] == {"p50": 30.0, "p95": 30.0}
        assert function["starts"] == {"restore": 1}
        assert function["call_ms"]["p50"] > 0
        [told] = [one for one in report["recent_starts"] if one["runner_id"] == "ru-9"]
        assert told["phases"] == {"isolate": 10.0, "restore": 20.0}
        assert told["function"] == "recent.f"
        assert told["ms"] == 30.0


def test_what_is_no_scrape_gets_an_answer_that_says_so(scraped: tuple[Instance, int]) -> None:
    _, port = scraped
    assert get(port, "/")[:2] == (404, b"the metrics are at /metrics\n")
    assert get(port, method="POST")[0] == 405
    status, body, _ = get(port, method="HEAD")
    assert (status, body) == (200, b"")
    status, body, _ = get(port, Accept_Encoding="gzip")
    assert b"rekindle_build_info" in gzip.decompress(body)
    for garbage in (b"hello\r\n\r\n", b"GET " + b"x" * 40_000 + b"\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", port), 30) as raw:
            raw.sendall(garbage)
            try:
                got = raw.recv(100)
            except ConnectionResetError:
                got = b""
            assert got.startswith(b"HTTP/1.1 400") or got == b""
    assert get(port)[0] == 200


def test_a_port_that_is_taken_is_named_with_what_to_do(instance: Instance) -> None:
    assert instance.end_controller() == 0
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = subprocess.run(
            [sys.executable, "-m", "rekindle.controller", "--dir", instance.directory],
            env={**instance.environ, "REKINDLE_METRICS": address},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 1
    assert "ready" not in ended.stdout
    assert address in ended.stderr
    assert "--metrics HOST:PORT" in ended.stderr
