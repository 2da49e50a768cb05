"""rekindle itself, asked in the same way as the others, in a private instance."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import rekindle
from peers import served, work
from rekindle.wire.version import __version__

calls_app = rekindle.App("bench-calls")
slots_app = rekindle.App("bench-slots")
isolated_app = rekindle.App("bench-isolated")
memory_app = rekindle.App("bench-memory")


@calls_app.function(max_containers=work.CORES)
def nothing(_n: int = 0) -> None:
    """Do nothing."""


@calls_app.function(max_containers=1)
def look(value: Any) -> int:
    """Take a payload."""
    return work.look(value)


@calls_app.function(max_containers=1)
def payload(kind: str, size: int) -> Any:
    """Give a payload."""
    return work.payload(kind, size)


@contextmanager
def calls() -> Iterator[served.Measures]:
    with calls_app.run():

        def fan_out(count: int, ordered: bool) -> float:
            return work.whole(lambda: nothing.map(range(count), order_outputs=ordered), count)

        yield {
            "warm": {"remote": lambda count: work.each(nothing.remote, count)},
            "fan_out": {
                "map": lambda count: fan_out(count, True),
                "map, order_outputs=False": lambda count: fan_out(count, False),
            },
            "sent": {"remote": lambda **asked: work.sent(look.remote, **asked)},
            "fetched": {"remote": lambda **asked: work.fetched(payload.remote, **asked)},
        }


# ---- slots -------------------------------------------------------------------------------------


@slots_app.function(max_containers=work.SLOTS, min_containers=work.SLOTS)
def nap(milliseconds: float) -> None:
    """Take some time."""
    work.nap(milliseconds)


@slots_app.function(max_containers=work.SLOTS)
def meet(directory: str, count: int) -> int:
    """Be here together with the others."""
    return work.meet(directory, count)


@contextmanager
def slots() -> Iterator[served.Measures]:
    with slots_app.run():

        def run(count: int, milliseconds: float) -> float:
            return work.whole(lambda: nap.map([milliseconds] * count), count)

        run(2 * work.SLOTS, 200)  # long ones: every runner gets its own
        yield {"slots": {f"map, {work.SLOTS} runners": run}}


# ---- a fresh process for every input -------------------------------------------------------------


class _Fresh:
    @rekindle.enter(snap=True)
    def load(self) -> None:
        import torch  # noqa: F401

    @rekindle.method()
    def fresh(self) -> list[Any]:
        return work.fresh()


Fresh = isolated_app.cls(single_use_containers=True, enable_memory_snapshot=True)(
    type("Fresh", (_Fresh,), {})
)
Ahead = isolated_app.cls(
    single_use_containers=True, enable_memory_snapshot=True, buffer_containers=1
)(type("Ahead", (_Fresh,), {}))


@contextmanager
def isolated() -> Iterator[served.Measures]:
    with isolated_app.run():

        def measure(cls: Any, count: int) -> list[float]:
            method = cls().fresh
            method.remote()
            method.prepare("fork")
            return work.fresh_each(method.remote, count)

        yield {
            "isolated": {
                "single_use_containers=True": lambda count: measure(Fresh, count),
                "the same, buffer_containers=1": lambda count: measure(Ahead, count),
            }
        }


# ---- memory ------------------------------------------------------------------------------------


@memory_app.cls(enable_memory_snapshot=True, max_containers=8, scaledown_window=600)
class Holder:
    """Holds the model."""

    @rekindle.enter(snap=True)
    def load(self) -> None:
        self.model = work.model()

    @rekindle.method()
    def first(self) -> float:
        return work.forward(self.model)

    @rekindle.method()
    def meet(self, directory: str, count: int) -> list[int]:
        if work.forward(self.model) == 0:
            raise RuntimeError("the model gave nothing")
        return [work.meet(directory, count)]


@contextmanager
def memory() -> Iterator[served.Measures]:
    with memory_app.run():

        def start(count: int) -> list[int]:
            holder: Any = Holder()  # its methods have .remote
            holder.first.remote()
            holder.first.prepare("restore")
            with tempfile.TemporaryDirectory(prefix="rk-meet-") as directory:
                for _ in holder.meet.map([directory] * count, [count] * count):
                    pass
            return []  # their ids are those of their own namespaces

        yield {"memory": {"a snapshot of the model": start}}


if __name__ == "__main__":
    served.main(
        f"rekindle {__version__}",
        {"calls": calls, "slots": slots, "isolated": isolated, "memory": memory},
    )
