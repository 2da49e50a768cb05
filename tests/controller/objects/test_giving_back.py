"""What a get has taken for one who does not get it goes back, whatever breaks at that moment."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from rekindle import Queue
from rekindle.controller.objects import service
from rekindle.controller.storage.embedded_redis import redis_socket
from rekindle.exception import ConnectionError, DeserializationError, ServiceError
from rekindle.guarded_loops import Retries
from rekindle.linux.arrivals import Arrivals
from rekindle.linux.plain_descriptors import readable
from rekindle.sdk.objects import link
from rekindle.sdk.objects.aio_direct import AioDirect
from rekindle.sdk.objects.aio_link import AioLink, aio_link
from rekindle.sdk.objects.direct import Direct, Gone
from rekindle.sdk.objects.exchange import Exchange, Way
from rekindle.sdk.objects.giving_back import returning
from rekindle.sdk.objects.slots import Slot
from rekindle.sdk.objects.taking import Taking
from rekindle.wire import object_keys
from rekindle.wire.object_commands import Caller
from rekindle.wire.object_frames import Op, Reply, Request
from tests.controller.harness import Instance, in_loop
from tests.controller.in_process import running_parts
from tests.controller.objects.values import NotHere
from tests.e2e.harness import wait_until

LONG_S = 60
#: What has come to nothing of a get that waits: in Redis itself, and as the controller asks.
IN_LINE = 2
_LIST = Request(Op.LIST, b'{"kind": "queue"}')


@pytest.fixture
def q() -> Iterator[Queue]:
    with Queue.ephemeral() as made:
        yield made


def kill_programs(stored: redis.Redis, one: Queue) -> None:
    """End connections to Redis that programs have for an object."""
    for client in stored.client_list():
        if one.object_id in client["user"]:
            stored.client_kill_filter(_id=client["id"])


#: How many are in the queue, and are taken: by a script, and where they are many without.
MANY = pytest.mark.parametrize("count", [1, 3, 500])


@MANY
def test_what_the_get_of_a_number_took_goes_back_once(q: Queue, count: int) -> None:
    q.put_many(range(count))
    at = q._link()
    session = link._Session(at, q.object_id.encode(), b"s" * 16)
    get = Request(Op.QUEUE_GET, quantity=5000)
    session.ask(q.object_id.encode(), get, Taking())
    assert q.len() == 0
    for _ in range(3):
        session.number = 0
        session.ask(q.object_id.encode(), returning(get, 0), Taking())
    session.close()
    assert q.get_many(5000) == list(range(count))


@MANY
def test_a_get_that_ctrl_c_ends_as_its_connection_breaks_takes_nothing(
    q: Queue, stored: redis.Redis, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    q.put_many(range(count))
    receive = Direct._receive
    interrupted = False

    def interrupt(self: Direct, exchange: Exchange) -> Any:
        nonlocal interrupted
        if interrupted or b"EVALSHA" not in exchange.data:
            return receive(self, exchange)
        interrupted = True
        receive(self, exchange)
        kill_programs(stored, q)
        raise KeyboardInterrupt

    monkeypatch.setattr(Direct, "_receive", interrupt)
    with pytest.raises(KeyboardInterrupt):
        q.get_many(5000)
    wait_until(lambda: q.len() == count, "the items to be back")
    assert interrupted and q.get_many(5000) == list(range(count))


@pytest.mark.parametrize("tried_redis", [False, True])
def test_a_get_that_ctrl_c_ends_as_the_controller_answers_takes_nothing(
    q: Queue, monkeypatch: pytest.MonkeyPatch, tried_redis: bool
) -> None:
    interrupted = False
    assert q.len() == 0  # the way to it is known then
    q._link().forget()
    if not tried_redis:
        monkeypatch.setattr(link, "is_direct", lambda _: False)

    class Interrupting(Arrivals):
        """Of a connection to the controller, which has the get by then."""

        def __init__(self, fd: int) -> None:
            super().__init__(fd)
            self.fd = fd

        def wait(self, began_ns: int) -> None:
            nonlocal interrupted
            if interrupted:
                super().wait(began_ns)
                return
            interrupted = True
            q.put("kept")
            readable([self.fd], LONG_S)  # it has been taken
            raise KeyboardInterrupt

    monkeypatch.setattr(link, "Arrivals", Interrupting)
    with pytest.raises(KeyboardInterrupt):
        q.get()
    assert interrupted and q.get(timeout=LONG_S) == "kept"


class HeldUp:
    """A server between programs and Redis, on whose connections nothing passes while it is held."""

    def __init__(self, path: Path, redis_at: str) -> None:
        self.passes = threading.Event()
        self.passes.set()
        self._redis_at = redis_at
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        program, _ = self._listening.accept()
        self._listening.close()
        with program, socket.socket(socket.AF_UNIX) as server:
            server.connect(self._redis_at)
            back = threading.Thread(target=self._pass_on, args=(server, program))
            back.start()
            self._pass_on(program, server)
            back.join()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the other side has hung up
            while data := source.recv(1 << 16):
                self.passes.wait(LONG_S)
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)


def test_a_get_that_ctrl_c_ends_before_redis_has_it_takes_nothing(
    q: Queue, scripts_run: Callable[[str], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What puts back goes over another connection, and is not to come before it."""
    q.put("kept")
    link.forget(q._link().instance)
    way_to, between = Way.socket, HeldUp(tmp_path / "s", str(redis_socket(q._link().instance)))
    with monkeypatch.context() as patched:
        patched.setattr(Way, "socket", lambda way: (way_to(way)[0], str(tmp_path / "s")))
        assert q.len() == 1
    wait, receive, until_done = Arrivals.wait, Direct._receive, Direct._until_done
    waits = 0

    def interrupt(self: Arrivals, now_ns: int) -> None:
        nonlocal waits
        waits += 1
        if waits == 1:
            raise KeyboardInterrupt
        wait(self, now_ns)

    def passes_soon(self: Direct, exchange: Exchange) -> Any:  # of the same, or what puts back
        threading.Timer(0.1, between.passes.set).start()
        return receive(self, exchange)

    def passes_meanwhile(self: Direct) -> None:
        threading.Timer(0.1, between.passes.set).start()
        until_done(self)

    before = scripts_run(q.object_id)
    between.passes.clear()
    with monkeypatch.context() as patched:
        patched.setattr(Arrivals, "wait", interrupt)
        patched.setattr(Direct, "_receive", passes_soon)
        patched.setattr(Direct, "_until_done", passes_meanwhile)
        with pytest.raises(KeyboardInterrupt):
            q.get()
    wait_until(lambda: scripts_run(q.object_id) == before + 2, "the get, and what puts back")
    assert q.get(timeout=LONG_S) == "kept"


