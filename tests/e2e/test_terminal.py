"""What a terminal shows while a program waits, and that a pipe gets none of it."""

from __future__ import annotations

import os

from tests.e2e.harness import Gate, Home
from tests.e2e.terminal import Terminal, seen

GATED = """
    import os, rekindle, sys
    app = rekindle.App("gated")

    @app.function(max_containers=1)
    def slow(n: int, bar: bool):
        if bar:
            sys.stderr.write(f"\\r 10% of {{n}}")
        fd = os.open({gate!r} + "/gate", os.O_RDONLY)
        os.read(fd, 1)
        os.close(fd)
        if bar:
            print(f"\\r100% of {{n}}", file=sys.stderr)
        return n

    @app.local_entrypoint()
    def main(count: int = 0):
        print("before")
        if count:
            print("values", list(slow.map(range(count), kwargs={{"bar": False}})))
        else:
            print("values", slow.remote(7, True))
"""


def test_a_terminal_shows_the_wait_the_bar_of_the_user_and_in_the_end_only_what_was_said(
    shared: Home, shared_gate: Gate
) -> None:
    script = shared.script(GATED.format(gate=str(shared_gate.directory)))
    terminal = Terminal(shared, ["run", script])
    terminal.until(lambda text: "gated is up: slow." in text)
    terminal.until(lambda text: "\r 10% of 7" in text)  # while the function runs
    shared_gate.open()
    assert terminal.end() == 0
    said = [line for line in seen(terminal.text) if line]
    assert said == ["gated is up: slow.", "before", "100% of 7", "values 7"]


def test_a_map_has_a_bar_on_a_terminal_and_standard_output_in_a_pipe_only_what_was_printed(
    shared: Home, shared_gate: Gate
) -> None:
    script = shared.script(GATED.format(gate=str(shared_gate.directory)))
    reader, writer = os.pipe()
    terminal = Terminal(shared, ["run", script, "--count", "3"], out=writer)
    os.close(writer)
    terminal.until(lambda text: "slow" in text and "0/3" in text and "runner at work" in text)
    shared_gate.open()
    assert terminal.end() == 0
    with os.fdopen(reader) as out:
        assert out.read() == "before\nvalues [0, 1, 2]\n"
    assert "\x1b[2K" in terminal.text and "━" not in "".join(seen(terminal.text))
    # Without colours, as NO_COLOR says: the cursor moves, and nothing else.
    assert "\x1b[3" not in terminal.text and "\x1b[2m" not in terminal.text


def test_quiet_shows_nothing_of_rekindles_own_on_a_terminal(shared: Home) -> None:
    script = shared.script(
        """
        import rekindle, time
        app = rekindle.App("quiet")

        @app.function()
        def nap():
            time.sleep(0.6)  # a line would be shown from 0.4 s on (cli/waiting.py)
            print("slept")
            return 1
        """
    )
    terminal = Terminal(shared, ["run", "-q", script])
    assert terminal.end() == 0
    assert terminal.text == "slept\r\n"


def test_pipes_get_no_byte_of_decoration(shared: Home) -> None:
    script = shared.script(
        """
        import rekindle, time
        app = rekindle.App("piped")

        @app.function()
        def nap(n: int = 0):
            time.sleep(0.6)  # as above
            return n

        @app.local_entrypoint()
        def main():
            print(nap.remote(4), list(nap.map([1, 2])))
        """
    )
    ended = shared.run(script, FORCE_COLOR="1")
    assert ended.out == "4 [1, 2]\n" and ended.err == ""
