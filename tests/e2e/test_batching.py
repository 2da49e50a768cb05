"""Items of separate callers in one batch, by every way that inputs come."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.harness import Home

APP = """
import asyncio, json, os, pickle, signal, subprocess, sys, threading, time
import rekindle
from rekindle import exception

app = rekindle.App("batches")

# A batch begins when six are there, or after ten minutes.
@app.function(max_containers=1)
@rekindle.batched(max_batch_size=6, wait_ms=600_000)
def six(xs, ys):
    print("a batch of", len(xs), rekindle.current_input_id())
    return [(x, y, sorted(xs), rekindle.current_function_call_id()) for x, y in zip(xs, ys)]

@app.function()
def relay(x):
    return six.remote(x, ys=-x)

@app.function()
@rekindle.batched(max_batch_size=100, wait_ms=20)
async def soon(xs):
    await asyncio.sleep(0)
    return [x + 1 for x in xs]

@app.cls(max_containers=1, timeout=2, startup_timeout=60)
class Model:
    factor: int = rekindle.parameter(default=2)

    @rekindle.enter()
    def load(self):
        self.loaded = 10

    @rekindle.batched(max_batch_size=3, wait_ms=600_000)
    async def predict(self, xs):
        if 0 in xs:
            raise ValueError(f"a zero among {sorted(xs)}")
        if 1 in xs:
            return xs[1:]
        if 2 in xs:
            return tuple(xs)
        if 3 in xs:
            return [lambda: 3 if x == 3 else x for x in xs[:1]] + xs[1:]
        if 4 in xs:
            time.sleep(600)
        return [self.factor * x + self.loaded for x in xs]

@app.function(max_containers=1)
@rekindle.batched(max_batch_size=3, wait_ms=600_000)
def mortal(directories, xs):
    with open(f"{directories[0]}/batches", "a") as file:
        print(sorted(xs), file=file)
    if len(open(f"{directories[0]}/batches").readlines()) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return xs

async def settled(method, *items):
    calls = [method.remote.aio(item) for item in items]
    return [f"{type(one).__name__}: {one}" if isinstance(one, BaseException) else one
            for one in await asyncio.gather(*calls, return_exceptions=True)]

OTHER = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).remote(1, -1)[2])"

@app.local_entrypoint()
def main(directory: str):
    out = {}
    with open(f"{directory}/handle", "wb") as file:
        pickle.dump(six, file)
    argv = [sys.executable, "-c", OTHER, f"{directory}/handle"]
    other = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)

    async def all_ways():
        spawned = six.spawn(2, -2)
        mapped = asyncio.ensure_future(asyncio.to_thread(lambda: list(six.map([3], [-3]))))
        thread = asyncio.ensure_future(asyncio.to_thread(six.remote, 4, -4))
        task = asyncio.ensure_future(six.remote.aio(5, ys=-5))
        from_runner = asyncio.ensure_future(relay.remote.aio(6))
        rest = await asyncio.gather(task, thread, from_runner)
        return [await spawned.get.aio(), *await mapped, *rest]
    out["ways"] = asyncio.run(all_ways())
    out["other"] = json.loads(other.communicate()[0])
    out["lone"] = soon.remote(1)
    out["local"] = Model(factor=3).predict.local
    out["local"] = asyncio.run(Model(factor=3).predict.local([10, 20]))
    model = Model()
    out["values"] = asyncio.run(settled(model.predict, 10, 20, 30))
    out["mapped"] = list(model.predict.map([7, 8, 9]))
    out["raised"] = asyncio.run(settled(model.predict, 0, 10, 20))
    out["short"] = asyncio.run(settled(model.predict, 1, 10, 20))
    out["tuple"] = asyncio.run(settled(model.predict, 2, 10, 20))

    async def wrong_arguments():
        wrong = asyncio.ensure_future(settled(model.predict, 10, 20))
        try:
            await model.predict.remote.aio(1, 2)
        except TypeError as error:
            return str(error), await wrong
    out["wrong"] = asyncio.run(wrong_arguments())
    async def slow():
        # The fifth and the sixth wait while the batch of the others runs out of time.
        return await settled(model.predict, 4, 10, 20, 30, 40, 50)
    out["slow"] = asyncio.run(slow())
    out["died"] = asyncio.run(died(directory))
    print(json.dumps(out))

async def died(directory):
    calls = [mortal.spawn(directory, 1)]
    direct = await asyncio.gather(mortal.remote.aio(directory, 2), mortal.remote.aio(directory, 3))
    return [*direct, await calls[0].get.aio()]
"""


@pytest.fixture(scope="module")
def found(instance: Home) -> Any:
    with instance.another_place() as place:
        out = place.run(place.script(APP), "--directory", str(place.scripts))
        batches = (place.scripts / "batches").read_text().splitlines()
        logs = place.rekindle("logs", "batches").out
        yield {**out.value, "batches": batches, "logs": logs}


def test_items_of_all_kinds_of_callers_are_one_batch(found: Any) -> None:
    assert [row[:2] for row in found["ways"]] == [[x, -x] for x in (2, 3, 5, 4, 6)]
    assert {tuple(row[2]) for row in found["ways"]} == {(1, 2, 3, 4, 5, 6)}
    assert found["other"] == [1, 2, 3, 4, 5, 6]
    assert found["logs"].count("a batch of 6") == 1


def test_a_lone_item_waits_no_longer_than_it_may(found: Any) -> None:
    assert found["lone"] == 2


def test_methods_are_batched_and_callable_as_they_are(found: Any) -> None:
    assert found["local"] == [40, 70]
    assert found["values"] == [30, 50, 70]
    assert found["mapped"] == [24, 26, 28]


def test_an_exception_fails_all_of_a_batch(found: Any) -> None:
    assert found["raised"] == ["ValueError: a zero among [0, 10, 20]"] * 3


def test_another_number_of_values_is_an_error_for_all(found: Any) -> None:
    assert len(found["short"]) == 3
    assert all("a list of 2 values for a batch of 3 items" in one for one in found["short"])
    assert all("InvalidError" in one and "tuple" in one for one in found["tuple"])


def test_an_item_with_wrong_arguments_fails_alone(found: Any) -> None:
    message, others = found["wrong"]
    assert "too many positional arguments" in message
    assert others == [30, 50]


def test_a_batch_over_its_timeout_is_ended_and_the_next_one_runs(found: Any) -> None:
    assert sum("FunctionTimeoutError" in str(one) for one in found["slow"]) == 3
    assert [one for one in found["slow"] if "Error" not in str(one)] == [70, 90, 110]


def test_a_batch_whose_runner_dies_runs_again_each_item_by_itself(found: Any) -> None:
    assert found["died"] == [2, 3, 1]
    assert found["batches"][0] == "[1, 2, 3]"
    assert sorted(found["batches"][1:]) == ["[1]", "[2]", "[3]"]