def cancelled_once_taken(
    q: Queue,
    scripts_run: Callable[[str], int],
    count: int,
    meanwhile: Callable[[], object] = lambda: None,
) -> None:
    """Cancel a get of so many that Redis has done, after ``meanwhile``: all are there again."""

    async def cancel() -> None:
        await q.put_many.aio(range(count))
        before = scripts_run(q.object_id)
        taking = asyncio.create_task(q.get_many.aio(5000))
        await asyncio.sleep(0)
        wait_until(lambda: scripts_run(q.object_id) > before, "the items to be taken")
        meanwhile()
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking
        assert await q.get.aio(timeout=LONG_S) == 0

    asyncio.run(cancel())
    wait_until(lambda: q.len() == count - 1, "the others to be back")


@MANY
def test_a_cancelled_get_whose_connection_breaks_as_it_is_undone_takes_nothing(
    q: Queue, scripts_run: Callable[[str], int], monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    def breaks(self: AioDirect, *_: object) -> asyncio.Future[Any]:
        undone = asyncio.get_running_loop().create_future()
        undone.set_exception(Gone("it broke"))
        return undone

    monkeypatch.setattr(AioDirect, "undo", breaks)

    cancelled_once_taken(q, scripts_run, count)


@MANY
def test_a_cancelled_get_whose_connection_breaks_takes_nothing(
    q: Queue, stored: redis.Redis, scripts_run: Callable[[str], int], count: int
) -> None:
    cancelled_once_taken(q, scripts_run, count, lambda: kill_programs(stored, q))


@pytest.mark.parametrize("waits", [False, True])
def test_a_cancelled_get_whose_loop_ends_at_once_takes_nothing(
    q: Queue, scripts_run: Callable[[str], int], waits: bool
) -> None:
    """Its answer is under way: from Redis, or from the controller, where it waited."""

    async def cancel() -> None:
        await q.len.aio()
        before = scripts_run(q.object_id)
        taking = asyncio.create_task(q.get.aio())
        await asyncio.sleep(0)
        while waits and scripts_run(q.object_id) < before + IN_LINE:
            await asyncio.sleep(0)
        with ThreadPoolExecutor(1) as aside:  # this loop is not to go on
            if waits:
                aside.submit(q.put, "kept").result(LONG_S)
            wait_until(lambda: aside.submit(q.len).result(LONG_S) == 0, "the item to be taken")
        taking.cancel()

    for _ in range(5):
        if not waits:
            q.put("kept")
        asyncio.run(cancel())
        assert q.get(timeout=LONG_S) == "kept"


def test_a_get_that_waits_on_a_loop_that_is_closed_takes_nothing(
    q: Queue, scripts_run: Callable[[str], int]
) -> None:
    """Its task was not cancelled, and is still referred to."""
    loop = asyncio.new_event_loop()

    async def wait() -> asyncio.Task[object]:
        await q.len.aio()
        before = scripts_run(q.object_id)
        waiting = asyncio.create_task(q.get.aio())
        await asyncio.sleep(0)
        while scripts_run(q.object_id) < before + IN_LINE:
            await asyncio.sleep(0)
        return waiting

    waiting = loop.run_until_complete(wait())
    loop.close()
    q.put("kept")
    assert q.get(timeout=LONG_S) == "kept"
    assert not waiting.done()


@pytest.mark.parametrize("takes", [False, True])
def test_of_a_cancelled_request_whose_controller_goes_away_asyncio_tells_no_error(
    q: Queue,
    scripts_run: Callable[[str], int],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    takes: bool,
) -> None:
    receive, goes_away = AioLink._received, False

    def received(self: AioLink, data: bytes) -> None:
        if not goes_away:
            receive(self, data)

    monkeypatch.setattr(AioLink, "_received", received)

    async def cancel() -> None:
        nonlocal goes_away
        at = aio_link(q._link())
        await at.ask(b"", _LIST)
        goes_away = True
        before = scripts_run(q.object_id)
        asking = asyncio.create_task(q.get.aio() if takes else at.ask(b"", _LIST))
        await asyncio.sleep(0)
        while takes and scripts_run(q.object_id) < before + IN_LINE:
            await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert at._waiting  # what it was told of that
        at._ended(None)

    gc.collect()  # what tests before it left tells of itself here, and not as this one's
    caplog.clear()
    asyncio.run(cancel())
    gc.collect()
    assert not [one for one in caplog.records if one.name == "asyncio"]


def test_nobody_gets_the_reply_of_who_asked_on_a_closed_connection(q: Queue) -> None:
    async def ask() -> None:
        await q.len.aio()
        way = q._link().ways.find(q.object_id.encode())
        direct = AioDirect(b"s" * 32)
        with pytest.raises(Gone):
            await direct.ask(way, Request(Op.QUEUE_GET, quantity=1), 0, 1)  # type: ignore[arg-type]
        assert direct.is_idle

    asyncio.run(ask())


@pytest.mark.parametrize("by_loop", [False, True])
@pytest.mark.parametrize("error", [ConnectionError, ServiceError])
def test_values_are_given_though_those_behind_cannot_be_put_back_at_once(
    q: Queue, monkeypatch: pytest.MonkeyPatch, error: type[Exception], by_loop: bool
) -> None:
    q.put_many([1, NotHere(), 3])
    failed = False

    def fail_once(
        self: link._Session, object_id: bytes, request: Request, taking: Taking
    ) -> Reply | Request:
        nonlocal failed
        if request.op != Op.QUEUE_RETURN or failed:
            return at_once(self, object_id, request, taking)
        failed = True
        raise error("away")

    async def fail(
        self: AioLink, object_id: bytes, slot: Slot, request: Request, taking: Taking
    ) -> Reply | Request:
        if request.op == Op.QUEUE_RETURN:
            raise error("away")
        return await directly(self, object_id, slot, request, taking)

    directly = AioLink._directly
    at_once = link._Session._directly
    if by_loop:
        failed = True
        monkeypatch.setattr(AioLink, "_directly", fail)
    else:
        monkeypatch.setattr(link._Session, "_directly", fail_once)
    assert (asyncio.run(q.get_many.aio(9)) if by_loop else q.get_many(9)) == [1]
    wait_until(lambda: q.len() == 2, "the others to be back")
    with pytest.raises(DeserializationError):
        q.get_many(9)
    assert failed and q.get_many(9) == [3]


@in_loop
async def test_the_controller_puts_back_until_redis_takes_it_and_says_so_once(
    redis_alone: Instance, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(service, "Retries", partial(Retries, first_s=0.0, longest_s=0.0))
    async with running_parts(redis_alone) as parts:
        objects = parts.objects
        await objects.start()
        one = await objects.catalog.create("queue", "main", "q", "", keep=False)
        items = object_keys.queue_items(one.object_id, "")
        await parts.link.command("SET", items, "no list")
        send, refused, done = objects.send, 0, asyncio.Event()
        often = asyncio.Event()

        def counting(*args: Any) -> None:
            nonlocal refused
            refused += 1
            if refused == 10:
                often.set()
            send(*args)

        monkeypatch.setattr(objects, "send", counting)
        get = Request(Op.QUEUE_GET, object_id=one.object_id.encode(), quantity=1)
        objects.put_back(one, get, Caller(b"s" * 16, 7, b"%8d" % 1), [b"item"], done.set)
        await often.wait()
        await parts.link.command("DEL", items)
        await done.wait()
        assert await parts.link.command("LRANGE", items, 0, -1) != []
        await objects.stop()
    said = [record.getMessage() for record in caplog.records]
    assert said.count("items are not put back yet") == said.count("items are put back") == 1
