"""Dict and Queue as a program written for Modal uses them, with only its import line changed."""

from __future__ import annotations

import asyncio
import inspect
import queue
from collections.abc import Iterator
from datetime import datetime

import pytest

import rekindle as modal
from tests.controller.harness import running_instance


@pytest.fixture(autouse=True, scope="module")
def here() -> Iterator[None]:
    with running_instance() as made, pytest.MonkeyPatch.context() as patch:
        patch.setenv("REKINDLE_DIR", str(made.directory))
        yield


@pytest.mark.parametrize("kind", [modal.Dict, modal.Queue])
def test_what_all_objects_have(kind: type[modal.Dict] | type[modal.Queue]) -> None:
    name = f"compat-{kind.__name__}"
    made = kind.from_name(name, create_if_missing=True, environment_name=None)
    assert made.hydrate() is made and made.name == name
    assert isinstance(made.info().created_at, datetime)
    assert kind.from_id(made.object_id).info() == made.info()
    kind.objects.create(name, allow_existing=True)
    assert [one.name for one in kind.objects.list()] == [name]
    kind.objects.delete(name)
    with pytest.raises(modal.exception.NotFoundError):
        kind.from_name(name).hydrate()
    with kind.ephemeral() as temporary:
        assert temporary.object_id.startswith(("di-", "qu-"))


def test_the_methods_of_a_dict_and_their_asyncio_forms() -> None:
    async def main() -> None:
        async with modal.Dict.ephemeral() as d:
            assert await d.put.aio("key", 1) is True
            assert await d.put.aio("key", 2, skip_if_exists=True) is False
            assert await d.get.aio("key") == 1 and await d.get.aio("none", default=3) == 3
            assert await d.pop.aio("key") == 1
            with pytest.raises(KeyError):
                await d.pop.aio("key")
            await d.update.aio({"a": 1}, b=2)
            assert sorted([item async for item in d.items.aio()]) == [("a", 1), ("b", 2)]

    asyncio.run(main())


def test_a_value_that_is_changed_is_changed_when_it_is_put_again() -> None:
    with modal.Dict.ephemeral() as d:
        d["outer"] = {"inner": 1}
        d["outer"]["inner"] = 2
        assert d["outer"] == {"inner": 1}


def test_the_parameters_of_a_queue_and_what_they_do() -> None:
    signature = inspect.signature(modal.Queue.put._body)
    assert list(signature.parameters)[1:] == ["v", "block", "timeout", "partition", "partition_ttl"]
    assert signature.parameters["partition_ttl"].default == 86_400
    with modal.Queue.ephemeral() as q:
        q.put(42)
        q.put_many([1, 2, 3], partition="foo")
        assert q.get() == 42 and q.get(block=False) is None
        assert list(q.iterate(partition="foo", item_poll_timeout=0.0)) == [1, 2, 3]
        assert q.len() == 0 and q.len(partition="foo") == q.len(total=True) == 3
        assert q.get_many(2, partition="foo") == [1, 2]
        with pytest.raises(queue.Empty):
            q.get(timeout=0.01)
        with pytest.raises(modal.exception.RequestSizeError):
            q.put(bytes(2 << 20))
        q.clear(all=True)
        assert q.len(total=True) == 0
