"""``python -m rekindle.runtime.images``: build one image; for a program that declares it.

The request is JSON on standard input: ``spec``, ``secrets`` and, where steps have secrets that an
instance keeps, its directory as ``instance``. What happens goes to standard
output, an object a line: ``step`` and ``line`` while it builds, then ``built`` or ``error``.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

from rekindle.exception import Error
from rekindle.linux import processes
from rekindle.runtime.images.builder import AskSecrets, ensure, nobody_knows
from rekindle.wire.images import ImageSpec


def main() -> int:
    """The exit status: 0 when the image is there."""
    processes.die_with_parent()
    # What a warning is about is said in lines, with the reason; there is no log to write it to.
    logging.getLogger("rekindle").addHandler(logging.NullHandler())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    request: dict[str, Any] = json.load(sys.stdin)
    spec = ImageSpec.from_json(request["spec"])

    def say(**message: object) -> None:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()

    try:
        built = ensure(
            spec,
            ask_secrets=_ask_at(request.get("instance", "")),
            secret_values=request["secrets"],
            watch=lambda step, line: say(step=step, line=line),
        )
    except Error as error:
        say(error=str(error), kind=type(error).__name__, layer=getattr(error, "layer", ""))
        return 1
    except KeyboardInterrupt:
        return 130
    say(built=built.name if built is not None else "")
    return 0


def _ask_at(instance: str) -> AskSecrets:
    if not instance:
        return nobody_knows
    from rekindle.runtime.images import step_secrets  # gRPC, which most builds need not load

    return step_secrets.of_instance(Path(instance))


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)
