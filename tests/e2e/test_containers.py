"""``rekindle container`` and ``rekindle shell``: runners from outside and from inside."""

from __future__ import annotations

import json
import signal

import psutil

from tests.e2e.harness import COMMAND, Gate, Home, wait_until
from tests.e2e.terminal import Terminal

HELD = """
    import os, rekindle
    app = rekindle.App("held")

    @app.function(env={{"COLOUR": "green"}}, min_containers=1)
    def hold(n: int = 0):
        print("begun", os.getpid(), flush=True)
        fd = os.open({gate!r} + "/gate", os.O_RDONLY)
        os.read(fd, 1)
        return "done"
"""


def _lent(home: Home, function: str) -> str:
    """The runner that has the call, once its agent has reported it."""

    def found() -> list[str]:
        listed = json.loads(home.rekindle("container", "list", "--json").out)
        of = [one for one in listed if one["function"] == function]
        return [str(one["id"]) for one in of if one["state"] == "lent"]

    wait_until(lambda: len(found()) == 1, "a runner is lent")
    return found()[0]


def test_a_runner_is_listed_entered_and_stopped_and_its_input_runs_again(
    shared: Home, shared_gate: Gate
) -> None:
    script = shared.script(HELD.format(gate=str(shared_gate.directory)))
    program = shared.start_rekindle("run", script)
    program.until("begun")
    runner = _lent(shared, "held.hold")
    assert runner in shared.rekindle("container", "list").out

    # Inside: its variables, and its process as it knows it itself, by that number.
    pid = program.text().split()[1]
    command = f"echo $COLOUR; cat /proc/{pid}/cmdline; exit 7"
    inside = shared.rekindle("container", "exec", runner, "sh", "-c", command, status=7)
    assert inside.out.startswith("green\n") and "rekindle" in inside.out
    told = shared.rekindle("container", "exec", runner, "--", "env").out
    for line in ("IS_REMOTE=1", "APP=held", "FUNCTION=hold", f"RUNNER_ID={runner}"):
        assert f"REKINDLE_{line}\n" in told
    assert "REKINDLE_ENVIRONMENT=main\n" in told and "REKINDLE_APP_ID=ap-" in told
    line = f"{COMMAND} container exec {runner} yes | head -n 1; exit ${{PIPESTATUS[0]}}"
    piped = shared.start("bash", "-c", line).end()  # as of any command whose reader has gone
    assert (piped.status, piped.out, piped.err) == (128 + signal.SIGPIPE, "y\n", "")
    nothing = shared.rekindle("container", "exec", runner, "--", status=2)
    assert "what should be run there?" in nothing.err
    assert "begun" in shared.rekindle("container", "logs", runner).out

    assert "is ended" in shared.rekindle("container", "stop", "-y", runner).out
    program.until("begun", times=2)  # by another runner
    shared_gate.open()
    ended = program.end()
    assert ended.status == 0 and ended.out.endswith("done\n"), str(ended)
    unknown = shared.rekindle("container", "stop", "-y", "ru-0000000000000000", status=1)
    assert "container list" in unknown.err


def test_a_runner_that_is_stopped_gracefully_ends_what_it_runs_first(
    shared: Home, shared_gate: Gate
) -> None:
    script = shared.script(HELD.format(gate=str(shared_gate.directory)).replace('"held"', '"kind"'))
    program = shared.start_rekindle("run", script)
    program.until("begun")
    shared.rekindle("container", "stop", "--graceful", _lent(shared, "kind.hold"))
    shared_gate.open()
    ended = program.end()
    assert ended.out.count("begun") == 1 and ended.out.endswith("done\n"), str(ended)


def test_a_shell_on_a_terminal_is_where_the_function_runs(shared: Home, shared_gate: Gate) -> None:
    script = shared.script(HELD.format(gate=str(shared_gate.directory)))
    terminal = Terminal(shared, ["shell", f"{script}::hold"], SHELL="/bin/sh", PS1="> ")
    terminal.until(lambda text: "a runner of hold" in text)
    terminal.type("echo it is $COLOUR, $((6 * 7)) in $REKINDLE_APP; exit 3\n")
    terminal.until(lambda text: "it is green, 42 in held" in text)
    assert terminal.end() == 3


SECRET = """
    import os, rekindle
    app = rekindle.App("trusted")
    OF_PROGRAM = rekindle.Secret.from_dict({{"OWN": "of-the-program", "BOTH": "of-the-program"}})

    @app.function(
        secrets=[OF_PROGRAM, rekindle.Secret.from_name("shell-secret")],
        env={{"BOTH": "of-env"}},
        enable_memory_snapshot=True,
    )
    def hold(n: int = 0):
        print("begun", os.environ["NAMED"], os.environ["BOTH"], flush=True)
        fd = os.open({gate!r} + "/gate", os.O_RDONLY)
        os.read(fd, 1)
        return "done"
"""


def test_a_command_in_a_runner_has_the_secrets_of_its_function_and_no_list_shows_them(
    shared: Home, shared_gate: Gate
) -> None:
    shared.rekindle("secret", "create", "shell-secret", "NAMED=first-value", "--force")
    program = shared.start_rekindle(
        "run", shared.script(SECRET.format(gate=str(shared_gate.directory)))
    )
    program.until("begun first-value of-the-program")
    runner = _lent(shared, "trusted.hold")

    show = "echo $NAMED $OWN $BOTH"
    told = shared.rekindle("container", "exec", runner, "sh", "-c", show).out
    assert told == "first-value of-the-program of-the-program\n"  # as in the function
    shared.rekindle("secret", "create", "shell-secret", "NAMED=second-value", "--force")
    assert "second-value" in shared.rekindle("shell", runner, "-c", show).out

    waiting = shared.start_rekindle(
        *("container", "exec", runner, "sh", "-c", "echo there $NAMED; sleep 600")
    )
    waiting.until("there second-value")
    command = psutil.Process(waiting.process.pid)
    # A shell that is just about to become the last command of its own forgets a Ctrl-C.
    wait_until(
        lambda: "sleep" in [one.name() for one in command.children(recursive=True)], "it to sleep"
    )
    (entering,) = command.children()
    shown = [*entering.cmdline(), *entering.environ().values()]
    assert "rekindle.linux.entering" in shown
    assert not [word for word in shown if "second-value" in word or "of-the-program" in word]
    waiting.interrupt()
    assert waiting.end().status == 130
    shared_gate.open()
    assert program.end().status == 0


FAILING = """
    import rekindle
    app = rekindle.App("failing")

    @app.cls()
    class Model:
        size: int = rekindle.parameter()

        @rekindle.enter()
        def load(self):
            if self.size < 0:
                raise ValueError(f"no model of size {self.size}")
            print("loaded", self.size, flush=True)

        @rekindle.method()
        def run(self): ...
"""


def test_a_shell_of_a_class_has_its_parameters(shared: Home) -> None:
    script = shared.script(FAILING)
    ended = shared.rekindle("shell", f"{script}::Model", "--param", "size=3", "-c", "echo inside")
    assert "loaded 3" in ended.out and "inside" in ended.out
    missing = shared.rekindle("shell", f"{script}::Model", "-c", "echo inside", status=1)
    assert "add --param size=VALUE" in missing.err


def test_a_shell_whose_runner_cannot_be_started_ends_with_the_reason(shared: Home) -> None:
    script = shared.script(FAILING)
    ended = shared.rekindle("shell", f"{script}::Model", "--param", "size=-1", status=1)
    assert "no runner of Model.run could be started" in ended.err
    assert "no model of size -1" in ended.err and "inside" not in ended.out
