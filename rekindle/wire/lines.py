"""Lines of an app's log that travel and are stored together: one LogLine whose text has several.

A message for each line would cost several processes more than the program that prints it. What a
runner wrote at once (same stream, same call) is one message: its lines, joined by newlines; the
number is that of the last, and each has its own. Knows nothing of who prints, stores or shows.
"""

from __future__ import annotations

from collections.abc import Iterator

from rekindle.wire import rekindle_pb2 as pb

#: At most so many lines and about so many bytes of text together, which bounds by how much what is
#: counted in messages exceeds what is meant in lines.
MOST_LINES, MOST_BYTES = 500, 1 << 14


def count(line: pb.LogLine) -> int:
    """How many lines a message has."""
    return line.text.count("\n") + 1


def first_seq(line: pb.LogLine) -> int:
    """The number of the first line of a message."""
    return line.seq - line.text.count("\n")


def each(line: pb.LogLine) -> Iterator[pb.LogLine]:
    """Each line of a message as a message of its own."""
    texts = line.text.split("\n")
    if len(texts) == 1:
        yield line
        return
    for index, text in enumerate(texts):
        yield _part(line, index, [text], len(texts))


def behind(line: pb.LogLine, seq: int) -> pb.LogLine:
    """The lines of a message with numbers above ``seq``; there must be one at least."""
    passed = seq - first_seq(line) + 1
    if passed <= 0:
        return line
    texts = line.text.split("\n")
    return _part(line, passed, texts[passed:], len(texts))


def with_text(line: pb.LogLine, lowered: str) -> list[pb.LogLine]:
    """The lines that contain ``lowered``, in any case of letters; neighbours stay together."""
    if lowered not in line.text.lower():
        return []
    texts = line.text.split("\n")
    found: list[pb.LogLine] = []
    start = 0
    for index in range(len(texts) + 1):
        if index == len(texts) or lowered not in texts[index].lower():
            if index > start:
                found.append(_part(line, start, texts[start:index], len(texts)))
            start = index + 1
    return found


def _part(line: pb.LogLine, start: int, texts: list[str], whole: int) -> pb.LogLine:
    """A message of some of its lines, the first of which is its ``start``-th."""
    part = pb.LogLine()
    part.CopyFrom(line)
    part.text = "\n".join(texts)
    end = start + len(texts)
    part.seq = line.seq - (whole - end)
    part.partial = line.partial and end == whole
    return part
