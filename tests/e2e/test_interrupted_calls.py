"""Calls that a signal's exception ends, at the places where Python lets a handler run, of a program
that goes on: what it calls next has its own answer, and nothing of the former is left."""

from __future__ import annotations

import gc
import signal
import warnings
from collections.abc import Iterator
from types import FrameType

import pytest

import rekindle
from rekindle.exception import NeverIteratedWarning
from rekindle.sdk import running
from rekindle.sdk.calls import lease_caches, leases, records
from rekindle.sdk.connection import background
from tests import threads
from tests.e2e.harness import Gate, Home, wait_until
from tests.interrupts import at_all_places

app = rekindle.App("interrupted-calls")


@app.function(serialized=True, max_containers=2)
def double(number: int) -> int:
    return 2 * number


@app.function(serialized=True, max_containers=2)
def three(first: int) -> Iterator[int]:
    yield from range(first, first + 3)


@app.function(serialized=True, max_containers=2)
def hold(path: str) -> str:
    import os

    with open(f"{path}/held", "a"):
        fd = os.open(f"{path}/gate", os.O_RDONLY)
        os.read(fd, 1)
        os.close(fd)
    return path


@app.function(serialized=True, max_containers=2)
def hold_second(path: str) -> Iterator[str]:
    import os

    yield "first"
    fd = os.open(f"{path}/gate", os.O_RDONLY)
    os.read(fd, 1)
    os.close(fd)
    yield "second"


@app.cls(serialized=True, max_containers=2)
class Times:
    by: int = rekindle.parameter()

    @rekindle.method()
    def times(self, number: int) -> int:
        return self.by * number


@pytest.fixture(scope="module")
def ran(instance: Home) -> Iterator[Home]:
    """The app, run by this process at the shared instance."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("REKINDLE_DIR", str(instance.daemon))
        background.background()  # it begins by itself where there are many leases, say
        with app.run():
            yield instance


numbers = iter(range(1_000_000))


def calls() -> None:
    """Its answer is its own."""
    number = next(numbers)
    assert double.remote(number) == 2 * number


def look(at: str) -> None:
    """The next call has its own answer."""
    number = next(numbers)
    assert double.remote(number) == 2 * number, at


@pytest.fixture
def left(ran: Home) -> Iterator[None]:
    """What a test leaves is nothing."""
    calls()
    before, others = threads.ours(), set(background.background()._running)
    with warnings.catch_warnings():
        # Of one that was to be begun just then.
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
        warnings.filterwarnings("ignore", category=NeverIteratedWarning)
        yield
        gc.collect()
    threads.until_no_more_than(before)
    wait_until(lambda: ran.status()["agents"][0]["in_flight"] == 0, "the agent to have no input")
    waited = background.background()._running
    wait_until(lambda: waited <= others, "nothing to be waited for", state=lambda: waited)
    assert not leases._asking and not records._collectors and not running._strategies


ERRORS = pytest.mark.parametrize("error", [KeyboardInterrupt, TimeoutError])


def files(places: set[str]) -> set[str]:
    return {one.partition(":")[0] for one in places}


@ERRORS
@pytest.mark.usefixtures("left")
def test_a_direct_call(error: type[BaseException]) -> None:
    places = at_all_places(calls, look, error=error)
    assert files(places) >= {"invoke.py", "lease.py", "arrivals.py", "direct_frames.py"}


@ERRORS
@pytest.mark.usefixtures("left")
def test_a_call_that_asks_for_a_runner(error: type[BaseException]) -> None:
    def anew() -> None:
        for cache in lease_caches._caches.values():
            cache.let_go()
            cache._ask_at = 0.0  # it was refused where its last one was not yet idle again
        calls()

    places = at_all_places(anew, look, error=error)
    assert files(places) >= {"leases.py", "granted.py", "lease.py"}


@ERRORS
@pytest.mark.usefixtures("left")
def test_a_generator(error: type[BaseException]) -> None:
    def items() -> None:
        first = next(numbers)
        assert list(three.remote_gen(first)) == [first, first + 1, first + 2]

    places = at_all_places(items, lambda _: items(), error=error, step=3)
    assert files(places) >= {"streaming.py", "direct_stream.py"}


@ERRORS
@pytest.mark.usefixtures("left")
def test_a_map(error: type[BaseException]) -> None:
    def mapped() -> None:
        first = next(numbers)
        assert list(double.map([first, first + 1])) == [2 * first, 2 * first + 2]

    places = at_all_places(mapped, lambda _: mapped(), error=error, step=5)
    assert files(places) >= {"result_reader.py", "mapping.py"}


@ERRORS
@pytest.mark.usefixtures("left")
def test_a_spawned_call(error: type[BaseException]) -> None:
    def spawned() -> None:
        number = next(numbers)
        assert double.spawn(number).get(timeout=60) == 2 * number

    places = at_all_places(spawned, lambda _: spawned(), error=error, step=3)
    assert files(places) >= {"background.py", "function_call.py"}


@pytest.mark.usefixtures("left")
def test_an_object_of_a_class() -> None:
    def made() -> None:
        number = next(numbers)
        assert Times(by=3).times.remote(number) == 3 * number  # type: ignore[call-arg]

    at_all_places(made, lambda _: made(), step=7)


# ---- an alarm ----------------------------------------------------------------------------------


@pytest.fixture
def alarm() -> Iterator[None]:
    """SIGALRM raises TimeoutError, as programs have it: an OSError."""

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError("rung")

    before = signal.signal(signal.SIGALRM, ring)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def gate(ran: Home) -> Iterator[Gate]:
    with ran.another_place() as place, Gate(place.scripts / "gate") as made:
        yield made


@pytest.mark.usefixtures("alarm", "left")
def test_an_alarm_ends_the_first_call_of_a_function_and_it_is_not_made_again(gate: Gate) -> None:
    with pytest.raises(TimeoutError, match="rung"):
        signal.setitimer(signal.ITIMER_REAL, 1)
        hold.remote(str(gate.directory))
    assert double.remote(3) == 6
    gate.open()


@pytest.mark.usefixtures("alarm", "left")
def test_an_alarm_ends_the_wait_for_an_item(gate: Gate) -> None:
    items = hold_second.remote_gen(str(gate.directory))
    assert next(items) == "first"
    with pytest.raises(TimeoutError, match="rung"):
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        next(items)
    assert list(items) == []
    gate.open()
