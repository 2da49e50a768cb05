"""What an operator sees of real traffic: metrics, logs, top and queues of one instance."""

from __future__ import annotations

import json
import socket
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.harness import Gate, Home, wait_until

SHOP = (
    Gate.SOURCE
    + """
import rekindle

app = rekindle.App("shop")

@app.function()
def price(n):
    print(f"pricing {n}")
    return 2 * n

@app.local_entrypoint()
def main(path: str):
    assert list(price.map(range(20))) == [2 * n for n in range(20)]
    for n in range(30):
        price.remote(n)
    wait_at(path)
"""
)


def scrape(port: int) -> dict[tuple[str, str], float]:
    """Sums of the samples of the app's one function (or of none), by name and status or kind."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as reply:
        text = reply.read().decode()
    found: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            which = sample.labels.get("status") or sample.labels.get("kind") or ""
            key = (sample.name, which)
            found[key] = found.get(key, 0.0) + sample.value
    return found


def test_an_operator_sees_the_traffic_of_an_app_and_its_log_when_it_has_closed(
    home: Home, gate: Gate
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home.up(REKINDLE_METRICS=f"127.0.0.1:{port}")
    program = home.start_rekindle("run", home.script(SHOP), "--path", gate.directory)
    program.until("waiting")

    def seen() -> bool:
        found = scrape(port)
        through = found.get(("rekindle_inputs_total", "success"), 0)
        direct = found.get(("rekindle_direct_calls_total", ""), 0)
        return through + direct == 50

    wait_until(seen, "every call to be counted, once")
    found = scrape(port)
    assert found["rekindle_inputs_total", "success"] >= 20
    assert found["rekindle_starts_total", ""] >= 1
    assert found["rekindle_start_seconds_count", ""] == found["rekindle_starts_total", ""]
    assert found["rekindle_agents", ""] == 1
    assert found["rekindle_redis_up", ""] == 1
    wait_until(
        lambda: scrape(port).get(("rekindle_node_memory_bytes", "pss"), 0) > 1 << 20,
        "the memory of runners to be measured",
    )

    shown = home.rekindle("top", "--once").out
    assert "shop.price" in shown and "START" in shown.upper()
    [row] = json.loads(home.rekindle("inputs", "ls", "--json").out)
    assert (row["function"], row["queued"], row["in_flight"], row["dead"]) == ("price", 0, 0, 0)

    gate.open()
    program.end()
    lines = home.rekindle("logs", "shop", "--search", "pricing 7").out.splitlines()
    assert lines == ["pricing 7", "pricing 7"]
    every = home.rekindle("logs", "shop", "--source", "stdout", "-n", "500").out.splitlines()
    assert len(every) == 50
