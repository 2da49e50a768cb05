"""``python -m rekindle.runtime.agent --dir D``: the agent of one instance on this node."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import secrets
import signal
import sys
from pathlib import Path
from typing import Any

from rekindle import freed_memory
from rekindle.background_tasks import BackgroundTasks
from rekindle.exception import Error, InvalidError, IsolationError
from rekindle.linux import limits, memory, processes
from rekindle.runtime.agent.node import Node
from rekindle.runtime.agent.scheduling import upkeep
from rekindle.runtime.agent.session.link import Link
from rekindle.runtime.agent.settings import AgentSettings, default_max_runners
from rekindle.runtime.agent.starts.node_context import NodeContext
from rekindle.wire import logs
from rekindle.wire.ready import INVALID, refuse

log = logging.getLogger(__name__)


def main() -> int:
    """Run until SIGTERM; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m rekindle.runtime.agent")
    parser.add_argument("--dir", type=Path, required=True, help="the instance's directory")
    parser.add_argument(
        "--max-runners",
        type=int,
        help="runners on this node at most (default: REKINDLE_MAX_RUNNERS, or by the cores)",
    )
    arguments = parser.parse_args()
    processes.die_with_parent()
    memory.use_one_heap()
    logs.configure("agent")
    try:
        limits.raise_open_files()  # each start takes some, and clients have connections here
    except OSError as error:
        log.warning("no more descriptors to be had", extra=logs.kv(reason=error))
    try:
        most = arguments.max_runners
        settings = AgentSettings(
            arguments.dir.absolute(), default_max_runners() if most is None else most
        )
        return asyncio.run(_run(settings))
    except IsolationError as error:
        log.error("fatal", extra=logs.kv(reason=error))
        return refuse(str(error))
    except InvalidError as error:
        log.error("fatal", extra=logs.kv(reason=error))
        return refuse(f"{INVALID}{error}")
    except Error as error:
        log.error("fatal", extra=logs.kv(reason=error))
        return 1


async def _run(settings: AgentSettings) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    context = await NodeContext.open(settings)
    link = Link(settings.instance_dir, f"ag-{secrets.token_hex(8)}", settings.max_runners)
    node = Node(context, link)
    node.listen()
    gc.freeze()  # modules stay: no collection is to look at them
    background = BackgroundTasks()
    background.spawn(node.reconcile_forever(), "reconcile pools")
    background.spawn(node.keep_budget_forever(), "keep the memory budget")
    background.spawn(node.keep_spares_forever(), "keep spares")
    background.spawn(node.watch_gpus_forever(), "watch GPUs")
    background.spawn(upkeep.verify_forever(node.inventory), "verify snapshots")
    background.spawn(context.warm_feature_cache(), "look for CRIU's features")
    background.spawn(freed_memory.give_back_forever(), "give freed memory back")
    awaited = [asyncio.create_task(link.run(node))]
    waiting: list[asyncio.Future[Any]] = [
        asyncio.ensure_future(stop.wait()),
        asyncio.ensure_future(context.spawner.gone),
        awaited[0],
    ]
    try:
        announce = asyncio.create_task(_announce(link))
        done, _pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        announce.cancel()
        if waiting[1] not in done:
            if awaited[0] in done:
                awaited[0].result()  # raises why the controller refused this agent
            closing = asyncio.create_task(node.close())
            awaited.append(closing)
            done, _pending = await asyncio.wait(
                [closing, waiting[1]], return_when=asyncio.FIRST_COMPLETED
            )
        if waiting[1] in done:
            # Every template and runner went with it; a fresh agent is quicker than a repair.
            log.error("spawner gone")
            return 1
        closing.result()
        await link.close(node.in_flight)
        return 0
    finally:
        for task in awaited:
            task.cancel()
        await asyncio.gather(*awaited, return_exceptions=True)
        await background.cancel()
        waiting[0].cancel()
        await context.close()


async def _announce(link: Link) -> None:
    await link.welcomed.wait()
    sys.stdout.write("ready\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
