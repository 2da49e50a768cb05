"""Ray on this machine, in the ways in which its documentation has a program do each thing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"

import ray
import ray.util

from peers import served, work

_OBJECT_STORE_BYTES = 2 << 30


@contextmanager
def _cluster(cpus: int = work.CORES, **more: Any) -> Iterator[None]:
    ray.init(
        num_cpus=cpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        object_store_memory=_OBJECT_STORE_BYTES,
        _temp_dir=os.environ["TMPDIR"],
        **more,
    )
    try:
        yield
    finally:
        ray.shutdown()


@ray.remote
def nothing(_n: int = 0) -> None:
    """A task."""


@ray.remote
def nap(milliseconds: float) -> None:
    work.nap(milliseconds)


@ray.remote
class Actor:
    """An actor; with ``max_concurrency`` its methods run on threads."""

    def nothing(self, _n: int = 0) -> None: ...

    def nap(self, milliseconds: float) -> None:
        work.nap(milliseconds)

    def look(self, value: Any) -> int:
        return work.look(value)

    def payload(self, kind: str, size: int) -> Any:
        return work.payload(kind, size)


@ray.remote
class AsyncActor:
    """An actor whose methods run on one event loop."""

    async def nap(self, milliseconds: float) -> None:
        import asyncio

        await asyncio.sleep(milliseconds / 1000)


def _each_of(calls: Iterable[Callable[..., Any]], arguments: list[Any]) -> list[Any]:
    """One call for each argument, the callables in turn; all results."""
    given = list(calls)
    found: list[Any] = ray.get(
        [given[i % len(given)](argument) for i, argument in enumerate(arguments)],
        timeout=work.CALL_S,
    )
    return found


# ---- calls -------------------------------------------------------------------------------------


@contextmanager
def calls() -> Iterator[served.Measures]:
    with _cluster():
        from ray.util.actor_pool import ActorPool

        # An actor of its own asks for no core, so that tasks have all of them.
        one = Actor.options(num_cpus=0).remote()
        several = [Actor.options(num_cpus=0).remote() for _ in range(work.CORES)]
        ray.get([actor.nothing.remote() for actor in (one, *several)], timeout=work.CALL_S)

        def by_actor_pool(count: int) -> float:
            pool = ActorPool(several)
            inputs = range(count)
            return work.whole(
                lambda: pool.map_unordered(lambda actor, n: actor.nothing.remote(n), inputs), count
            )

        def each(call: Callable[..., Any]) -> Callable[[int], list[float]]:
            return lambda count: work.each(lambda: ray.get(call(), timeout=work.CALL_S), count)

        def all_of(chosen: list[Callable[..., Any]]) -> Callable[[int], float]:
            return lambda count: work.whole(lambda: _each_of(chosen, list(range(count))), count)

        yield {
            "warm": {"actor": each(one.nothing.remote), "task": each(nothing.remote)},
            "warm_compiled": {"compiled graph of one actor": _compiled},
            "fan_out": {
                "actors in turn": all_of([actor.nothing.remote for actor in several]),
                "one actor": all_of([one.nothing.remote]),
                "tasks": all_of([nothing.remote]),
                "ActorPool.map_unordered": by_actor_pool,
            },
            "fan_out_batched": {"multiprocessing.Pool.map, its own chunks": _by_pool},
            "sent": {
                "actor": lambda **asked: work.sent(
                    lambda value: ray.get(one.look.remote(value), timeout=work.CALL_S), **asked
                ),
                "actor, ray.put": lambda **asked: work.sent(
                    lambda value: ray.get(one.look.remote(ray.put(value)), timeout=work.CALL_S),
                    **asked,
                ),
            },
            "fetched": {
                "actor": lambda **asked: work.fetched(
                    lambda kind, size: ray.get(one.payload.remote(kind, size), timeout=work.CALL_S),
                    **asked,
                ),
            },
        }


def _compiled(count: int) -> list[float]:
    """Calls of an actor through a graph that was compiled before; it serves this program alone."""
    from ray.dag import InputNode

    actor = Actor.options(num_cpus=0).remote()
    with InputNode() as given:
        graph = actor.nothing.bind(given).experimental_compile()
    try:
        return work.each(lambda: ray.get(graph.execute(1), timeout=work.CALL_S), count)
    finally:
        graph.teardown()
        ray.kill(actor)


def _by_pool(count: int) -> float:
    from ray.util.multiprocessing import Pool

    with Pool(work.CORES) as pool:
        pool.map(work.nothing, range(work.CORES))
        return work.whole(lambda: pool.map(work.nothing, range(count)), count)


# ---- slots -------------------------------------------------------------------------------------


@contextmanager
def slots() -> Iterator[served.Measures]:
    with _cluster():
        per_actor = work.SLOTS // work.CORES

        def run(make: Callable[[], list[Callable[..., Any]]]) -> Callable[[int, float], float]:
            def measure(count: int, milliseconds: float) -> float:
                made = make()
                try:
                    naps = [actor.nap.remote for actor in made]  # type: ignore[attr-defined]
                    _each_of(naps, [1] * (2 * work.SLOTS))
                    return work.whole(lambda: _each_of(naps, [milliseconds] * count), count)
                finally:
                    for actor in made:
                        ray.kill(actor)

            return measure

        def threaded() -> list[Any]:
            options = Actor.options(num_cpus=0, max_concurrency=per_actor)
            return [options.remote() for _ in range(work.CORES)]

        def on_loops() -> list[Any]:
            options = AsyncActor.options(num_cpus=0, max_concurrency=per_actor)
            return [options.remote() for _ in range(work.CORES)]

        def processes() -> list[Any]:
            return [Actor.options(num_cpus=0).remote() for _ in range(work.SLOTS)]

        def tasks(count: int, milliseconds: float) -> float:
            slot = nap.options(num_cpus=work.CORES / work.SLOTS).remote
            _each_of([slot], [1] * (2 * work.SLOTS))
            return work.whole(lambda: _each_of([slot], [milliseconds] * count), count)

        yield {
            "slots": {
                f"{work.CORES} actors with {per_actor} threads": run(threaded),
                f"{work.CORES} async actors": run(on_loops),
                f"{work.SLOTS} actors": run(processes),
                "tasks": tasks,
            }
        }


# ---- a fresh process for every input -------------------------------------------------------------


def _preload() -> None:
    import torch  # noqa: F401


@contextmanager
def isolated() -> Iterator[served.Measures]:
    with _cluster(runtime_env={"worker_process_setup_hook": _preload}):

        @ray.remote(max_calls=1)
        def once() -> list[Any]:
            return work.fresh()

        @ray.remote(num_cpus=0)
        class Once:
            def fresh(self) -> list[Any]:
                return work.fresh()

        def by_actor() -> list[Any]:
            actor = Once.remote()
            found: list[Any] = ray.get(actor.fresh.remote(), timeout=work.CALL_S)
            ray.kill(actor)
            return found

        yield {
            "isolated": {
                "task, max_calls=1, torch by a set-up hook": lambda count: work.fresh_each(
                    lambda: ray.get(once.remote(), timeout=work.CALL_S), count
                ),
                "an actor each, torch by a set-up hook": lambda count: work.fresh_each(
                    by_actor, count
                ),
            }
        }


# ---- memory ------------------------------------------------------------------------------------


@ray.remote(num_cpus=0)
class Holder:
    """Holds the model: its own, or one whose weights lie in the object store."""

    def __init__(self, weights: list[Any] | None = None) -> None:
        if weights is None:
            self.model = work.model()
            return
        import torch

        with torch.device("meta"):
            self.model = torch.nn.Sequential(
                *(torch.nn.Linear(work.WIDTH, work.WIDTH) for _ in range(work.LAYERS))
            ).eval()
        names = list(self.model.state_dict())
        shared = {name: torch.from_numpy(array) for name, array in zip(names, weights, strict=True)}
        self.model.load_state_dict(shared, assign=True)

    def meet(self, directory: str, count: int) -> int:
        if work.forward(self.model) == 0:
            raise RuntimeError("the model gave nothing")
        return work.meet(directory, count)


@contextmanager
def memory() -> Iterator[served.Measures]:
    holders: list[Any] = []

    def start(count: int, weights: Any) -> list[int]:
        for holder in holders:
            ray.kill(holder)
        holders[:] = [Holder.remote(weights) for _ in range(count)]
        with tempfile.TemporaryDirectory(prefix="rk-meet-") as directory:
            pids: list[int] = ray.get(
                [holder.meet.remote(directory, count) for holder in holders], timeout=work.CALL_S
            )
        return pids

    def stored() -> Any:
        made = work.model()
        return ray.put([tensor.detach().numpy() for tensor in made.state_dict().values()])

    with _cluster():
        yield {
            "memory": {
                "actors": lambda count: start(count, None),
                "actors, weights in the object store": lambda count: start(count, stored()),
            }
        }


if __name__ == "__main__":
    served.main(
        f"Ray {ray.__version__}",
        {"calls": calls, "slots": slots, "isolated": isolated, "memory": memory},
    )
