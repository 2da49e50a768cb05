"""Leases that nobody uses are let go, whatever ends a program's interest in them."""

from __future__ import annotations

import os
import resource
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from rekindle.exception import ExecutionError
from rekindle.sdk.calls import lease_caches
from rekindle.sdk.calls.lease import Lease, held
from rekindle.sdk.calls.leases import LeaseCache
from rekindle.sdk.connection.background import background
from rekindle.wire import direct_frames as wire
from tests.e2e.harness import wait_until
from tests.sdk.fake_lender import Lender, add, answer, app, hang_up


@pytest.fixture
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_caches, "_LOOK_S", 0.01)


@pytest.fixture
def few_descriptors() -> Iterator[int]:
    """As many leases as may stand then."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    # A quarter is for leases. Both ends are in this process, and what it had open before.
    few = len(os.listdir("/proc/self/fd")) + 40
    resource.setrlimit(resource.RLIMIT_NOFILE, (4 * few, before[1]))
    yield few
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def a_cache(params: bytes) -> LeaseCache:
    """Of the function with these parameters, which was called just now."""
    made = app.running
    assert made is not None
    return lease_caches.cache_of(made.client, made.function_ids["add"], params)


def a_lease(cache: LeaseCache) -> Lease:
    made = background().run(cache.ask())
    assert made is not None
    return made


@pytest.mark.usefixtures("looks_often")
def test_a_lease_that_was_taken_back_is_let_go_though_nobody_calls_again(lender: Lender) -> None:
    with app.run():
        assert add.remote(1, 1) == 2
        (one,) = held.values()
        lender.connections[-1].shutdown(socket.SHUT_RDWR)
        wait_until(lambda: not held, "the end of the lease")
        assert one._sock.fileno() == -1
        assert add.remote(2, 2) == 4
    assert lender.lease_requests == 2


def test_leases_of_what_was_called_longest_ago_go_before_there_are_too_many(
    lender: Lender, few_descriptors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_caches, "_QUIET_S", 1e12)  # when these were called is made up
    with app.run():
        busy = a_lease(a_cache(b"busy"))
        caches = [a_cache(b"%d" % i) for i in range(10 * few_descriptors)]
        for i, cache in enumerate(caches):
            cache.give_back(a_lease(cache))
            cache.used_ns = 1 << 63 if i == 3 else (1 << 62) + i  # one is called all the time
            assert len(held) <= few_descriptors
        left = [i for i, cache in enumerate(caches) if cache.idle]
        assert left == [3, *range(left[1], len(caches))]
        assert not busy.is_over() and id(busy) in held
        caches[0].give_back(a_lease(caches[0]))
        assert len(caches[0].idle) == 1
    assert list(held.values()) == [busy]
    busy.close()


@pytest.mark.usefixtures("looks_often")
def test_what_was_not_called_for_long_is_forgotten_and_is_called_again_as_before(
    lender: Lender, monkeypatch: pytest.MonkeyPatch
) -> None:
    with app.run():
        assert add.remote(1, 1) == 2
        assert lease_caches._caches
        monkeypatch.setattr(lease_caches, "_QUIET_S", 0.0)
        lender.connections[-1].shutdown(socket.SHUT_RDWR)
        wait_until(lambda: not lease_caches._caches, "the end of what is known of the function")
        assert not list(lease_caches._dropped.items())
        assert add.remote(1, 2) == 3


@pytest.mark.usefixtures("looks_often")
@pytest.mark.parametrize("ends", ["itself", "with its app"])
def test_a_call_that_takes_longer_than_its_function_is_remembered_ends_as_any(
    lender: Lender, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    """Its lease is given back, as nobody would find it; and it is given up with its app."""
    monkeypatch.setattr(lease_caches, "_QUIET_S", 0.0)
    over = threading.Event()

    def serve(sock: socket.socket, call: wire.CallFrame) -> None:
        assert over.wait(60)
        (answer if ends == "itself" else hang_up)(sock, call)

    lender.serve = serve
    with ThreadPoolExecutor(1) as pool:
        with app.run():
            waits = pool.submit(add.remote, 1, 2)
            wait_until(lambda: list(lease_caches._dropped.items()), "the end of its function")
            if ends == "itself":
                over.set()
                assert waits.result(60) == 3
                wait_until(lambda: not held, "the end of its lease")
        over.set()
        if ends == "with its app":
            with pytest.raises(ExecutionError, match="its app has ended in this program"):
                waits.result(60)
    assert not lender.submitted


@pytest.mark.usefixtures("looks_often")
def test_what_is_called_again_under_a_call_that_is_on_its_way_shares_its_leases(
    lender: Lender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_caches, "_QUIET_S", 0.0)
    with app.run():
        on_its_way = a_cache(b"1")
        lease = a_lease(on_its_way)
        wait_until(lambda: list(lease_caches._dropped.items()), "the end of its function")
        monkeypatch.setattr(lease_caches, "_QUIET_S", 60.0)
        assert a_cache(b"1") is on_its_way
        on_its_way.give_back(lease)
        assert len(on_its_way.idle) == 1


def test_an_app_that_ends_leaves_nothing_of_its_functions(lender: Lender) -> None:
    with app.run():
        assert add.remote(1, 1) == 2
        made = app.running
        assert made is not None and made.client.node_tokens.keys() == {*made.function_ids.values()}
    assert not lease_caches._caches and not made.client.node_tokens
