"""``rekindle run -i``: runners at the user's terminal, which here is a real pseudo-terminal."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import termios
from pathlib import Path

from tests.e2e.harness import Home, wait_until
from tests.e2e.terminal import Terminal, seen

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "label.py"

ASKS = """
    import os, shutil, sys, time
    import rekindle

    app = rekindle.App("asks")

    @app.function(max_containers=2)
    def ask(n: int = 0):
        print("before", n)
        rekindle.interact()
        sys.stdout.write(f"{n}: {sys.stdin.isatty()} {shutil.get_terminal_size().columns} ")
        said = input("say> ")
        print("you said", said)
        return said

    @app.function()
    def stop_at(n: int):
        twice = n * 2
        breakpoint()
        return twice

    @app.function()
    def works():
        rekindle.interact()
        try:
            print("working", os.getpid(), flush=True)
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            return "left by Ctrl-C"

    @app.local_entrypoint()
    def several():
        print(sorted(ask.map([1, 2])))

    @app.local_entrypoint()
    def debug():
        print("twice is", stop_at.remote(4))
"""


def modes(terminal: Terminal) -> list[object]:
    """How the terminal is set."""
    return termios.tcgetattr(terminal.leader)


def test_a_runner_reads_a_line_that_is_edited_at_a_terminal_like_the_users(shared: Home) -> None:
    script = shared.script(ASKS)
    terminal = Terminal(shared, ["run", "-i", f"{script}::ask"])
    termios.tcsetwinsize(terminal.leader, (30, 97))
    before = modes(terminal)
    terminal.until(lambda text: "True 97 say> " in text)
    # What it printed comes first, and only then the word of who has the terminal.
    assert re.search(
        r"before 0\r\n.*interact\(\) in ask \(fc-[^)]*:0\) has the term", terminal.text
    )
    terminal.type("hallo\x7f\x7f\x7f\x7fello")  # Backspace: the line is edited there
    terminal.until(lambda text: "h\b" in text or "ello" in text)
    assert termios.tcgetattr(terminal.leader)[3] & termios.ICANON == 0
    terminal.type("\r")
    terminal.until(lambda text: "hello" in seen(text))  # the value of the call
    assert modes(terminal) == before
    assert terminal.end() == 0
    assert "you said hello" in terminal.text


def test_runners_have_the_terminal_one_after_the_other(shared: Home) -> None:
    script = shared.script(ASKS)
    terminal = Terminal(shared, ["run", "-i", f"{script}::several"])
    terminal.until(lambda text: text.count("say> ") == 1 and "waits for the terminal" in text)
    assert terminal.text.count("has the terminal until it ends") == 1
    terminal.type("one\r")
    terminal.until(lambda text: text.count("say> ") == 2)
    terminal.type("two\r")
    assert terminal.end() == 0
    assert "['one', 'two']" in terminal.text


def test_breakpoint_opens_a_debugger_and_ctrl_d_ends_it(shared: Home) -> None:
    script = shared.script(ASKS)
    terminal = Terminal(shared, ["run", "-i", f"{script}::debug"])
    terminal.until(lambda text: "(Pdb) " in text)
    # Where the program stands: behind the call, from Python 3.13 on at it.
    assert ("-> breakpoint()" if sys.version_info >= (3, 13) else "return twice") in terminal.text
    terminal.type("twice += 1\r")
    terminal.until(lambda text: text.count("(Pdb) ") >= 2)
    terminal.type("c\r")
    assert terminal.end() == 0
    assert "twice is 9" in terminal.text

    terminal = Terminal(shared, ["run", "-i", f"{script}::debug"])
    terminal.until(lambda text: "(Pdb) " in text)
    terminal.type("\x04")
    assert terminal.end() == 1
    assert "BdbQuit" in terminal.text


def test_ctrl_c_is_the_runners_and_ctrl_backslash_the_programs(shared: Home) -> None:
    script = shared.script(ASKS)
    terminal = Terminal(shared, ["run", "-i", f"{script}::works"])
    terminal.until(lambda text: "working" in text)
    terminal.type("\x03")
    assert terminal.end() == 0
    assert "left by Ctrl-C" in terminal.text

    terminal = Terminal(shared, ["run", "-i", f"{script}::works"])
    terminal.until(lambda text: "working" in text)
    terminal.type("\x1c")
    assert terminal.end() == 130
    assert "Stopping." in terminal.text


def test_a_killed_runner_gives_the_terminal_back_and_a_killed_program_ends_its_runner(
    shared: Home,
) -> None:
    script = shared.script(ASKS)
    former = runners_of(shared, "asks.works")  # of the tests before: they may still be listed
    terminal = Terminal(shared, ["run", "-i", f"{script}::works"])
    terminal.until(lambda text: "working" in text)
    before = terminal.text
    found = re.search(r"works \((fc-\S+):0\) has the terminal", before)
    assert found is not None
    killed = runner_of(shared, "asks.works", former)
    os.kill(killed, signal.SIGKILL)
    # Another runner has the input next, and with it the terminal.
    terminal.until(lambda text: "that had the terminal has ended" in text)
    terminal.until(lambda text: text.count("working") == 2)
    runner = runner_of(shared, "asks.works", {*former, killed})
    terminal.process.kill()
    wait_until(lambda: not os.path.exists(f"/proc/{runner}"), "the runner to end")
    terminal.process.wait()


def runners_of(home: Home, function: str) -> set[int]:
    """Process ids of the runners that have calls of a function, by the last heartbeat."""
    listed = json.loads(home.rekindle("container", "list", "--json").out)
    of = [one for one in listed if one["function"] == function]
    return {int(one["pid"]) for one in of if one["state"] in ("lent", "busy")}


def runner_of(home: Home, function: str, former: set[int]) -> int:
    """The process id of the runner that has the call, which is none of ``former``."""
    pids: set[int] = wait_until(
        lambda: runners_of(home, function) - former, "the runner to be reported"
    )
    return pids.pop()


def test_without_a_terminal_it_is_said_what_to_do(shared: Home) -> None:
    script = shared.script(ASKS)
    ended = shared.rekindle("run", f"{script}::debug", status=1)
    assert "breakpoint() needs a terminal" in ended.err and "rekindle run -i" in ended.err
    ended = shared.rekindle("run", "-i", f"{script}::debug", status=1)
    assert "an interactive run needs a terminal" in ended.err
    ended = shared.rekindle("run", "-i", "-d", f"{script}::debug", status=1)
    assert "either interactive or detached" in ended.err


def test_the_example_asks_about_what_is_doubtful(shared: Home) -> None:
    terminal = Terminal(shared, ["run", "-i", EXAMPLE])
    terminal.until(lambda text: "'Can you bring the ladder' is about: " in text)
    terminal.type("home\r")
    assert terminal.end() == 0
    assert re.search(r"home +Can you bring the ladder", terminal.text)
    assert re.search(r"work +Invoice 1702", terminal.text)


def test_the_guide_says_hello(shared: Home) -> None:
    guide = (ROOT / "docs" / "terminal.md").read_text()
    (program,) = re.findall(r"^```python\n(.*?)^```", guide, re.M | re.S)
    terminal = Terminal(shared, ["run", "-i", shared.script(program, "ask.py")])
    terminal.until(lambda text: "Who are you? " in text)
    terminal.type("Anna\r")
    assert terminal.end() == 0
    assert "Hello, Anna" in terminal.text
