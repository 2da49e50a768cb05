"""A runner's life: become unique, run the ``@enter(snap=False)`` hooks, then input after input."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass

from rekindle.execution import interaction, nesting
from rekindle.forkserver import exception_hooks, fork_handlers, forking, park, thread_pools
from rekindle.forkserver.template import Become
from rekindle.linux import capabilities
from rekindle.runtime.runner import clients, devices, gpus, mounted, process_end, unique
from rekindle.runtime.runner.direct_server import DirectCalls
from rekindle.runtime.runner.inputs import Inputs, send_failure
from rekindle.runtime.runner.orphans import Orphans
from rekindle.runtime.runner.service import Service
from rekindle.wire import granted
from rekindle.wire.exceptions import record_exception
from rekindle.wire.frames import FrameError, FrameSocket, Header
from rekindle.wire.page import RunnerPage
from rekindle.wire.phases import Phase, now_ns

_RESEED = Phase.RESEED.value
_renewed = False
_failure: BaseException | None = None


def renew(user_threads: dict[str, str] | None) -> None:
    """In a forked child, before it knows its start: be unique again. Raises nothing: a step that
    fails fails the start."""
    global _renewed, _failure
    _renewed = True
    try:
        if os.geteuid() != 0:
            capabilities.set_aside()  # its start may have device files to hide
        unique.make_unique()
        if user_threads is not None:
            thread_pools.lift(user_threads)
    except BaseException as error:  # noqa: BLE001 - goes to the caller, whatever it is
        _failure = error


@dataclass
class _Outfit:
    """What a runner has around its service."""

    page: RunnerPage
    inputs: Inputs
    orphans: Orphans
    direct: DirectCalls

    @classmethod
    def of(cls, service: Service, channel: FrameSocket, fds: list[int]) -> _Outfit:
        """From the descriptors of output, where that is not known yet, and of the page."""
        *output, page_fd = fds
        page = RunnerPage.attach(page_fd)
        if output:
            park.take_output(output[0], output[1])
        nesting.attach(page)
        inputs = Inputs(service, channel, page)
        orphans = Orphans()
        return cls(page, inputs, orphans, DirectCalls(inputs, channel, page, orphans))


_outfit: _Outfit | None = None


def dress(service: Service, channel: FrameSocket, order: Header, fds: list[int]) -> None:
    """In a spare that waits: what it needs as a runner, and knows nothing of its start."""
    global _outfit
    _set_variables(order["env"])
    _outfit = _Outfit.of(service, channel, fds)


def _set_variables(env: dict[str, str]) -> None:
    for name, value in env.items():  # ``update`` runs ten functions more
        os.environ[name] = value
    if "TZ" in env:
        time.tzset()  # the C library reads it once


def run(service: Service, become: Become, user_threads: dict[str, str] | None) -> int:
    """Serve until asked to stop; returns the exit status.

    ``user_threads``: what the user's environment says of thread pools, where the template limited
    them; None where nothing was limited.
    """
    channel, order, marks = become.channel, become.order, become.marks
    real = not become.rehearses
    try:
        lease = order.get("lease")
        client_fd = become.fds.pop() if lease else -1
        fds = gpus.take_holder(order, become.fds)
        outfit = _outfit or _Outfit.of(service, channel, fds)
        not_hidden = devices.hide(order["hidden"]) if order["hidden"] else ""
        if "volumes" in order:
            mounted.see(order["volumes"])
        if os.geteuid() != 0 and real:
            capabilities.drop()
        _set_variables(order["env"])
        notes: list[str] = []
        if real:
            if not _renewed:
                renew(user_threads)
            if _failure is not None:
                raise _failure
            # Its clock first: a handler may give it something to do, which is due from now on.
            service.take_up_loop()
            fork_handlers.run_due()
            forking.end_users_child()  # one of them may have forked
            outfit.page.renewed()
            unique.run_on_restore()
        marks.append((_RESEED, now_ns()))
        if real:
            park.collect_again()
            interaction.attach(outfit.page, channel)
            notes = gpus.run_hooks(service, marks)
            interaction.release()
    except BaseException as error:  # noqa: BLE001 - goes to the caller, whatever it is
        interaction.release()
        send_failure(channel, {"op": "start_failed", "marks": marks}, error)
        return 1
    park.flush_output()
    ready: Header = {"op": "ready", "marks": marks, "notes": notes}
    if not_hidden:
        ready["not_hidden"] = not_hidden
    channel.send(ready)
    if lease:
        granted.add_start(lease["granted"], marks, notes)
    try:
        if "many" in order:
            from rekindle.runtime.runner.many import serving

            interaction.refuse_side_by_side()
            serving.serve(service, channel, outfit.page, order["many"])
        else:
            if lease:
                outfit.direct.serve_first(client_fd, lease)
            _serve(service, channel, outfit)
        return _stop(service, channel, real)
    except FrameError:
        return 0  # the agent is gone, and with it whoever waits for a result


def _serve(service: Service, channel: FrameSocket, outfit: _Outfit) -> None:
    """Serve until the agent orders the end. Raises FrameError: the agent is gone."""
    while True:
        outfit.orphans.look(time.perf_counter_ns())
        service.wait(channel.fileno())
        header, body, fds = channel.receive()
        if header["op"] == "inputs":
            outfit.inputs.run(header, body)
        elif header["op"] == "lease":
            outfit.direct.serve(fds[0], header["max_result_bytes"] or sys.maxsize)
        elif header["op"] == "stop":
            return
        else:
            raise ValueError(f"an order that a runner does not know: {header['op']}")


def _stop(service: Service, channel: FrameSocket, real: bool) -> int:
    """Run the exit hooks, each of them; what they raise is shown and has no other effect. Then what
    Python does where a program ends, but for one that is not ``real``: it rehearses in another."""
    status = 0
    for hook in service.exit:
        try:
            service.run_hooks([hook])
            interaction.release()
        except BaseException as error:  # noqa: BLE001 - shown, as no caller is there to raise it to
            exception_hooks.tell(f"{record_exception(error).traceback.rstrip()}\n")
            status = 1
    clients.report_taken()
    if real:
        process_end.finish()
        forking.end_users_child()  # one of the handlers may have forked
    park.flush_output()
    channel.send({"op": "stopped", "status": status})
    return status
