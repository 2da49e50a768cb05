"""The commands that the documentation names are there, with the options that it gives them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from rekindle.cli.group import cli

_ROOT = Path(__file__).parents[2]
_DOCUMENTS = [_ROOT / "README.md", *sorted((_ROOT / "docs").glob("*.md"))]
_SPAN = re.compile(r"`((?:\$ )?rekindle [^`\n]+)`")
_BLOCK = re.compile(r"^```(?:sh|console)\n(.*?)^```", re.M | re.S)


def written(text: str) -> Iterator[str]:
    """Command lines of a document: in its spans, and in its blocks for a shell."""
    yield from _SPAN.findall(re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    for block in _BLOCK.findall(text):
        for line in block.splitlines():
            if re.match(r"(\$ )?(\S*/)?rekindle ", line):
                yield line


def wrong_with(line: str) -> str:
    """What of a command line is not there; "" where all of it is."""
    words = re.sub(r"[|&<>()…\[\]#'\"].*", "", line).split()
    words = words[words.index(next(w for w in words if w.endswith("rekindle"))) + 1 :]
    command: click.Command = cli
    context = click.Context(cli)
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        word = words.pop(0)
        found = command.get_command(context, word)
        if found is None:
            return "" if not re.fullmatch(r"[a-z][a-z-]*", word) else f"no command {word!r}"
        command = found
    known = {flag for param in command.params for flag in (*param.opts, *param.secondary_opts)}
    known |= {"-h", "--help", "--version"}
    taken = 0
    for word in words:
        if word.startswith("-") and word != "-" and not (taken and command.name == "run"):
            flag = word.split("=")[0].rstrip(",.")
            if not word.startswith("--"):
                flag = flag[:2]
            if flag not in known:
                return f"no option {flag!r} of {command.name}"
        taken += not word.startswith("-")
    return ""


@pytest.mark.parametrize("path", _DOCUMENTS, ids=lambda path: path.name)
def test_the_commands_that_a_document_names_are_there(path: Path) -> None:
    wrong = {
        line: said
        for line in written(path.read_text(encoding="utf-8"))
        if (said := wrong_with(line))
    }
    assert wrong == {}


def test_what_is_not_there_is_seen() -> None:
    assert wrong_with("rekindle dict list --jsn") == "no option '--jsn' of list"
    assert wrong_with("$ rekindle volume destroy x") == "no command 'destroy'"
    assert wrong_with("rekindle run FILE --n 4") == ""
    assert len(list(written((_ROOT / "README.md").read_text(encoding="utf-8")))) > 15
