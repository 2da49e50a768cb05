"""Output of a process, line by line."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager

from rekindle.runtime.agent.runners.output import Output
from rekindle.wire import rekindle_pb2 as pb


@contextmanager
def _output() -> Iterator[tuple[Output, list[tuple[str, bool]]]]:
    lines: list[tuple[str, bool]] = []
    output = Output(lambda line: lines.append((line.text, line.partial)))
    try:
        yield output, lines
    finally:
        output.close()


def test_a_line_that_is_being_written_stays_whole() -> None:
    async def scenario() -> None:
        with _output() as (output, lines):
            # As `print` of an unbuffered process does: the text, then its end.
            os.write(output.write_fds[0], b"one\ntwo")
            output.drain(runs_on=True)
            os.write(output.write_fds[0], b"\n")
            output.drain(runs_on=True)
            assert lines == [("one", False), ("two", False)]

    asyncio.run(scenario())


def test_what_a_process_left_unfinished_is_given_at_its_end() -> None:
    async def scenario() -> None:
        with _output() as (output, lines):
            os.write(output.write_fds[1], b"no newline")
            output.drain()
            assert lines == [("no newline", True)]

    asyncio.run(scenario())


def test_a_progress_bar_is_passed_on_while_it_grows_with_whole_characters() -> None:
    async def scenario() -> None:
        with _output() as (output, lines):
            more = asyncio.Event()

            def take(line: pb.LogLine) -> None:
                lines.append((line.text, line.partial))
                more.set()

            output.redirect(take)
            block = "█".encode()
            os.write(output.write_fds[1], b"\r 10%" + block[:2])
            await more.wait()
            assert lines == [("\r 10%", True)]
            os.write(output.write_fds[1], block[2:] + b"\r100%\n")
            output.drain()
            assert lines[1:] == [("█\r100%", False)]

    asyncio.run(scenario())
