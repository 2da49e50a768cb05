"""Rows on maps, payloads, resources and limits (sections 4, 8, 9 and 16): one program for all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import rekindle
from rekindle.controller.settings import Settings
from rekindle.exception import InvalidError
from rekindle.sdk.calls.arguments import MAX_PAYLOAD_BYTES
from tests.e2e.harness import Home

_PROGRAM = """
    import asyncio, gc, itertools, json, os, warnings
    import rekindle as modal

    app = modal.App("compat-maps")
    other = modal.App("not-running")

    @app.function(max_containers=1)
    def add(a, b=0):
        return a + b

    @app.function()
    def call(function, *args):
        return function.remote(*args)

    @app.function()
    def stored(values, key):
        values[key] = key
        return len(values)

    @app.function(single_use_containers=True)
    def once():
        return os.environ["REKINDLE_RUNNER_ID"]

    @app.function(max_containers=1)
    def place(n):
        return os.environ["REKINDLE_RUNNER_ID"]

    @other.function()
    def elsewhere():
        return 1

    def raised(call):
        try:
            call()
        except Exception as error:
            return [type(error).__name__, str(error)]
        return None

    def lazily():
        taken = itertools.count()
        first = list(itertools.islice(add.map(taken), 3))
        return [first, next(taken)]

    async def from_async():
        async def numbers():
            for n in range(4):
                await asyncio.sleep(0)
                yield n

        values = [value async for value in add.map.aio(numbers(), numbers())]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            blocking = list(add.map([1]))
        return [values, blocking, [one.category.__name__ for one in caught]]

    def never_iterated():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            add.map([1])
            gc.collect()
        return [one.category.__name__ for one in caught]

    def large():
        text = "x" * (3 << 20)
        values = [add.remote(text, "y"), add.spawn(text, "y").get(), *add.map([text], ["y"])]
        return [value == text + "y" for value in values]

    @app.local_entrypoint()
    def main():
        with modal.Dict.ephemeral() as shared:
            handles = [call.remote(add, 1, 2), stored.remote(shared, "a"), shared["a"]]
        print(json.dumps({
            "lazily": lazily(),
            "async": asyncio.run(from_async()),
            "never iterated": never_iterated(),
            "many": list(add.map(range(2500))) == list(range(2500)),
            "unordered": sorted(add.map(range(9), order_outputs=False)),
            "not wrapped": [type(one).__name__ for one in add.map(
                [1, "a"], [1, 1], return_exceptions=True, wrap_returned_exceptions=False)],
            "large": large(),
            "handles": handles,
            "not running": raised(lambda: call.remote(elsewhere)),
            "once": len({once.remote() for _ in range(3)}),
            "one place": len(set(place.map(range(20)))),
        }))
"""


@pytest.fixture(scope="module")
def found(instance: Home) -> Iterator[dict[str, Any]]:
    with instance.another_place() as place:
        yield place.run(f"{place.script(_PROGRAM)}::app.main").value


def test_iterators_of_a_map_are_consumed_as_results_are(found: dict[str, Any]) -> None:
    first, consumed = found["lazily"]
    assert first == [0, 1, 2] and consumed < 20_000
    assert found["many"] and found["unordered"] == list(range(9))


def test_exceptions_in_the_place_of_values_are_those_that_were_raised(
    found: dict[str, Any],
) -> None:
    assert found["not wrapped"] == ["int", "TypeError"]


def test_iterators_may_be_async_and_blocking_ones_warn_in_a_loop(found: dict[str, Any]) -> None:
    values, blocking, warned = found["async"]
    assert values == [0, 2, 4, 6]
    assert blocking == [1] and warned == ["AsyncUsageWarning"]


def test_a_map_that_nobody_iterates_over_warns(found: dict[str, Any]) -> None:
    assert found["never iterated"] == ["NeverIteratedWarning"]


def test_payloads_of_any_size_come_by_every_way(found: dict[str, Any]) -> None:
    assert found["large"] == [True] * 3
    assert MAX_PAYLOAD_BYTES >= 100 << 20


def test_objects_travel_as_handles_once_they_are_somewhere(found: dict[str, Any]) -> None:
    assert found["handles"] == [3, 1, "a"]
    kind, words = found["not running"]
    assert kind == "SerializationError" and "elsewhere cannot be called remotely" in words


def test_runners_are_as_many_as_was_said(found: dict[str, Any]) -> None:
    assert found["once"] == 3 and found["one place"] == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"ephemeral_disk": 1024}, "tempfile"),
        ({"concurrency_limit": 1}, "max_containers="),
        ({"container_idle_timeout": 60}, "scaledown_window="),
        ({"block_network": True}, "block_network"),
        ({"cpu": (2, 1)}, "cpu"),
        ({"memory": (256, 128)}, "memory"),
        ({"scaledown_window": 3601}, "from 2 to 3600"),
        ({"timeout": 86_401}, "from 1 to 86400"),
    ],
)
def test_resources_that_cannot_be_are_refused_at_import(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidError, match=words):
        rekindle.App("refused").function(**given)


def test_limits_are_no_lower_than_those_that_are_documented_there() -> None:
    settings = Settings()
    assert settings.result_ttl_s == 7 * 24 * 3600
    assert settings.max_pending >= 1_000_000 and settings.max_waiting >= 2_000
