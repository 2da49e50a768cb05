"""What is counted, and that it stays bounded."""

from __future__ import annotations

from typing import Any

import psutil
import pytest

from rekindle.controller.metrics import starts
from rekindle.controller.metrics.histogram import BOUNDS, Histogram
from rekindle.controller.metrics.metrics import Metrics
from rekindle.controller.metrics.recent import Recent
from rekindle.controller.metrics.series import KEPT_S, OTHERS, Book
from rekindle.controller.nodes.agentnews import news_of
from rekindle.controller.settings import Settings, parse_address
from rekindle.controller.state import Agent, App, Function, State
from rekindle.exception import InvalidError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.messages import as_dict
from rekindle.wire.spec import FunctionSpec


def state_with(*names: str) -> State:
    """A state with one app and functions of these names; their ids are ``fu-<name>``."""
    state = State("instance")
    app = state.apps["ap-1"] = App("ap-1", "app", False)
    for name in names:
        function = Function(f"fu-{name}", name, app, FunctionSpec(app_name="app", name=name))
        state.functions[function.function_id] = app.functions[function.function_id] = function
    return state


def done(count: int = 1, *, strategy: str = "warm", execute_ms: int = 4) -> pb.Done:
    """Results of a function ``f``, each a millisecond in the queue."""
    result = pb.Result(strategy=strategy, submitted_ns=10**9)
    result.marks.add(phase="queue", at_ns=10**9 + 10**6)
    result.marks.add(phase="import", at_ns=10**9 + 10**8)
    result.marks.add(phase="execute", at_ns=10**9 + 10**8 + execute_ms * 10**6)
    raw = result.SerializeToString()
    return pb.Done(function_id="fu-f", indexes=range(count), results=[raw] * count)


def test_a_histogram_counts_each_value_under_its_bound() -> None:
    histogram = Histogram()
    for value in (0.0, BOUNDS[0], 0.003, 10_000.0):
        histogram.add(value)
    histogram.add(0.003, 5)
    buckets = dict(histogram.cumulative())
    assert buckets["0.0001"] == 2
    assert buckets["0.002"] == 2
    assert buckets["0.005"] == 8
    assert buckets["300.0"] == 8
    assert buckets["+Inf"] == 9
    assert histogram.total == pytest.approx(10_000 + 6 * 0.003 + BOUNDS[0])


def test_series_are_shared_by_the_functions_of_a_name_and_bounded_in_number() -> None:
    labels = {f"fu-{i}": f"app.f{i}" for i in range(5)} | {"fu-again": "app.f0"}
    book = Book(3, labels.get)
    found = [book.of(f"fu-{i}") for i in range(5)]
    assert [one.label for one in found if one] == ["app.f0", "app.f1", "app.f2", OTHERS, OTHERS]
    assert book.of("fu-again") is found[0]
    assert book.of("fu-unknown") is None
    assert len(list(book)) == 4


def test_series_of_a_closed_app_go_after_a_while_and_come_back_with_it() -> None:
    labels = {"fu-1": "app.f"}
    book = Book(3, labels.get)
    series = book.of("fu-1")
    assert series is not None
    labels.clear()
    book.tidy(100.0)
    book.tidy(100.0 + KEPT_S)
    assert list(book) == [series], "one more scrape sees the last counts"
    labels["fu-2"] = "app.f"  # the same program runs again
    assert book.of("fu-2") is series
    book.tidy(100.0 + 2 * KEPT_S)
    assert list(book) == [series]
    labels.clear()
    book.tidy(1000.0)
    book.tidy(1001.0 + KEPT_S)
    assert list(book) == []
    assert book.of("fu-2") is None


def test_every_result_is_counted_and_one_of_a_message_speaks_for_its_phases() -> None:
    metrics = Metrics(state_with("f"), Settings())
    metrics.completed("fu-f", pb.SUCCESS, 40)
    metrics.completed("fu-f", pb.FAILURE)
    metrics.results(done(40))
    metrics.results(done(1, strategy="cold"))
    [series] = list(metrics.book)
    assert series.label == "app.f"
    assert series.calls == {"success": 40, "failure": 1}
    assert series.phases[("execute", "warm")].count == 40
    assert series.phases[("execute", "warm")].total == pytest.approx(40 * 0.004)
    assert series.phases[("queue", "cold")].count == 1
    assert ("import", "cold") not in series.phases, "phases of starts are counted with the start"
    assert series.call_seconds.count == 41


def test_results_that_were_not_looked_at_weigh_with_the_next_that_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]
    monkeypatch.setattr("rekindle.controller.metrics.metrics.time.monotonic", lambda: clock[0])
    metrics = Metrics(state_with("f"), Settings())
    for _ in range(2000):
        metrics.results(done())
    [series] = list(metrics.book)
    seen = series.phases[("execute", "warm")].count
    assert 400 < seen < 1000
    clock[0] = 1.0
    metrics.results(done())
    assert series.phases[("execute", "warm")].count == 2001


def test_nothing_is_kept_of_functions_that_are_not_open() -> None:
    state = state_with("f")
    metrics = Metrics(state, Settings())
    metrics.completed("fu-gone", pb.SUCCESS)
    metrics.results(pb.Done(function_id="fu-gone", indexes=[0], results=[b""]))
    assert list(metrics.book) == []


