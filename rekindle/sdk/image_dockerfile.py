"""Lines of a Dockerfile as steps of an image. Standard library only.

What a step cannot be is an error that names the line, and nothing is passed over that would change
what the image holds.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rekindle.exception import InvalidError
from rekindle.sdk import checks, image_files
from rekindle.sdk.image_files import Ignore
from rekindle.wire.images import Step, StepKind

#: Of no effect on what runs here.
_METADATA = ("LABEL", "MAINTAINER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ONBUILD", "VOLUME")
_REFUSED = {
    "USER": "steps run as root; what a runner runs as is not the image's business",
    "FROM": "only one FROM can be, the first: build stages of their own are not supported",
}
_KNOWN = ("RUN", "COPY", "ADD", "ENV", "ARG", "WORKDIR", "ENTRYPOINT", "CMD", "SHELL")
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::-([^}]*))?\}|(\w+))")


@dataclass(frozen=True)
class Line:
    """One instruction: its place, its word in capitals, the rest, and both as written."""

    where: str
    word: str
    rest: str

    @property
    def text(self) -> str:
        """As written."""
        return f"{self.word} {self.rest}"


def read(file: Path, build_args: Mapping[str, str]) -> list[Line]:
    """The instructions of a file. Raises InvalidError."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InvalidError(f"{file} cannot be read: {error}") from error
    return parse(text, str(file), build_args)


def parse(text: str, name: str, build_args: Mapping[str, str]) -> list[Line]:
    """The instructions of a text; ``ARG`` and ``ENV`` are put in where later ones mention them.

    Raises InvalidError for what is no instruction, or one that cannot be.
    """
    found: list[Line] = []
    values: dict[str, str] = {}
    arguments: set[str] = set()
    for number, line in _joined(text):
        where = f"{name}, line {number}"
        word, _, rest = line.partition(" ")
        word, rest = word.upper(), rest.strip()
        if word in _METADATA:
            continue
        if word == "ARG":
            for key, default in _pairs(rest, where, may_lack_value=True).items():
                values[key] = build_args.get(key, _filled(default, values))
                arguments.add(key)
            continue
        if word in _REFUSED and (word != "FROM" or found):
            raise InvalidError(f"{where}: {word}: {_REFUSED[word]}")
        if word not in (*_KNOWN, "FROM"):
            raise InvalidError(f"{where}: no instruction {word!r}{checks.nearest(word, _KNOWN)}")
        if rest.startswith("<<") or re.search(r"<<-?\w+$", rest):
            raise InvalidError(f"{where}: {word} with a here-document is not supported; use && or;")
        if word == "RUN":
            # ENV is in the shell's environment; ARG is not.
            given = [f"{key}={shlex.quote(values[key])}" for key in sorted(arguments)]
            rest = f"export {' '.join(given)}; {rest}" if given and rest[0] != "[" else rest
        else:
            rest = _filled(rest, values)
        if word == "ENV":
            values |= _pairs(rest, where)
        found.append(Line(where, word, rest))
    return found


def base_of(lines: Sequence[Line], name: str) -> str:
    """The image that the first line names. Raises InvalidError."""
    if not lines or lines[0].word != "FROM":
        raise InvalidError(f"{name} must begin with FROM")
    words = [one for one in lines[0].rest.split() if not one.startswith("--")]
    if not words or words[0] == "scratch":
        raise InvalidError(f"{lines[0].where}: {lines[0].text}: name an image that has a shell")
    return words[0]


def steps(lines: Sequence[Line], context: Path, ignore: Ignore) -> list[Step]:
    """What the lines after FROM come to. Raises InvalidError for files that are not there."""
    made: list[Step] = []
    workdir = "/"
    for line in lines:
        if line.word in ("COPY", "ADD"):
            made.append(_copied(line, context, workdir, ignore))
            continue
        step = _step(line, workdir)
        workdir = step.arguments.get("workdir", workdir)
        made.append(step)
    return made


