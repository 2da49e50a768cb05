"""A day of jobs on simulated nodes with GPUs, placed by the code that places runners.

Deterministic by its seed. A job asks for a share of a GPU or for several whole ones, holds them for
its time, and is gone; one that has to make room begins again. Knows nothing of how it is shown.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from rekindle.gpu_restore.links import Level, Link
from rekindle.gpu_restore.placement.devices import Device, Fleet, Holding, Node
from rekindle.gpu_restore.placement.line import Line
from rekindle.gpu_restore.placement.options import Option
from rekindle.gpu_restore.placement.packing import Packing, choose
from rekindle.gpu_restore.placement.preemption import preempt
from rekindle.wire.gpus import ANY, GpuRequest

_GIB = 1024  # MiB
#: Of each GPU: all are alike, so that it counts alone how they are filled and linked.
_MEMORY_MIB = 80 * _GIB
#: What a job that has to make room may still take, seconds.
GRACE_S = 30.0

#: NVLinks between the GPUs of a machine of eight in a hybrid cube mesh (DGX-1, p3.16xlarge).
_MESH = dict[tuple[int, int], int](
    [
        *(((0, 1), 1), ((0, 2), 1), ((0, 3), 2), ((0, 4), 2), ((1, 2), 2), ((1, 3), 1)),
        *(((1, 5), 2), ((2, 3), 2), ((2, 6), 1), ((3, 7), 1), ((4, 5), 1), ((4, 6), 1)),
        *(((4, 7), 2), ((5, 6), 2), ((5, 7), 1), ((6, 7), 2)),
    ]
)


def nodes() -> list[Node]:
    """Six machines of eight GPUs: with NVLink switches, a mesh of NVLinks, PCIe alone; two each."""
    made = []
    for i in range(2):
        made.append(_node(f"switched-{i}", lambda _a, _b: Link(Level.NVLINK, 18)))
        made.append(_node(f"mesh-{i}", _mesh_link))
        made.append(_node(f"pcie-{i}", _pcie_link))
    return made


def _mesh_link(one: int, other: int) -> Link:
    count = _MESH.get((one, other), 0)
    return Link(Level.NVLINK, count) if count else _pcie_link(one, other)


def _pcie_link(one: int, other: int) -> Link:
    if one // 2 == other // 2:
        return Link(Level.SWITCH)
    return Link(Level.NODE if one // 4 == other // 4 else Level.SYSTEM)


def _node(name: str, link: Callable[[int, int], Link]) -> Node:
    devices = tuple(
        Device(uuid=f"{name}-{i}", model="GPU", memory_mib=_MEMORY_MIB, index=i, numa_node=i // 4)
        for i in range(8)
    )
    links = {
        (devices[a].uuid, devices[b].uuid): link(a, b)
        for a, b in itertools.combinations(range(8), 2)
    }
    return Node(name, devices, links)


@dataclass(frozen=True)
class Day:
    """What is asked for; arrivals are Poisson, with more of them by day than by night."""

    seed: int = 1
    hours: float = 24.0
    #: Of the capacity, if nothing were ever lost: shares count by their part of a GPU.
    load: float = 0.65
    #: How much more than the mean comes at the busiest time, and less at the quietest.
    swing: float = 0.4
    #: (GPUs, GiB of a share) -> of so many jobs in a hundred.
    kinds: tuple[tuple[tuple[int, int], int], ...] = (
        ((1, 10), 15),
        ((1, 20), 15),
        ((1, 40), 15),
        ((1, 0), 30),
        ((2, 0), 14),
        ((4, 0), 8),
        ((8, 0), 3),
    )
    #: Priority -> of so many in a hundred.
    priorities: tuple[tuple[int, int], ...] = ((0, 85), (1, 10), (-1, 5))
    #: Log-normal: the median, seconds, and the spread.
    median_s: float = 240.0
    sigma: float = 1.2
    longest_s: float = 2 * 3600.0


@dataclass(eq=False)
class Job:
    """One of them."""

    number: int
    arrived: float
    takes_s: float
    wanted: tuple[GpuRequest, ...]
    priority: int
    began: float = -1.0
    waited_s: float = 0.0
    waits_since: float = 0.0
    ends: float = 0.0  # with the run that it has now
    run: int = 0
    preempted: int = 0
    far: bool = False  # some of its GPUs were not joined by NVLink

    @property
    def gpus(self) -> int:
        """How many whole ones it asks for; 0 for a share."""
        return 0 if self.wanted[0].memory_mib else self.wanted[0].count


def jobs(day: Day) -> list[Job]:
    """The jobs of a day."""
    rng = random.Random(day.seed)
    per_job = _mean_gpu_s(day)
    rate = day.load * 48 / per_job
    made: list[Job] = []
    at = 0.0
    kinds = [kind for kind, _ in day.kinds]
    weights = [weight for _, weight in day.kinds]
    while True:
        at += rng.expovariate((1 + day.swing) * rate)
        if at >= day.hours * 3600:
            return made
        busy = 1.0 + day.swing * math.sin(2 * math.pi * (at / 86400 - 0.25))
        if rng.random() * (1 + day.swing) > busy:
            continue
        (count, gib) = rng.choices(kinds, weights)[0]
        priority = rng.choices(*zip(*day.priorities, strict=True))[0]
        takes_s = _takes_s(day, rng)
        wanted = (GpuRequest(model=ANY, count=count, memory_mib=gib * _GIB),)
        made.append(Job(len(made), at, takes_s, wanted, priority, waits_since=at))


def _mean_gpu_s(day: Day) -> float:
    rng = random.Random(0)
    total = sum(weight for _, weight in day.kinds)
    gpus = sum(
        weight * (gib * _GIB / _MEMORY_MIB if gib else count) for (count, gib), weight in day.kinds
    )
    return mean([_takes_s(day, rng) for _ in range(20_000)]) * gpus / total


def _takes_s(day: Day, rng: random.Random) -> float:
    return min(day.longest_s, rng.lognormvariate(math.log(day.median_s), day.sigma))


@dataclass
class Outcome:
    """What came of a day under one policy."""

    policy: str
    jobs: list[Job]
    preemptions: int = 0
    lost_gpu_s: float = 0.0
    #: Integrals over the day, in GPU-seconds: held; free while a job waits; free memory of GPUs
    #: that are partly held, as GPUs.
    held_gpu_s: float = 0.0
    idle_gpu_s: float = 0.0
    partial_gpu_s: float = 0.0
    ended_at: float = 0.0
    capacity: int = 0

    def waits(self, least: int = -1, most: int = 99) -> list[float]:
        """Seconds that jobs waited which ask for so many GPUs, sorted."""
        return sorted(job.waited_s for job in self.jobs if least <= job.gpus <= most)

    def share(self, gpu_s: float) -> float:
        """Of all GPU-seconds."""
        return gpu_s / (self.capacity * self.ended_at)

    @property
    def near(self) -> float:
        """Of the jobs with several GPUs on machines with NVLink, those whose GPUs all are joined
        by it."""
        several = [job for job in self.jobs if job.gpus > 1]
        return sum(not job.far for job in several) / len(several)


@dataclass
class _Simulation:
    packing: Packing
    fleet: Fleet
    line: Line
    outcome: Outcome
    now: float = 0.0
    waiting: dict[str, Job] = field(default_factory=dict)
    running: dict[str, Job] = field(default_factory=dict)
    leaving: set[str] = field(default_factory=set)
    events: list[tuple[float, int, str, Job, int]] = field(default_factory=list)
    _order: Iterator[int] = field(default_factory=itertools.count)

    def at(self, when: float, what: str, job: Job) -> None:
        heapq.heappush(self.events, (when, next(self._order), what, job, job.run))

    def go(self) -> None:
        while self.events:
            when, _, what, job, run = heapq.heappop(self.events)
            self._pass_time(when)
            if what == "arrive":
                self.packing.saw(job.wanted[0])
                self._wait(job)
            elif run == job.run:
                self._end(job, again=what == "expire")
            else:
                continue
            self._place()

    def _pass_time(self, when: float) -> None:
        spent, self.now = when - self.now, when
        if not spent:
            return
        free = partial = 0.0
        for device in self.fleet.devices():
            room = self.fleet.room_mib(device) / device.memory_mib
            free += room
            if not self.fleet.is_free(device):
                partial += room
        out = self.outcome
        out.held_gpu_s += spent * (out.capacity - free)
        out.partial_gpu_s += spent * partial
        if self.waiting:
            out.idle_gpu_s += spent * free
        out.ended_at = when

    def _wait(self, job: Job) -> None:
        job.waits_since = self.now
        self.waiting[str(job.number)] = job
        self.line.add(str(job.number), job.wanted, job.priority, self.now)

    def _place(self) -> None:
        refused: set[tuple[tuple[GpuRequest, ...], int]] = set()
        for one, barred in self.line.turns(self.fleet, self.now):
            kind = (one.wanted, one.priority)
            if kind in refused:
                continue  # who is before it in the line asks for the same
            job = self.waiting[one.key]
            option = choose(self.fleet, one.wanted, self.packing, barred)
            if option is not None:
                self._begin(job, option)
                continue
            refused.add(kind)
            if one.priority > 0:
                self._make_room(job)

    def _begin(self, job: Job, option: Option) -> None:
        key = str(job.number)
        self.line.remove(key)
        del self.waiting[key]
        job.waited_s += self.now - job.waits_since
        job.began, job.run = self.now, job.run + 1
        job.ends = self.now + job.takes_s
        pairs = itertools.combinations(option.devices, 2)
        job.far = any(option.node.link(*pair).level is not Level.NVLINK for pair in pairs)
        self.running[key] = job
        self.fleet.take(
            Holding(
                owner=key,
                devices=option.devices,
                memory_mib=option.memory_mib,
                priority=job.priority,
                since=self.now,
            )
        )
        self.at(job.ends, "end", job)

    def _make_room(self, job: Job) -> None:
        if choose(self.fleet.without(self.leaving), job.wanted, self.packing) is not None:
            return
        found = preempt(
            self.fleet,
            job.wanted,
            job.priority,
            self.packing,
            may_go=lambda one: one.owner not in self.leaving,
        )
        for victim in found.victims if found is not None else ():
            other = self.running[victim.owner]
            self.leaving.add(victim.owner)
            if other.ends > self.now + GRACE_S:
                self.at(self.now + GRACE_S, "expire", other)

    def _end(self, job: Job, *, again: bool) -> None:
        key = str(job.number)
        holding = self.fleet.release(key)
        assert holding is not None
        del self.running[key]
        self.leaving.discard(key)
        job.run += 1
        if again:
            self.outcome.preemptions += 1
            self.outcome.lost_gpu_s += (self.now - job.began) * sum(
                (holding.memory_mib or device.memory_mib) / device.memory_mib
                for device in holding.devices
            )
            job.preempted += 1
            self._wait(job)


def simulate(day: Day, packing: Packing, patience_s: float) -> Outcome:
    """Run a day to the end of its last job."""
    all_jobs = jobs(day)
    fleet = Fleet(nodes())
    outcome = Outcome(packing.name, all_jobs, capacity=sum(1 for _ in fleet.devices()))
    simulation = _Simulation(packing, fleet, Line(patience_s), outcome)
    for job in all_jobs:
        simulation.at(job.arrived, "arrive", job)
    simulation.go()
    return outcome


def quantile(values: Sequence[float], share: float) -> float:
    """Of sorted values."""
    return values[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def mean(values: Sequence[float]) -> float:
    """Of some."""
    return sum(values) / len(values) if values else 0.0
