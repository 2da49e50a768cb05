"""A template that has rehearsed is as it was before, but for the form of its code."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import dis, json, os, signal, sys
from rekindle.runtime.runner import rehearsal, serve, unique
from rekindle.wire.page import CANCEL_SIGNAL
from tests.runtime.runner.left_as_it_was import state

def mine(*_):
    pass

signal.signal(CANCEL_SIGNAL, mine)
if "closed" in sys.argv:
    os.close(1)
if "patched" in sys.argv:
    import socket
    class Patched(socket.socket):
        pass
    socket.socket = Patched
os.environ["REKINDLE_RUNNER_ID"] = "ru-1"
unique.prepare()

before = state(CANCEL_SIGNAL)
rehearsal.learn()
same = state(CANCEL_SIGNAL) == before
forms = {one.opname for one in dis.get_instructions(serve.run, adaptive=True)}
found = {"same": same, "form": any("INSTANCE_VALUE" in one for one in forms)}
os.write(2, json.dumps(found).encode())
"""


def rehearsed(*arguments: str) -> dict[str, bool]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True
    )
    assert not done.stdout
    found: dict[str, bool] = json.loads(done.stderr)
    return found


def test_nothing_stays_but_the_form_of_the_code() -> None:
    assert rehearsed() == {"same": True, "form": True}


def test_where_user_code_has_put_other_sockets_in_place_none_of_them_is_made() -> None:
    assert rehearsed("patched") == {"same": True, "form": False}


def test_where_user_code_has_closed_its_output_it_stays_closed() -> None:
    assert rehearsed("closed")["same"]
