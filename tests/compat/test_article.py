"""What an article shows of job queues, maps, schedules, Dict and Queue, as programs that run.

Import line, model and image are ours; the rest is written as there. Its batching is in
test_batching.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.harness import Home

_PROGRAM = """
    import asyncio, json, warnings
    import rekindle as modal

    app = modal.App("article")

    # ---- a job queue

    @app.function()
    def process(job: int) -> int:
        return job * job

    # ---- the model: words that a bag of words knows

    @app.cls()
    class Model:
        @modal.enter()
        def load(self):
            self.good = {"storm", "sea"}

        @modal.method()
        async def classify(self, text):
            return sum(word in self.good for word in text.split())

    @app.function()
    async def classify_dataset(dataset):
        batched_bert = Model()
        async for cls in batched_bert.classify.map.aio(dataset):
            yield cls

    @app.function()
    async def fetch_and_process_twig(dataset):
        scores = []
        for result in classify_dataset.remote_gen(dataset):
            scores.append(result)
        return scores

    # ---- Dict and Queue, from runners and from here

    @app.function()
    def put_inner(name):
        d = modal.Dict.from_name(name)
        d["outer_key"]["inner_key"] = "lost"  # of a copy: it has to be put back
        seen = d["outer_key"]["inner_key"]
        outer = d["outer_key"]
        outer["inner_key"] = "kept"
        d["outer_key"] = outer
        return seen

    @app.function()
    def consume(name):
        q = modal.Queue.from_name(name)
        return [q.get(timeout=60), q.get(partition="other", timeout=60), q.get(block=False)]

    # ---- the minimal program: a model that is trained

    @app.function()
    def train(config):
        weight = 0.0
        for _ in range(10):
            weight += config["lr"] * (1.0 - weight)
        metrics = {"loss": (1.0 - weight) ** 2}
        return metrics

    async def by_name(name):
        d = modal.Dict.from_name(name, create_if_missing=True)
        await d.put.aio("a", 1)
        return await d.get.aio("a") == d["a"]

    @app.local_entrypoint()
    def main(name: str):
        function_call = process.spawn(7)
        try:
            early = function_call.get(timeout=60)
        except TimeoutError:
            early = None
        jobs = [process.spawn(n) for n in range(5)]
        results = modal.FunctionCall.gather(*jobs)

        kept = asyncio.run(by_name(name))
        d = modal.Dict.from_name(name)
        d["outer_key"] = {"inner_key": "first"}
        seen_there = put_inner.remote(name)

        q = modal.Queue.from_name(name, create_if_missing=True)
        consumer = consume.spawn(name)
        q.put("first in")
        q.put("of a partition", partition="other")
        consumed = consumer.get()

        handle = train.spawn({"lr": 0.001})
        result = handle.get()  # Blocks until complete

        print(json.dumps({
            "early": early, "results": results, "map": list(process.map(range(4))),
            "one that fails": [type(v).__name__ for v in process.map(
                [2, None], return_exceptions=True)],
            "starmap": list(process.starmap([(3,), (4,)])),
            "twig": fetch_and_process_twig.remote(["a storm at sea", "calm", "the sea"]),
            "dict": [kept, seen_there, d["outer_key"]["inner_key"]],
            "queue": consumed,
            "trained": [result, train.remote({"lr": 0.001}), train.local({"lr": 0.001})],
        }))
        modal.Dict.objects.delete(name)
        modal.Queue.objects.delete(name)
"""

_DEPLOYED = """
    import rekindle as modal

    app = modal.App("article-deployed")

    @app.function(schedule=modal.Period(days=1))
    def every_day():
        return "ran"

    @app.function(schedule=modal.Cron("0 8 * * 1"))
    def on_mondays(): ...

    @app.function()
    def double(n: int) -> int:
        return 2 * n
"""

_CALLER = """
    import json
    import rekindle as modal

    double = modal.Function.from_name("article-deployed", "double")
    print(json.dumps([double.remote(4), double.spawn(5).get(), list(double.map([1, 2]))]))
    modal.App.lookup("article-deployed").stop()
"""


@pytest.fixture(scope="module")
def found(instance: Home) -> Iterator[dict[str, Any]]:
    with instance.another_place() as place:
        yield place.run(place.script(_PROGRAM), "--name", "article").value


def test_jobs_are_spawned_and_fetched_later(found: dict[str, Any]) -> None:
    assert found["early"] == 49 and found["results"] == [0, 1, 4, 9, 16]


def test_maps_keep_their_order_and_can_mark_what_failed(found: dict[str, Any]) -> None:
    assert found["map"] == [0, 1, 4, 9] and found["starmap"] == [9, 16]
    assert found["one that fails"] == ["int", "TypeError"]


def test_a_generator_passes_on_what_a_map_of_another_class_gives(found: dict[str, Any]) -> None:
    assert found["twig"] == [2, 0, 1]


def test_a_changed_value_of_a_dict_has_to_be_put_back(found: dict[str, Any]) -> None:
    assert found["dict"] == [True, "first", "kept"]


def test_a_queue_is_first_in_first_out_in_each_partition(found: dict[str, Any]) -> None:
    assert found["queue"] == ["first in", "of a partition", None]


def test_the_minimal_program_trains(found: dict[str, Any]) -> None:
    loss = {"loss": pytest.approx((0.999**10) ** 2)}
    assert found["trained"] == [loss, loss, loss]


def test_a_deployed_app_is_called_by_name_and_has_its_schedules(shared: Home) -> None:
    shared.script(_DEPLOYED, "app.py")
    shared.rekindle("deploy", "app.py")
    schedules = json.loads(shared.rekindle("schedule", "ls", "article-deployed", "--json").out)
    assert sorted(one["schedule"] for one in schedules) == ["0 8 * * 1 (UTC)", "every 1 d"]
    shared.script(_CALLER, "caller.py")
    assert shared.python("caller.py").value == [8, 10, [2, 4]]
