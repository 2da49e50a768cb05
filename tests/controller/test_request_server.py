"""Requests as JSON: the same service behind another socket, for who has the token."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable
from typing import Any

import pytest

from rekindle import exception
from rekindle.paths import requests_socket
from rekindle.sdk.connection.link import Link, LostError, Stream
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.spec import FunctionSpec
from rekindle.wire.version import PROTOCOL
from tests.controller.fake_agent import FakeAgent
from tests.controller.harness import TOKEN, Client, Instance, in_loop, new_id, running_instance


def linked(instance: Instance, token: str = TOKEN) -> Link:
    link = Link.open(instance.directory, token)
    assert link is not None
    return link


def form(app_id: str) -> dict[str, Any]:
    spec = FunctionSpec(app_name="app", name="f").message_fields()
    return {"app_id": app_id, "name": "app", "ephemeral": True, "functions": [{"spec": spec}]}


def ignore(_what: object) -> None:
    return


async def in_thread(work: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(work)


def test_it_answers_as_by_grpc_and_errors_are_the_same(shared: Instance) -> None:
    link = linked(shared)
    assert link.ask("Hello", {"protocol": PROTOCOL}).wait()["protocol"] == PROTOCOL
    with pytest.raises(exception.VersionError, match="restart"):
        link.ask("Hello", {"protocol": PROTOCOL + 1}).wait()
    with pytest.raises(exception.NotFoundError, match="ap-nothing"):
        link.ask("Lookup", {"app_id": "ap-nothing", "name": "f"}).wait()
    with pytest.raises(exception.InvalidError, match="colour"):
        link.ask("Hello", {"colour": 1}).wait()
    with pytest.raises(exception.InvalidError, match="Session"):
        link.ask("Session", {}).wait()
    assert link.ask("Hello", {"protocol": PROTOCOL}).wait()["version"]  # it still serves
    link.close()


@pytest.mark.parametrize("token", ["", "wrong"])
def test_without_the_token_nothing_is_answered(shared: Instance, token: str) -> None:
    with pytest.raises(LostError):
        linked(shared, token).ask("Hello", {"protocol": PROTOCOL}).wait()
    assert stat.S_IMODE(requests_socket(shared.directory).stat().st_mode) == 0o600


@in_loop
async def test_an_app_is_held_for_as_long_as_the_connection_is(shared: Instance) -> None:
    async with Client(shared) as client:
        app_id, held = new_id("ap"), asyncio.Event()
        loop = asyncio.get_running_loop()
        link = await in_thread(lambda: linked(shared))
        registered = await in_thread(link.ask("RegisterApp", form(app_id)).wait)

        def is_held(_reply: object) -> None:
            loop.call_soon_threadsafe(held.set)

        link.follow("HoldApp", {"app_id": app_id}, Stream(is_held, ignore))
        await held.wait()
        handle = await client.call("Lookup", pb.LookupRequest(app_id=app_id, name="f"))
        assert handle.function_id == registered["functions"][0]["function_id"]
        lines = client.call("Logs", pb.LogsRequest(app_id=app_id, follow=True))
        link.close()
        assert [line async for line in lines] == []  # they end when the app is closed


@in_loop
async def test_closing_an_app_goes_on_when_the_connection_that_asked_for_it_is_gone(
    shared: Instance,
) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        agent.confirms_closing = False
        app_id = new_id("ap")
        link = await in_thread(lambda: linked(shared))
        await in_thread(link.ask("RegisterApp", form(app_id)).wait)
        lines = client.call("Logs", pb.LogsRequest(app_id=app_id, follow=True))
        link.ask("CloseApp", {"app_id": app_id})
        assert await agent.closes.get() == app_id
        link.close()
        # Of another connection, after the end of that one has been read.
        other = await in_thread(lambda: linked(shared))
        await in_thread(other.ask("Hello", {"protocol": PROTOCOL}).wait)
        other.close()
        await agent.closed(app_id)
        assert [line async for line in lines] == []


def test_who_waits_is_told_when_the_controller_is_killed_and_none_is_taken_for_one() -> None:
    with running_instance() as instance:
        link, lost = linked(instance), []
        app_id = new_id("ap")
        link.ask("RegisterApp", form(app_id)).wait()
        link.on_lost = lambda: lost.append(True)
        link.follow("HoldApp", {"app_id": app_id}, Stream(ignore, ignore))
        link.ask("Hello", {"protocol": PROTOCOL}).wait()
        instance.kill_controller()
        assert link._thread is not None
        link._thread.join(30)
        assert lost == [True]
        with pytest.raises(LostError):
            link.ask("Hello", {"protocol": PROTOCOL}).wait()
        assert Link.open(instance.directory, TOKEN) is None
        instance.start_controller()
        linked(instance).close()
