"""``rekindle down`` while inputs run and wait: they run after the next ``rekindle up``, each once.

Those of deployed apps and of detached runs, which outlive their programs. Others never run again.
"""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tests.e2e.harness import Gate, Home, service, wait_until

INPUTS = 50
#: Deliveries that an input may lose are 5.
TIMES = 6

APP = (
    Gate.SOURCE
    + """
import rekindle

app = rekindle.App("steady")

@app.function()
def square(n, directory):
    note = os.open(directory + "/ran", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(note, b"%d\\n" % n)
    os.close(note)
    wait_at(directory)
    return n * n

@app.local_entrypoint()
def main(directory: str, count: int):
    call = square.spawn_map(range(count), kwargs={"directory": directory})
    print("call", call.object_id, flush=True)

@app.local_entrypoint()
def waits(directory: str):
    list(square.map(range(500), kwargs={"directory": directory}))
"""
)

SUBMIT = """
import sys
import rekindle

square = rekindle.Function.from_name("steady", "square")
call = square.spawn_map(range(int(sys.argv[2])), kwargs={"directory": sys.argv[1]})
print(call.object_id)
"""

GET = """
import json, sys
import rekindle

call = rekindle.FunctionCall.from_id(sys.argv[1])
print(json.dumps([call.get(index=n) for n in range(call.num_inputs())]))
"""


def began(gate: Gate) -> Counter[int]:
    """How often each input has begun."""
    try:
        lines = (gate.directory / "ran").read_text().splitlines()
    except FileNotFoundError:
        return Counter()
    return Counter(map(int, lines))


def down(home: Home, gate: Gate, before: int = 0) -> int:
    """Once some inputs run (again), and others wait: `rekindle down`; how many have begun by then.

    ``before``: how many had begun when it was down last.
    """
    wait_until(lambda: began(gate).total() > before + 1, "inputs to begin")
    ended = home.rekindle("down")
    assert ended.out == "The instance is down.\n"
    return began(gate).total()


def complete_once(home: Home, gate: Gate, call_id: str) -> None:
    """All inputs have their values, and none was given up."""
    ended = home.python(home.script(GET, "get.py"), call_id)
    assert json.loads(ended.out) == [n * n for n in range(INPUTS)]
    assert set(began(gate)) == set(range(INPUTS))
    log = home.log("controller")
    assert "deliveries were lost" not in log, "none of it counts as a lost delivery"


def test_what_a_detached_run_submitted_runs_after_the_next_up(home: Home, gate: Gate) -> None:
    home.up(REKINDLE_HOLD_GRACE_S="3")
    script = home.script(APP)
    arguments = ("--directory", str(gate.directory), "--count", str(INPUTS))
    said = home.rekindle("run", "--detach", f"{script}::main", *arguments)
    call_id = said.out.partition("call ")[2].split()[0]
    down(home, gate)
    home.up(REKINDLE_HOLD_GRACE_S="3")
    gate.open()
    complete_once(home, gate, call_id)
    wait_until(lambda: not home.status()["apps"], "the end of its app")


def test_what_a_program_waited_for_is_not_run_after_the_next_up(home: Home, gate: Gate) -> None:
    home.up()
    script = home.script(APP)
    program = home.start_rekindle("run", f"{script}::waits", "--directory", gate.directory)
    begun = down(home, gate)
    ended = program.end()
    assert ended.status == 1 and "`rekindle down` took it down" in ended.err
    gate.open()
    home.up(REKINDLE_HOLD_GRACE_S="600")  # it is not for want of a client that the app ends
    wait_until(lambda: not home.status()["apps"], "the end of its app")
    assert began(gate).total() == begun
    assert home.rekindle("app", "list", "--json").out.strip() == "[]"


@pytest.mark.slow
def test_a_deployed_app_may_be_taken_down_more_often_than_deliveries_may_be_lost(
    home: Home, gate: Gate
) -> None:
    home.up()
    home.rekindle("deploy", home.script(APP))
    submit = home.script(SUBMIT, "submit.py")
    call_id = home.python(submit, gate.directory, str(INPUTS)).out.strip()
    begun = 0
    for _ in range(TIMES):
        begun = down(home, gate, begun)
        home.up()
    gate.open()
    complete_once(home, gate, call_id)
    assert max(began(gate).values()) > TIMES - 1, "the first ones ran in each of them"


def test_an_agent_that_ends_alone_gives_its_inputs_to_its_successor(home: Home, gate: Gate) -> None:
    """As at the restart of one node among several: the controller goes on meanwhile."""
    supervisor = home.up(REKINDLE_QUICK_DEATH_S="0")  # the supervisor is not to give it up
    home.rekindle("deploy", home.script(APP))
    call_id = home.python(home.script(SUBMIT, "submit.py"), gate.directory, str(INPUTS)).out.strip()
    for _ in range(TIMES):
        before = began(gate).total()
        wait_until(lambda before=before: began(gate).total() > before + 1, "inputs to begin")
        agent = service(supervisor, "rekindle.runtime.agent")
        agent.terminate()
        agent.wait(60)
    gate.open()
    complete_once(home, gate, call_id)
