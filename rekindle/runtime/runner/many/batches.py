"""Inputs in batches: collected, and run by one call of the user's function, on the main thread.

A batch begins when it is full, or when its oldest item has waited for as long as it may. What
comes while one runs lies in the connections until it has ended; it counts as having come when that
one began, so no item waits any longer than it may for a batch to begin that could.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from time import perf_counter_ns
from typing import Any

from rekindle.counted import counted
from rekindle.exception import InvalidError, NotFoundError
from rekindle.execution import annotated, context, nesting
from rekindle.execution.batching import why_not_in_batches
from rekindle.forkserver import forking
from rekindle.runtime.runner.many import prints
from rekindle.runtime.runner.many.execution import answer
from rekindle.runtime.runner.many.intake import Intake
from rekindle.runtime.runner.many.run import Run
from rekindle.runtime.runner.orphans import Orphans
from rekindle.runtime.runner.service import Service
from rekindle.wire.phases import now_ns
from rekindle.wire.reuse import IDLE_S, drop_idle

_NAP_S = 0.0003


class Batches:
    """Collects what it takes."""

    def __init__(self, service: Service, intake: Intake, most: int, wait_s: float) -> None:
        self._service = service
        self._intake = intake
        self._most = most
        self._wait_s = wait_s
        self._waiting: deque[tuple[float, Run]] = deque()
        self._came = time.monotonic()
        ((self._method, self._function),) = service.functions.items()
        self._parameters = annotated.signature(self._function)
        # A variant of what the program had no code of: this is the first place to see it.
        self._why_not = why_not_in_batches(self._parameters.parameters.values())

    def take(self, run: Run) -> None:
        """One more item."""
        self._waiting.append((self._came, run))

    def serve(self) -> None:
        """Until the agent ends it. Raises FrameError: the agent is gone."""
        comes, orphans = False, Orphans()
        while not self._intake.stopped:
            orphans.look(perf_counter_ns())
            left_s, before = self._left_s(), len(self._waiting)
            if left_s and comes:
                # Others are on their way: to be woken for each costs both ends more than the call.
                time.sleep(min(left_s, _NAP_S))
            elif left_s is None:
                if not self._service.wait(self._intake.fileno(), IDLE_S):
                    drop_idle()
            elif left_s:
                self._service.wait(self._intake.fileno(), left_s)
            self._came = time.monotonic()
            self._intake.pump()
            comes = len(self._waiting) > before
            if self._left_s() == 0:
                self._run([self._waiting.popleft()[1] for _ in range(self._next())])
                # What came meanwhile has waited for as long, or less.
                self._intake.pump()

    def _next(self) -> int:
        return min(self._most, len(self._waiting))

    def _left_s(self) -> float | None:
        """For how long no batch begins; None: until something comes."""
        if not self._waiting:
            return None
        if len(self._waiting) >= self._most or self._waiting[0][1].alone:
            return 0
        return max(0.0, self._waiting[0][0] + self._wait_s - time.monotonic())

    # ---- one batch

    def _run(self, runs: list[Run]) -> None:
        began_ns = now_ns()
        page = self._intake.page
        live = []
        for run in runs:
            run.began_ns = began_ns
            if run.cause is None:
                page.begin_slot(run.slot, began_ns)
                live.append(run)
        page.some_run(began_ns)
        bound = [(run, columns) for run in live if (columns := self._load(run)) is not None]
        called = False
        if bound:
            nesting.begin(max(run.depth for run, _ in bound))
            self._call([run for run, _ in bound], [columns for _, columns in bound])
            called = nesting.has_called()
        page.some_run(0)
        ended_ns = now_ns()
        groups: dict[int, list[Run]] = {}
        for run in runs:
            run.ended_ns, run.called = ended_ns, called
            groups.setdefault(id(run.answerer), []).append(run)
        for group in groups.values():
            answer(group)

    def _load(self, run: Run) -> Sequence[Any] | None:
        """The item's value for each parameter; None where there is none, which is its failure."""
        try:
            if run.method != self._method:
                raise NotFoundError(f"{self._service.name} has no method {run.method!r}")
            if self._why_not:
                what = self._service.what(self._method)
                raise InvalidError(f"with_batching() is of {what}, {self._why_not}")
            args, kwargs = run.load()
            parameters = self._parameters.parameters
            if not kwargs and len(args) == len(parameters):
                return tuple(args)
            try:
                given = self._parameters.bind(*args, **kwargs).arguments
            except TypeError as error:  # which says nothing of the function
                name = self._service.what(self._method)
                raise TypeError(f"{name}(): {error}") from None
            return [given[name] for name in parameters]
        except BaseException as error:  # noqa: BLE001 - goes to the caller, whatever it is
            run.failure = error
            return None
        finally:
            run.loaded_ns = now_ns()

    def _call(self, runs: list[Run], items: list[Sequence[Any]]) -> None:
        """Run a batch; each of its items has its own value then, or the failure of all."""
        first = runs[0]  # what is printed, and asked for, is the first one's
        current = context.current.set((first.input_id, first.call_id))
        printing = prints.current.set(first.prints)
        try:
            lists = dict(
                zip(self._parameters.parameters, map(list, zip(*items, strict=True)), strict=True)
            )
            positional = [lists.pop(name) for name in list(lists) if self._is_positional(name)]
            values = self._service.settle(self._function(*positional, **lists))
            forking.end_users_child()
            self._check(values, len(runs))
            for run, value in zip(runs, values, strict=True):
                run.value = value
        except BaseException as error:  # noqa: BLE001 - goes to the callers, whatever it is
            forking.end_users_child(error)
            for run in runs:
                run.failure = error
        finally:
            context.current.reset(current)
            prints.current.reset(printing)
            first.prints.finish()

    def _is_positional(self, name: str) -> bool:
        one = self._parameters.parameters[name]
        return one.kind is not one.KEYWORD_ONLY

    def _check(self, values: Any, count: int) -> None:
        name = self._intake.what(self._method)
        if not isinstance(values, list):
            raise InvalidError(
                f"{name} is batched and has returned {type(values).__name__}: it must return a "
                f"list of {counted(count, 'value')}, one for each item of the batch"
            )
        if len(values) != count:
            raise InvalidError(
                f"{name} is batched and has returned a list of "
                f"{counted(len(values), 'value')} for a batch of {counted(count, 'item')}: it must "
                "return one for each, in their order"
            )
