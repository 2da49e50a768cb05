"""Functions that open apps have on this node: fetched once, and what their starts need.

Also what is known of each app: whether it is a former version, or one that is tried. All of that
ends where its app is closed, and what was being fetched then is no answer any more: who asks from
then on has what the controller says after that, which is an error, or that it was opened again.
Knows nothing of pools: they ask.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rekindle.runtime.agent import sources
from rekindle.runtime.agent.pool_gpus import PoolGpus
from rekindle.runtime.agent.starts.ladder import Starter
from rekindle.runtime.agent.starts.node_context import NodeContext
from rekindle.runtime.agent.starts.revision import Revision
from rekindle.runtime.agent.uplink import Uplink
from rekindle.volumes import registry as volume_registry
from rekindle.wire import calldepth, runner_variables
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.messages import spec_of
from rekindle.wire.phases import now_ns
from rekindle.wire.spec import FunctionSpec, params_digest


@dataclass
class OpenFunction:
    """A function that an open app has on this node."""

    function_id: str
    app_id: str
    spec: FunctionSpec
    code: bytes
    secrets: dict[str, str]
    source_dir: Path | None
    #: Whether some of its secrets are kept by name, so that they may change.
    has_named: bool
    #: The variables of those, as they were when it was fetched.
    named_keys: frozenset[str]


@dataclass(eq=False)
class Functions:
    """By id."""

    _context: NodeContext
    _uplink: Uplink
    _opened: dict[str, asyncio.Task[OpenFunction]] = field(default_factory=dict)
    #: Ids of versions that are not the present one, and when that was heard (monotonic seconds), 0
    #: where they were fetched as such: their runners are lent at the controller's word alone.
    retired: dict[str, float] = field(default_factory=dict)
    #: Ids of versions that were not called yet when they were fetched, and may never be.
    on_trial: set[str] = field(default_factory=set)
    #: Ids of those that are called since: what is being fetched may not know of it.
    _live: set[str] = field(default_factory=set)
    #: Function id -> the apps that were closed since it is being fetched.
    _closed_meanwhile: dict[str, set[str]] = field(default_factory=dict)

    async def get(self, function_id: str) -> OpenFunction:
        """A function, fetched when it is asked for first. Raises Error, and what was not
        foreseen."""
        while True:
            task = self._opened.get(function_id)
            if task is None:
                task = asyncio.create_task(self._fetch(function_id))
                self._opened[function_id] = task
                task.add_done_callback(partial(self._fetched, function_id))
            function = await asyncio.shield(task)
            if self._opened.get(function_id) is task:  # not forgotten before this had its turn
                return function

    def _fetched(self, function_id: str, task: asyncio.Task[OpenFunction]) -> None:
        """One that could not be fetched, for whatever reason, is fetched when it is asked for
        again."""
        if _result_of(task) is None and self._opened.get(function_id) is task:
            del self._opened[function_id]

    async def _fetch(self, function_id: str) -> OpenFunction:
        while True:
            closed: set[str] = set()
            self._closed_meanwhile[function_id] = closed
            try:
                reply = await self._uplink.fetch(function_id)
                source_dir = await _unpacked(reply.source)
            finally:
                del self._closed_meanwhile[function_id]
            if reply.app_id not in closed:
                return self._opened_as(function_id, reply, source_dir)

    def _opened_as(
        self, function_id: str, reply: pb.FetchFunctionReply, source_dir: Path | None
    ) -> OpenFunction:
        """What was fetched. No wait until it is known: its app may be closed in between."""
        if reply.retired:
            self.retired.setdefault(reply.app_id, 0)
        if reply.on_trial and reply.app_id not in self._live:
            self.on_trial.add(reply.app_id)
        return OpenFunction(
            function_id,
            reply.app_id,
            spec_of(reply.function.spec),
            reply.function.code,
            dict(reply.function.secrets),
            source_dir,
            bool(reply.function.named_secrets),
            frozenset(key for one in reply.function.named_secrets for key in one.keys),
        )

    def source_dirs(self) -> list[Path]:
        """The modules of all that were fetched, and not forgotten."""
        known = filter(None, map(_result_of, self._opened.values()))
        return [one.source_dir for one in known if one.source_dir is not None]

    def went_live(self, app_id: str) -> None:
        """A version is called from now on."""
        self._live.add(app_id)
        self.on_trial.discard(app_id)

    def retire(self, app_id: str) -> float | None:
        """A version is not the present one any more: when that was heard (monotonic seconds); None
        where it was known."""
        if app_id in self.retired:
            return None
        now = self.retired[app_id] = time.monotonic()
        return now

    def app_closed(self, app_id: str) -> bool:
        """An app is closed: nothing is known of it any more. Whether it was a former version."""
        for closed in self._closed_meanwhile.values():
            closed.add(app_id)
        self.forget(app_id)
        return self.retired.pop(app_id, None) is not None

    def forget(self, app_id: str) -> None:
        """Let go of an app's functions: they are fetched when they are asked for again."""
        self.on_trial.discard(app_id)
        self._live.discard(app_id)
        gone = [
            function_id
            for function_id, task in self._opened.items()
            if (function := _result_of(task)) is not None and function.app_id == app_id
        ]
        for function_id in gone:
            del self._opened[function_id]

    async def close(self) -> None:
        """Stop fetching."""
        for task in self._opened.values():
            task.cancel()
        await asyncio.gather(*self._opened.values(), return_exceptions=True)

    def starter(self, function: OpenFunction, revision: Revision) -> Starter:
        """What starts runners of it; their lines go to the controller."""

        def on_line(line: pb.LogLine, runner_id: str, call_id: str) -> None:
            line.app_id, line.function = function.app_id, function.spec.name
            line.runner_id, line.call_id = runner_id, call_id
            self._uplink.send(pb.AgentMessage(log=line))

        def say(text: str) -> None:
            on_line(pb.LogLine(stream="system", text=text, at_ns=now_ns()), "", "")

        spec = function.spec
        runner_env = {
            **runner_variables.of_function(spec.app_name, function.app_id, spec.name),
            "REKINDLE_DIR": str(self._context.settings.instance_dir),
            calldepth.VARIABLE: str(self._context.settings.max_call_depth),
            volume_registry.VARIABLE: str(volume_registry.place()),
        }
        key = (function.function_id, params_digest(revision.params))
        gpus = PoolGpus(str(key), spec.gpu, spec.gpu_priority, self._context.gpus)

        async def secrets() -> Mapping[str, str]:
            if not function.has_named:
                return function.secrets
            return await self._uplink.fetch_secrets(function.function_id)

        known = None if function.has_named else function.secrets
        return Starter(self._context, revision, runner_env, secrets, on_line, say, gpus, known)


async def _unpacked(source: pb.SourceBundle) -> Path | None:
    if not source.digest:
        return None
    return await asyncio.to_thread(sources.unpack, source.digest, source.data)


def _result_of(task: asyncio.Task[OpenFunction]) -> OpenFunction | None:
    if not task.done() or task.cancelled() or task.exception() is not None:
        return None
    return task.result()
