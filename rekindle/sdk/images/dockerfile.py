"""Lines of a Dockerfile as steps of an image. Standard library only.

What a step cannot be is an error that names the line, and nothing is passed over that would change
what the image holds.
"""

from __future__ import annotations

import contextlib
import json
import os
import posixpath
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rekindle.exception import InvalidError
from rekindle.sdk import checks
from rekindle.sdk.ignore_patterns import Below, Ignore, Ignored, ignored_by, of_context
from rekindle.sdk.images import copy_patterns, dockerfile_words, local_files
from rekindle.sdk.images.chain import refuse_place
from rekindle.wire import image_variables
from rekindle.wire.image_variables import mentioned
from rekindle.wire.images import Step, StepKind
from rekindle.wire.usercode import came_by_signal

#: Of no effect on what runs here.
_METADATA = ("LABEL", "MAINTAINER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ONBUILD", "VOLUME")
_REFUSED = {
    "USER": "steps run as root; what a runner runs as is not the image's business",
    "FROM": "only one FROM can be, the first: build stages of their own are not supported",
}
_KNOWN = ("RUN", "COPY", "ADD", "ENV", "ARG", "WORKDIR", "ENTRYPOINT", "CMD", "SHELL")
_GOES_ON = re.compile(r"\\[ \t]*$")
#: Whose words are the shell's to fill in.
_OF_THE_SHELL = ("RUN", "ENTRYPOINT", "CMD", "SHELL")


@dataclass(frozen=True)
class Line:
    """One instruction: its place, its word in capitals, the rest, and both as written.

    ``env``: variables of an ENV, ``rest`` of a WORKDIR is a path; with what they mention of the
    image below (wire/image_variables.py). ``exports``: gives a RUN what ARGs set.
    """

    where: str
    word: str
    rest: str
    env: Mapping[str, str] = field(default_factory=dict)
    exports: str = ""

    @property
    def text(self) -> str:
        """As written, but for spaces."""
        return " ".join(f"{self.word} {self.rest}".split())


