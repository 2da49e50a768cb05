"""Output of a process, line by line."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from rekindle.exception import StartError
from rekindle.runtime.agent.runners.output import Output
from rekindle.runtime.agent.starts.outfit import Outfit
from rekindle.wire import rekindle_pb2 as pb
from tests import descriptors, exhausted


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


def test_lines_that_are_read_at_once_are_one_message_up_to_a_bound() -> None:
    async def scenario() -> None:
        with _output() as (output, lines):
            written = "".join(f"{number}\n" for number in range(1200))
            os.write(output.write_fds[0], written.encode() + b"the")
            output.drain(runs_on=True)
            os.write(output.write_fds[0], b" end\n" + b"x" * 20_000 + b"\ny\n")
            output.drain(runs_on=True)
            assert [text.count("\n") + 1 for text, _ in lines] == [500, 500, 200, 1, 1, 1]
            assert "\n".join(text for text, _ in lines) == (
                written + "the end\n" + "x" * 20_000 + "\ny"
            )
            assert not any(partial for _, partial in lines)
            assert output.lines == 1203

    asyncio.run(scenario())


def test_a_process_that_writes_line_after_line_is_read_now_and_then() -> None:
    async def scenario() -> None:
        with _output() as (output, lines):
            loop = asyncio.get_running_loop()
            done = asyncio.Event()

            def take(line: pb.LogLine) -> None:
                lines.append((line.text, line.partial))
                if line.text.endswith("2999"):
                    done.set()

            def write() -> None:
                for number in range(3000):
                    os.write(output.write_fds[0], b"%d\n" % number)

            output.redirect(take)
            await loop.run_in_executor(None, write)
            await done.wait()
            texts = "\n".join(text for text, _ in lines)
            assert texts == "\n".join(map(str, range(3000)))
            assert len(lines) < 1000

    asyncio.run(scenario())


def test_a_process_that_writes_more_than_goes_on_waits_and_nothing_is_lost() -> None:
    """What it has written when its call ends is read all the same."""

    async def scenario() -> None:
        with _output() as (output, lines):
            loop = asyncio.get_running_loop()
            held, wanted = 3000, "\n".join(map(str, range(40_000)))
            looked = done = 0

            def held_up() -> bool:
                nonlocal looked
                looked += 1
                return sum(text.count("\n") + 1 for text, _ in lines) > held

            def write() -> None:
                nonlocal done
                done = os.write(output.write_fds[0], wanted.encode() + b"\n")

            output.held_up = held_up
            writing = loop.run_in_executor(None, write)
            while not lines:
                await asyncio.sleep(0)
            before, seen = len(lines), looked
            while looked < seen + 3:
                await asyncio.sleep(0)
            assert not done and len(lines) == before
            output.drain(runs_on=True)
            assert len(lines) > before
            held = 1 << 62
            await writing
            while "39999" not in lines[-1][0]:
                await asyncio.sleep(0)
            assert "\n".join(text for text, _ in lines) == wanted

    asyncio.run(scenario())


def test_the_last_lines_before_an_error_are_lines_also_of_what_came_at_once() -> None:
    async def scenario() -> None:
        with _output() as (output, _lines):
            output.keep_last(on=True)
            os.write(output.write_fds[1], b"".join(b"%d\n" % number for number in range(20)))
            output.drain()
            assert output.said_last().split() == [str(number) for number in range(12, 20)]

    asyncio.run(scenario())


@pytest.mark.parametrize("left", [0, 1, 2, 3, 4])
def test_output_that_there_is_no_descriptor_for_leaves_none_open(left: int) -> None:
    """Two pipes and what waits for them take five, the page one more where its loop has its own
    already; any number of them may be left."""

    async def scenario() -> None:
        before = descriptors.opened()
        for _time in range(2):
            with exhausted.descriptors(left), pytest.raises(StartError, match=r"no (pipes|page)"):
                Outfit.make()
        assert not descriptors.newly_open(before)
        Outfit.make().close()
        assert not descriptors.newly_open(before)

    asyncio.run(scenario())
