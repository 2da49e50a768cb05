"""Hints of the library, in the words of the command line, for whoever wrote a command.

What a library call is to be given, an option or another command says here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from rekindle.exception import Error


def _make(found: re.Match[str]) -> str:
    kind, name, environment = found["kind"], found["name"], found["environment"]
    of = "" if environment == "main" else f" --env {environment}"
    return f"{found[1]}; `rekindle {kind.lower()} create {name}{of}` makes it"


_NO_OBJECT = (
    r"(there is no (?P<kind>Dict|Queue) '(?P<name>[^']*)' in the environment "
    r"'(?P<environment>[^']*)'); create_if_missing=True makes it"
)
#: What a hint says to a program -> what to say to a shell.
_HINTS: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (_NO_OBJECT, _make),
    (r"Volume\.from_name\([^)]*create_if_missing=True\) or ", ""),
    (r"; use from_name, or allow_existing=True", ""),
    (r"change it with \.update\(\), or replace it", "replace it"),
    (r"batch_upload\(force=True\)|force=True", "--force"),
    (r"recursive=True", "--recursive"),
    (r"give partition= or (all|total)=True, not both", r"give --partition or --\1, not both"),
)


#: What makes the thing that is missing, and what is said to who wanted it gone.
_MAKES = r"[;.] `rekindle (\w+) create [^`]*` makes (?:it|one)$"
_ENDS = ("delete", "rename", "clear")


def of_commands(error: Error, argv: Sequence[str] = ()) -> Error:
    """The same error; its text says what to do on a command line, which is ``argv``."""
    text = str(error)
    for hint, instead in _HINTS:
        text = re.sub(hint, instead, text)
    if list(argv[:2]) == ["pool", "set"]:
        text = re.sub(r"(min|max|buffer|spare)_containers=", r"--\1 ", text)
        text = text.replace("scaledown_window=", "--scaledown-window ")
    if argv[1:2] and argv[1] in _ENDS:
        text = re.sub(_MAKES, r"; `rekindle \1 list` shows all", text)
    if error.args and text != str(error):
        error.args = (text, *error.args[1:])
    return error