def read(file: Path, build_args: Mapping[str, str]) -> list[Line]:
    """The instructions of a file. Raises InvalidError."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        if came_by_signal(error):
            raise
        raise InvalidError(f"{file} cannot be read: {error}") from error
    return parse(text, str(file), build_args)


def parse(text: str, name: str, build_args: Mapping[str, str]) -> list[Line]:
    """The instructions of a text; ``ARG`` and ``ENV`` are put in where later ones mention them.

    Raises InvalidError for what is no instruction, or one that cannot be.
    """
    found: list[Line] = []
    values: dict[str, str] = {}
    arguments: set[str] = set()
    variables: set[str] = set()  # of ENV, which goes before an ARG of that name
    for number, line in _joined(text):
        where = f"{name}, line {number}"
        word, *more = line.split(maxsplit=1)
        word, rest = word.upper(), "".join(more).strip()
        if word in _METADATA:
            continue
        if word == "ARG":
            given = _arguments(rest, values, build_args, where)
            values |= {key: one for key, one in given.items() if key not in variables}
            arguments |= given.keys()
            continue
        if word in _REFUSED and (word != "FROM" or found):
            raise InvalidError(f"{where}: {word}: {_REFUSED[word]}")
        if word not in (*_KNOWN, "FROM"):
            raise InvalidError(f"{where}: no instruction {word!r}{checks.nearest(word, _KNOWN)}")
        if rest.startswith("<<") or re.search(r"<<-?\w+$", rest):
            raise InvalidError(f"{where}: {word} with a here-document is not supported; use && or;")
        env: dict[str, str] = {}
        exports = ""
        if word == "RUN" and arguments:
            # ENV is in the shell's environment; ARG is not.
            told = [f"{key}={shlex.quote(values[key])}" for key in sorted(arguments & {*values})]
            exports = f"export {' '.join(told)}; " if told else ""
        elif word == "ENV":
            env = _pairs(_words(rest, values, where), where)
            variables |= env.keys()
            for key, value in env.items():
                values.pop(key, None)
                if not mentioned(value):
                    values[key] = image_variables.filled(value, {})
        elif word == "WORKDIR":
            rest = " ".join(_words(rest, values, where))
        elif word == "FROM":
            rest = image_variables.filled(_filled(rest, values, where), {})
        elif word not in _OF_THE_SHELL:
            rest = _known(_filled(rest, values, where), where, word)
        found.append(Line(where, word, rest, env, exports))
    return found


def base_of(lines: Sequence[Line], name: str) -> str:
    """The image that the first line names. Raises InvalidError."""
    if not lines or lines[0].word != "FROM":
        raise InvalidError(f"{name} must begin with FROM")
    words = [one for one in lines[0].rest.split() if not one.startswith("--")]
    if not words or words[0] == "scratch":
        raise InvalidError(f"{lines[0].where}: {lines[0].text}: name an image that has a shell")
    return words[0]


def refuse_base(lines: Sequence[Line]) -> None:
    """Raises InvalidError for a FROM among lines that go on top of an image."""
    for line in lines:
        if line.word == "FROM":
            raise InvalidError(
                f"{line.where}: {line.text}: these lines go on top of an image; begin with "
                f"Image.from_registry({base_of([line], line.where)!r}), or put them into a file "
                f"for Image.from_dockerfile(...)"
            )


def steps(
    lines: Sequence[Line], context: Path, ignore: Ignore | None, file: Path | None = None
) -> list[Step]:
    """What the lines after FROM come to. Raises InvalidError for files that are not there.

    ``ignore``: of the context; what its .dockerignore file, or that of the Dockerfile, says where
    it is None.
    """
    made: list[Step] = []
    ignored = of_context(context, file) if ignore is None else ignored_by(ignore)
    workdir = ""  # that of the image below, which only who builds knows
    for line in lines:
        if line.word in ("COPY", "ADD"):
            made.append(_copied(line, context, workdir, ignored))
            continue
        step = _step(line)
        if line.word == "WORKDIR":
            workdir = _onto(workdir, line.rest)
        made.append(step)
    return made


def _step(line: Line) -> Step:
    if line.word == "RUN":
        if line.rest.startswith("--"):
            raise InvalidError(f"{line.where}: RUN with {line.rest.split()[0]} is not supported")
        command = line.exports + _command(line, shell=False)
        return Step(kind=StepKind.RUN, title=line.text, commands=(command,))
    if line.word == "ENV":
        arguments, env = {}, dict(line.env)
    elif line.word == "WORKDIR":
        arguments, env = {"workdir": line.rest}, {}
    else:
        arguments, env = {line.word.lower(): _command(line, shell=line.word != "SHELL")}, {}
    if line.word in ("ENV", "WORKDIR"):
        texts = [*env.values(), *arguments.values()]
        if any(map(mentioned, texts)):
            arguments["mentions"] = "variables"
        else:
            env = {key: image_variables.filled(value, {}) for key, value in env.items()}
            arguments = {key: image_variables.filled(one, {}) for key, one in arguments.items()}
    return Step(kind=StepKind.SETTINGS, title=line.text, env=env, arguments=arguments)


def _onto(workdir: str, path: str) -> str:
    """A WORKDIR after another; "" where only who builds knows it."""
    if mentioned(path) or not (workdir or path.startswith("/")):
        return ""
    return posixpath.join(workdir, image_variables.filled(path, {}))


def _command(line: Line, *, shell: bool) -> str:
    """The command of a line: a list of words in JSON, or one for the shell."""
    if words := _listed(line.rest):
        return shlex.join(words)
    return shlex.join(["/bin/sh", "-c", line.rest]) if shell else line.rest


def _listed(text: str) -> list[str]:
    """The words of a list in JSON; none where it is no such list, but one for the shell."""
    if text.startswith("["):
        with contextlib.suppress(ValueError):
            words = json.loads(text)
            if all(isinstance(one, str) for one in words):
                return list(words)
    return []


def _copied(line: Line, context: Path, workdir: str, ignored: Ignored) -> Step:
    words = line.rest.split()
    options = [one for one in words if one.startswith("--")]
    if options and line.word == "COPY" and options[0].startswith("--from"):
        raise InvalidError(f"{line.where}: COPY --from: build stages are not supported")
    if options:
        raise InvalidError(f"{line.where}: {line.word} with {options[0]} is not supported")
    *sources, target = _listed(line.rest) or [_unquoted(one, line.where) for one in words]
    if not sources:
        raise InvalidError(f"{line.where}: {line.text}: give what to copy and where to")
    if not target.startswith("/"):  # without a known one it stays relative, for who builds
        target = posixpath.join(workdir, target)
    if target.endswith(("/", "/.")) or target == ".":
        target = posixpath.join(posixpath.normpath(target), "")
    refuse_place(f"{line.where}: {line.text}", target, copied=True)
    files = []
    arguments: dict[str, str] = {}
    for source in sources:
        if "://" in source:
            raise InvalidError(f"{line.where}: ADD of an address is not supported; RUN curl")
        matched = _matched(line, context, source, ignored)
        if line.word == "ADD" and any(one.suffix in (".tar", ".tgz", ".gz") for one in matched):
            raise InvalidError(f"{line.where}: ADD unpacks no archives here; COPY it and RUN tar")
        for one in matched:
            into = target.endswith("/") or len(sources) > 1 or len(matched) > 1
            # A folder's content is copied, a file by its name.
            place = posixpath.join(target, one.name) if into and one.is_file() else target
            inside = Below(ignored, one.resolve().relative_to(context.resolve()))
            files.append(local_files.keep(one, posixpath.normpath(place), inside))
            if not into and one.is_file():
                arguments["into"] = one.name
    return Step(kind=StepKind.COPY, title=line.text, arguments=arguments, files=tuple(files))


def _unquoted(word: str, where: str) -> str:
    """A word of COPY, whose spaces no quotes keep together. Raises InvalidError."""
    return image_variables.filled("".join(_words(word, {}, where)), {})


def _matched(line: Line, context: Path, source: str, ignored: Ignored) -> list[Path]:
    """What a COPY means in the build context. Raises InvalidError for what is not there, is not in
    the context, or cannot be told."""
    top = context.resolve()

    def is_there(one: Path) -> bool:
        return all(
            local_files.is_there(place, ignored, place.relative_to(top))
            for place in _places(one, context)
            if place.is_relative_to(top)
        )

    try:
        return _there(line, context, source, is_there)
    except ValueError as error:
        raise InvalidError(f"{line.where}: {line.text}: {error}") from error
    except OSError as error:
        if came_by_signal(error):
            raise
        raise InvalidError(
            f"{line.where}: {line.text}: {error.filename or context} cannot be read "
            f"({error.strerror or error}): make it readable, or leave it out by .dockerignore"
        ) from error


def _places(path: Path, context: Path) -> Iterator[Path]:
    """Where what a path leads to lies, and the links on its way: a pattern of what is left out is
    of such a place, and by another way to it no more and no less is there."""
    for part in (path, *path.parents):
        if part == context:
            break
        if os.path.islink(part):
            yield part.parent.resolve() / part.name
    yield path.resolve()


def _there(line: Line, context: Path, source: str, is_there: Callable[[Path], bool]) -> list[Path]:
    pattern = posixpath.normpath(source.lstrip("/") or ".")
    found = [context] if pattern == "." else []
    if not found and pattern.split("/")[0] != "..":
        found = copy_patterns.matching(context, pattern, lambda one: not is_there(one))
    top = context.resolve()
    outside = [one for one in found if not one.resolve().is_relative_to(top)]
    if outside or pattern.split("/")[0] == "..":
        raise InvalidError(
            f"{line.where}: {line.word}: {source} is outside of the build context {context}; copy "
            f"it there, or give a context_dir that has it"
        )
    if not found:
        raise InvalidError(f"{line.where}: there is no {source} in {context}")
    if pattern != ".":
        found = [one for one in found if is_there(one)]
    if not found:
        raise InvalidError(
            f"{line.where}: {source} is left out of the build context {context}, by its "
            f".dockerignore file or by ignore="
        )
    return found


def _joined(text: str) -> list[tuple[int, str]]:
    """Lines without comments, those that end with a backslash together with the next, as it is."""
    found: list[tuple[int, str]] = []
    begun, number = "", 0
    for at, raw in enumerate(text.splitlines(), 1):
        if not raw.strip() or raw.lstrip().startswith("#"):
            continue
        number = number or at
        line = begun + (raw if begun else raw.lstrip())
        if goes_on := _GOES_ON.search(line):
            begun = line[: goes_on.start()]
            continue
        found.append((number, line))
        begun, number = "", 0
    return [*found, (number, begun)] if begun else found


def _pairs(words: Sequence[str], where: str) -> dict[str, str]:
    """Names and values of ENV. Raises InvalidError."""
    if len(words) > 1 and "=" not in words[0]:  # ENV name value
        return {words[0]: " ".join(words[1:])}
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name.isidentifier() or not equals:
            raise InvalidError(f"{where}: {word!r} is no NAME=value")
        found[name] = value
    return found


def _arguments(
    text: str, values: Mapping[str, str], given: Mapping[str, str], where: str
) -> dict[str, str]:
    """Names and values of ARG: what was given, else its default, else what it had before FROM.

    Raises InvalidError.
    """
    found = {}
    for word in _words(text, values, where):
        name, equals, default = word.partition("=")
        if not name.isidentifier():
            raise InvalidError(f"{where}: {word!r} is no NAME or NAME=value")
        if name in given:
            found[name] = given[name]
        else:
            found[name] = _known(default, where, "ARG") if equals else values.get(name, "")
    return found


def _words(text: str, values: Mapping[str, str], where: str) -> list[str]:
    try:
        return dockerfile_words.words(text, values)
    except ValueError as error:
        raise InvalidError(f"{where}: {error}") from error


def _filled(text: str, values: Mapping[str, str], where: str) -> str:
    try:
        return dockerfile_words.filled(text, values)
    except ValueError as error:
        raise InvalidError(f"{where}: {error}") from error


def _known(text: str, where: str, word: str) -> str:
    """A text without what the image below would have to say. Raises InvalidError."""
    for name in mentioned(text):
        if f"${{{name}}}" in text:
            raise InvalidError(
                f"{where}: {word}: ${name} is set by no ENV or ARG before it, and what the image "
                f"below sets is not known yet: write the value"
            )
    return image_variables.filled(text, {})