def start(number: int, **more: Any) -> pb.RunnerStart:
    """A start as an agent reports it."""
    given = {
        "runner_id": f"ru-{number}",
        "strategy": "restore",
        "phases_ms": {"isolate": 5.0, "restore": 20.0},
        **more,
    }
    return pb.RunnerStart(seq=number, function_id="fu-f", at_ns=10**9, **given)


def beat(metrics: Metrics, agent: Agent, **stats: Any) -> None:
    """A heartbeat of an agent."""
    news = news_of(agent, beat := pb.NodeStats(**stats))
    agent.stats = beat
    metrics.heartbeat(agent, news)


def test_starts_are_counted_once_however_often_they_are_told() -> None:
    metrics = Metrics(state_with("f"), Settings())
    agent = Agent("ag-1", "host", 1, True, 4, 12)
    beat(metrics, agent, starts=[start(1), start(2)])
    beat(metrics, agent, starts=[start(1), start(2), start(3, strategy="cold")])
    [series] = list(metrics.book)
    assert {name: histogram.count for name, histogram in series.starts.items()} == {
        "restore": 2,
        "cold": 1,
    }
    assert series.phases[("restore", "restore")].total == pytest.approx(0.040)
    assert [one.runner_id for _, _, one in metrics.recent_starts] == ["ru-1", "ru-2", "ru-3"]


def test_a_start_that_is_told_of_when_its_app_is_closed_has_the_name_that_people_know() -> None:
    state = state_with("f")
    metrics, agent = Metrics(state, Settings()), Agent("ag-1", "host", 1, True, 4, 12)
    del state.functions["fu-f"]
    one = start(1)
    one.function = "app.f"
    beat(metrics, agent, starts=[one])
    assert [label for _, label, _ in metrics.recent_starts] == ["app.f"]


def test_starts_that_are_remembered_do_not_keep_their_heartbeats() -> None:
    metrics = Metrics(state_with("f"), Settings())
    agent = Agent("ag-1", "host", 1, True, 4, 12)
    beat(metrics, agent, starts=[start(1)], criu="c" * (1 << 20))
    before = psutil.Process().memory_info().rss
    for number in range(2, 62):
        beat(metrics, agent, starts=[start(number)], criu="c" * (1 << 20))
    assert len(metrics.recent_starts) == 61
    assert psutil.Process().memory_info().rss - before < 30 << 20


def test_a_failed_start_is_counted_with_the_class_of_its_reason() -> None:
    metrics = Metrics(state_with("f"), Settings())
    agent = Agent("ag-1", "host", 1, True, 4, 12)
    notes = ["restore passed over: snapshot sn-1: pages-1.img has 3 bytes, is truncated"]
    beat(
        metrics,
        agent,
        starts=[
            start(1, strategy="cold", notes=notes),
            start(2, strategy="", error="not ready within startup_timeout=1 s"),
        ],
    )
    [series] = list(metrics.book)
    assert series.failed_starts == {("restore", "corrupt"): 1, ("cold", "timeout"): 1}
    assert series.starts["cold"].count == 1


def test_direct_calls_are_counted_by_what_is_new_of_their_totals() -> None:
    metrics = Metrics(state_with("f"), Settings())
    agent, other = (Agent(name, "host", 1, True, 4, 12) for name in ("ag-1", "ag-2"))

    def calls(count: int, busy_s: float = 0, of: str = "fu-f") -> pb.DirectCalls:
        return pb.DirectCalls(function_id=of, calls=count, busy_s=busy_s)

    beat(metrics, agent, direct=[calls(10, 1.0)])
    beat(metrics, agent, direct=[calls(30, 1.2)])
    beat(metrics, other, direct=[calls(5), calls(1, of="fu-g")])
    [series] = list(metrics.book)
    assert series.direct_calls == 35
    assert series.direct_seconds == pytest.approx(1.2)
    beat(metrics, agent)
    assert series.direct_calls == 35


def test_reasons_fall_into_few_classes() -> None:
    assert starts.class_of("startup_timeout=3 s") == "timeout"
    assert starts.class_of("snapshot sn-1: kernel changed") == "foreign"
    assert starts.class_of("something nobody thought of") == "other"


def test_the_last_minute_of_a_function() -> None:
    recent = Recent()
    assert recent.report(0.0) == pb.LastMinute()
    for second in range(10):
        recent.ended(100.5 + second, 20)
    recent.took(105.0, 0.010, 90)
    recent.took(105.0, 0.500, 10)
    recent.started(106.0, 0.030, "restore")
    report = recent.report(110.0)
    assert as_dict(report) == {
        "calls_per_s": 20.0,
        "call_ms": {"p50": 10.0, "p95": 500.0},
        "start_ms": {"p50": 30.0, "p95": 30.0},
        "starts": {"restore": 1},
    }
    assert recent.report(1000.0) == pb.LastMinute()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        (":9464", ("127.0.0.1", 9464)),
        ("9464", ("127.0.0.1", 9464)),
        ("[::1]:0", ("::1", 0)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


def test_a_wrong_setting_is_named() -> None:
    for text in ("nowhere", "host:", "host:99999", f"host:{'9' * 5000}"):
        with pytest.raises(InvalidError, match="host:port"):
            parse_address(text)
    with pytest.raises(InvalidError, match="REKINDLE_METRICS_FUNCTIONS"):
        Settings.from_environ({"REKINDLE_METRICS_FUNCTIONS": "-1"})
