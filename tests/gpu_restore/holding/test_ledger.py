"""Who holds what: counted, waited for, evicted in order, forgotten with whoever is gone."""

from __future__ import annotations

import pytest

from rekindle.exception import GpuError
from rekindle.gpu_restore.holding.ledger import Ledger, State


def _held(ledger: Ledger, key: str, size: int, client: str = "loader") -> None:
    entry = ledger.want(key, client)
    assert entry is not None and entry.state is State.LOADING
    entry.size = size
    ledger.complete(key, client)
    ledger.release(key, client)


def test_the_first_loads_and_the_others_wait_for_it() -> None:
    ledger = Ledger()
    entry = ledger.want("m", "a")
    assert entry is not None and entry.state is State.LOADING
    assert ledger.want("m", "b") is None
    assert ledger.complete("m", "a") == ["b"]
    assert ledger.find("m").users == {"a", "b"}


def test_when_the_loader_is_gone_those_that_wait_are_told() -> None:
    ledger = Ledger()
    ledger.want("m", "a")
    ledger.want("m", "b")
    ((entry, waiting),) = ledger.gone("a")
    assert (entry.key, waiting) == ("m", ["b"])
    again = ledger.want("m", "b")
    assert again is not None and again.state is State.LOADING


def test_one_that_waited_and_is_gone_is_not_told() -> None:
    ledger = Ledger()
    ledger.want("m", "a")
    ledger.want("m", "b")
    assert ledger.gone("b") == []
    assert ledger.complete("m", "a") == []


def test_what_is_used_is_not_evicted_and_the_longest_unused_goes_first() -> None:
    ledger = Ledger(budget_bytes=100)
    for key in "abc":
        _held(ledger, key, 30)
    ledger.want("a", "user")
    ledger.want("b", "user")
    ledger.release("b", "user")
    evicted = ledger.make_room(40)
    assert evicted is not None
    assert [entry.key for entry in evicted] == ["c"]
    assert ledger.make_room(80) is None, "what nobody uses would not make enough room"
    assert {entry.key for entry in ledger} == {"a", "b"}


def test_without_a_budget_one_goes_at_a_time() -> None:
    ledger = Ledger()
    _held(ledger, "a", 1)
    _held(ledger, "b", 1)
    assert ledger.make_room(1 << 60) == []
    evicted = ledger.evict_one()
    assert evicted is not None and evicted.key == "a"
    ledger.want("b", "user")
    assert ledger.evict_one() is None


def test_only_who_loads_may_complete() -> None:
    ledger = Ledger()
    ledger.want("m", "a")
    with pytest.raises(GpuError, match="not this client's"):
        ledger.complete("m", "b")
    with pytest.raises(GpuError, match="no weights are held"):
        ledger.complete("x", "a")
