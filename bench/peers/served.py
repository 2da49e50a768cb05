"""The side of a peer: it measures what it is asked to on one line of JSON, and answers on another.

Standard library alone: this runs in the environment of the peers.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from peers.work import CALL_S

#: What a system can be asked: measurement -> form (how its user would write that) -> function.
Measures = Mapping[str, Mapping[str, Callable[..., Any]]]


def main(version: str, roles: Mapping[str, Callable[[], AbstractContextManager[Measures]]]) -> None:
    """Start the system for the role named on the command line, answer until the input ends.

    A role is a context manager: the system runs within it. Whatever is printed meanwhile goes to
    standard error.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(**answer: Any) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        with roles[sys.argv[1]]() as measures:
            say(version=version, forms={name: list(forms) for name, forms in measures.items()})
            for line in sys.stdin:
                asked = json.loads(line)
                try:
                    measure = measures[asked["measure"]][asked["form"]]
                    say(value=measure(**asked["arguments"]))
                except Exception as error:  # noqa: BLE001 - reported, and the next one is asked
                    traceback.print_exc()
                    say(error=_told(error))
    except Exception as error:  # noqa: BLE001 - the reason is reported before it ends
        traceback.print_exc()
        say(error=_told(error))


def _told(error: Exception) -> str:
    """What its row says. Each system has its own type for a call that met the limit of calls."""
    name = type(error).__name__
    hangs = f"hangs: a call had no answer within {CALL_S:g} s; " if "Timeout" in name else ""
    return f"{hangs}{name}: {error}"[:500]
