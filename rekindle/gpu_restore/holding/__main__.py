"""``python -m rekindle.gpu_restore.holding``: a holder, for as long as its parent lives."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys

from rekindle.exception import GpuError
from rekindle.gpu_restore.device import Device, cuda_device
from rekindle.gpu_restore.holding.server import Holder
from rekindle.gpu_restore.host_device import HostDevice
from rekindle.linux import processes


def main() -> int:
    """Serve until SIGTERM; 1 where the device cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m rekindle.gpu_restore.holding")
    parser.add_argument("--socket", help="the path that it listens on")
    parser.add_argument("--control-fd", type=int, default=-1, help="its agent's, in its place")
    parser.add_argument(
        "--device", default="0", help="number of a visible GPU, or 'host': this machine's memory"
    )
    parser.add_argument("--budget-bytes", type=int, default=0, help="of all weights; 0: no limit")
    options = parser.parse_args()
    if (options.control_fd >= 0) == bool(options.socket):
        parser.error("give one of --socket and --control-fd")
    processes.die_with_parent()
    logging.basicConfig(level=logging.WARNING, format="%(name)s %(message)s")
    try:
        device: Device = (
            HostDevice(options.budget_bytes)
            if options.device == "host"
            else cuda_device(int(options.device))
        )
    except GpuError as error:
        sys.stderr.write(f"no holder: {error}\n")
        return 1
    holder = Holder(device, options.budget_bytes)
    if options.control_fd >= 0:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: its agent ends it
        holder.obey(socket.socket(fileno=options.control_fd))
    else:
        holder.listen(_listening(options.socket))
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGTERM, lambda _number, _frame: holder.stop())
    holder.wake_on(wake_read)
    holder.serve()
    if options.socket:
        os.unlink(options.socket)
    return 0


def _listening(path: str) -> socket.socket:
    """Once the path is there, it answers."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    partly = f"{path}.new"
    listening.bind(partly)
    os.chmod(partly, 0o600)
    listening.listen(128)
    os.rename(partly, path)
    return listening


if __name__ == "__main__":
    sys.exit(main())
