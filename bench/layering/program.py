"""Run by nodes.py on a node: a function that imports PyTorch in an image answers once.

Prints what it took, from the app's declaration to the first answer, and its phases, as JSON.
"""

from __future__ import annotations

import json
import sys
import time

import rekindle
from rekindle.sdk.calls import records

#: As pip is set to get it: a build for the CPU from a local folder, say.
PACKAGE = "torch==2.13.0"

image = rekindle.Image.debian_slim().pip_install(PACKAGE)
app = rekindle.App("layers-from-a-store", image=image)


@app.function()
def first_result() -> float:
    """What a node needs PyTorch for."""
    import torch

    return float((torch.ones(3) + 1).sum())


def main() -> None:
    """See the module."""
    with records.collect() as finished:
        began = time.monotonic()
        with app.run():
            value = first_result.remote()
            took_s = time.monotonic() - began
    if value != 6.0:
        raise SystemExit(f"a wrong answer: {value}")
    phases = {name: round(ms / 1000, 3) for name, ms in finished[-1].phases.items()}
    sys.stdout.write(json.dumps({"s": took_s, "phases": phases}) + "\n")


if __name__ == "__main__":
    main()
