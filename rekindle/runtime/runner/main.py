"""Entry of every process that runs user code: ``python -m rekindle.runtime.runner.main``.

Boots as a template or straight as a runner, as the agent says. Whatever it is at first, it leaves
``Template.serve`` as a runner: in the process itself, in a forked child or in a restored copy.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from rekindle.wire.phases import Mark, Phase, now_ns

_STARTED_NS = now_ns()

from rekindle.execution import context, interaction, volumes  # noqa: E402
from rekindle.forkserver import (  # noqa: E402 - after the time stamp
    exception_hooks,
    fork_handlers,
    forking,
    interrupts,
    park,
    process_state,
    sigchld,
    sockets,
    thread_pools,
)
from rekindle.forkserver.inspection import park_inspection  # noqa: E402
from rekindle.forkserver.template import Template  # noqa: E402
from rekindle.linux import capabilities, limits, memory  # noqa: E402
from rekindle.runtime.runner import (  # noqa: E402
    clients,
    early_gpu,
    first_child,
    gpus,
    inputs,
    loaded,
    other_python,
    process_end,
    program,
    rehearsal,
    serve,
    unique,
    withheld,
)
from rekindle.runtime.runner.service import Service, load  # noqa: E402
from rekindle.wire.frames import FrameError, FrameSocket, Header  # noqa: E402


def _since_exec(_channel: FrameSocket) -> int:
    """A process that is started for a function is there from its start on."""
    return _STARTED_NS


def main(there_ns: Callable[[FrameSocket], int] = _since_exec) -> int:
    """Boot, park, become a runner, serve. Returns the exit status where it does not get so far.

    ``there_ns``: gives since when the process is there for its function; it may wait for that.
    """
    interrupts.disregard()
    orders = park.read_orders()
    channel = FrameSocket.connect(orders["socket"])
    channel.send({"op": "hello", "token": orders["token"]})
    started_ns = there_ns(channel)
    given, given_files = process_state.standard_streams(), limits.open_files()
    boot, code, _fds = channel.receive()
    if os.geteuid() != 0:
        # What making namespaces takes is for our own code; user code gets none of it.
        later = boot["park"] or boot["hides"]
        capabilities.set_aside() if later else capabilities.drop()
    _stream_lines()
    context.set_remote()
    interaction.install()
    process_end.watch()
    marks: list[Mark] = [(Phase.INTERPRETER.value, started_ns)]
    service = _load(boot, code, channel, marks)
    del code
    if service is None:
        return 1
    template = Template(channel, orders["socket"])
    user_threads = boot["user_threads"]
    if user_threads is not None:
        thread_pools.lift_environment(user_threads)
    if boot["park"]:
        process_end.leave_to_copies()
        template.renew = functools.partial(serve.renew, user_threads)
        template.use_gpu = functools.partial(early_gpu.obey, service)
        template.rehearse = rehearsal.rehearse
        template.dress = functools.partial(serve.dress, service)
        service.park_loop()
        sockets.untrack()
        fork_handlers.stop_tracking(ours_are_needless=not clients.was_client())
        repeating = unique.prepare()
        if os.geteuid() != 0:
            capabilities.take_up()  # no user code runs here any more
        park.keep_from_collecting()
        few_files = process_state.few_files(given_files)
        if not few_files:
            rehearsal.learn()
        sigchld.set_aside()  # a rehearsal gives it back, as each start does
        park.quiesce()
        own = {0, 1, 2, park.CONTROL_FD, channel.fileno()}
        found, template.things = park_inspection(own, given)
        found.fork_unsafe += repeating
        found.dump_unsafe += repeating
        for text in few_files:
            found.add_both(text, "set the limit in @enter(snap=False)")
        gpus.inspect(found)
        template.forker.alone = not found.threads
        if template.forker.alone and not found.fork_unsafe:
            first_child.learn(template, user_threads)
        channel.send(
            {
                "op": "parked",
                "marks": marks,
                "inspection": vars(found),
                "loaded": loaded.files(boot["volumes"]),
            }
        )
    else:
        process_end.take_over()
        channel.send({"op": "loaded", "marks": marks})
    del marks
    become = template.serve()
    status = serve.run(service, become, user_threads)
    park.flush_output()
    # Here, not after a return: what this function holds would be given back object by object.
    os._exit(status)


def _load(boot: Header, code: bytes, channel: FrameSocket, marks: list[Mark]) -> Service | None:
    """Import and run the snap=True hooks; None when user code failed, which was reported."""
    other_python.told(boot["other_python"])
    volumes.mounted = [volumes.Mounted(*one) for one in boot["mounted"]]
    try:
        if boot["park"]:
            memory.keep_blocks_in_the_heap()
            sockets.track()
            fork_handlers.track()
            program.note_reads(boot["roots"])
            unique.track()
            gpus.in_template()
        program.install(boot["bundle"], boot["path_first"], boot["path_last"], *boot["program"])
        if boot["many"]:
            from rekindle.runtime.runner.many import prints, serving  # noqa: F401 - for all forks

            prints.install()
        service = load(
            *(boot["name"], boot["place"], code, _bytes_of(boot["params"])),
            gpu_snapshots=boot["gpu_snapshots"],
        )
        forking.end_users_child()
        if boot["many"] and service.is_async:
            import asyncio  # noqa: F401 - as above
        marks.append((Phase.IMPORT.value, now_ns()))
        if service.enter_snap:
            service.run_hooks(service.enter_snap)
            marks.append((Phase.ENTER.value, now_ns()))
    except BaseException as error:  # noqa: BLE001 - goes to the caller, whatever it is
        forking.end_users_child(error)
        withheld.explain(error, boot["withheld"])
        inputs.send_failure(channel, {"op": "start_failed", "marks": marks}, error)
        return None
    program.stop_noting()
    gpus.loaded()
    park.flush_output()
    return service


def _bytes_of(text: str) -> bytes:
    if not text:
        return b""
    import base64  # two libraries, which a template without parameters does not need

    return base64.b64decode(text)


def _stream_lines() -> None:
    """Each printed line leaves at once, as on a terminal."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]


def run(there_ns: Callable[[FrameSocket], int] = _since_exec) -> NoReturn:
    """Be such a process, from start to end; as ``main``."""
    status = 1
    try:
        status = main(there_ns)
    except SystemExit as request:
        status = request.code if isinstance(request.code, int) else 1
    except FrameError:
        status = 0  # the agent is gone
    except BaseException as error:  # noqa: BLE001 - shown, as the process ends without Python's end
        exception_hooks.show(error)
    finally:
        park.flush_output()
        # A process that holds torch takes 0.4 s to tear itself down, for nothing.
        os._exit(status)


if __name__ == "__main__":
    run()