def _step(line: Line, workdir: str) -> Step:
    settings = {"kind": StepKind.SETTINGS, "title": line.text}
    if line.word == "RUN":
        if line.rest.startswith("--"):
            raise InvalidError(f"{line.where}: RUN with {line.rest.split()[0]} is not supported")
        command = _command(line, shell=False)
        return Step(kind=StepKind.RUN, title=line.text, commands=(command,))
    if line.word == "ENV":
        return Step(kind=StepKind.SETTINGS, title=line.text, env=_pairs(line.rest, line.where))
    if line.word == "WORKDIR":
        place = line.rest if line.rest.startswith("/") else f"{workdir.rstrip('/')}/{line.rest}"
        arguments = {"workdir": place}
    else:
        arguments = {line.word.lower(): _command(line, shell=line.word != "SHELL")}
    return Step(kind=StepKind.SETTINGS, title=str(settings["title"]), arguments=arguments)


def _command(line: Line, *, shell: bool) -> str:
    """The command of a line: a list of words in JSON, or one for the shell."""
    if line.rest.startswith("["):
        try:
            words = json.loads(line.rest)
        except ValueError as error:
            raise InvalidError(f"{line.where}: {line.text}: {error}") from error
        return shlex.join(map(str, words))
    return shlex.join(["/bin/sh", "-c", line.rest]) if shell else line.rest


def _copied(line: Line, context: Path, workdir: str, ignore: Ignore) -> Step:
    words = line.rest.split()
    options = [one for one in words if one.startswith("--")]
    if options and line.word == "COPY" and options[0].startswith("--from"):
        raise InvalidError(f"{line.where}: COPY --from: build stages are not supported")
    if options:
        raise InvalidError(f"{line.where}: {line.word} with {options[0]} is not supported")
    if line.rest.startswith("["):
        words = json.loads(line.rest)
    *sources, target = words
    if not sources:
        raise InvalidError(f"{line.where}: {line.text}: give what to copy and where to")
    if not target.startswith("/"):
        target = f"{workdir.rstrip('/')}/{target.removeprefix('./')}"
    ignored = image_files.ignored_by(ignore)
    files = []
    for source in sources:
        if "://" in source:
            raise InvalidError(f"{line.where}: ADD of an address is not supported; RUN curl")
        matched = sorted(context.glob(source.removeprefix("/"))) if source != "." else [context]
        if not matched:
            raise InvalidError(f"{line.where}: there is no {source} in {context}")
        if line.word == "ADD" and any(one.suffix in (".tar", ".tgz", ".gz") for one in matched):
            raise InvalidError(f"{line.where}: ADD unpacks no archives here; COPY it and RUN tar")
        for one in matched:
            into = target.endswith(("/", "/.")) or len(sources) > 1 or len(matched) > 1
            # A folder's content is copied, a file by its name.
            place = f"{target.rstrip('/.')}/{one.name}" if into and one.is_file() else target
            files.append(image_files.keep(one, place.rstrip("/.") or "/", ignored))
    return Step(kind=StepKind.COPY, title=line.text, files=tuple(files))


def _joined(text: str) -> list[tuple[int, str]]:
    """Lines without comments, those that end with a backslash together with the next."""
    found: list[tuple[int, str]] = []
    begun, number = "", 0
    for at, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        number = number or at
        if line.endswith("\\"):
            begun += line[:-1].rstrip() + " "
            continue
        found.append((number, begun + line))
        begun, number = "", 0
    return found


def _pairs(text: str, where: str, *, may_lack_value: bool = False) -> dict[str, str]:
    """Names and values of ENV and ARG. Raises InvalidError."""
    words = shlex.split(text)
    if len(words) > 1 and "=" not in words[0] and not may_lack_value:  # ENV name value
        return {words[0]: " ".join(words[1:])}
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name.isidentifier() or not (equals or may_lack_value):
            raise InvalidError(f"{where}: {word!r} is no NAME=value")
        found[name] = value
    return found


def _filled(text: str, values: Mapping[str, str]) -> str:
    """The text with values in the place of names; others are left to the shell."""

    def put(found: re.Match[str]) -> str:
        name = found[1] or found[3]
        return values.get(name, found[2] if found[2] is not None else found[0])

    return _VARIABLE.sub(put, text)
