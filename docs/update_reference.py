"""Make docs/reference.md of the docstrings of all public names.

.venv/bin/python docs/update_reference.py [--check]

With --check nothing is written; 1 says that the file is not what the docstrings make.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import rekindle
from rekindle import exception, gpu
from rekindle.sdk import options
from rekindle.sdk.images import step_commands

PLACE = Path(__file__).with_name("reference.md")

_HEAD = """# Reference

Every public name, its signature and what its docstring says: made by `docs/update_reference.py`.
What things are for is in the [guides](README.md); [sdk.md](sdk.md) has the API in one piece, with
its defaults and limits.

Methods marked *and .aio* have a form for asyncio: `await f.remote.aio(x)`,
`async for y in f.map.aio(xs)`. Where a name is looked up, `environment_name` is an environment
(`None`: `$REKINDLE_ENVIRONMENT`, else `main`). `client` is there for programs that come from Modal;
it must be None. Errors are of [`rekindle.exception`](#errors).
"""
_CHAPTERS = {
    "Apps, functions and classes": ("App", "Function", "Cls", "FunctionCall"),
    "Decorators": ("method", "parameter", "enter", "exit", "concurrent", "batched"),
    "Options": ("Retries", "Cron", "Period", "Image", "FilePatternMatcher"),
    "What functions share": (
        *("Dict", "Queue", "Secret", "Volume", "FileEntry", "FileEntryType"),
        *("CloudBucketMount", "Environment"),
    ),
    "Where code runs": (
        *("is_local", "current_input_id", "current_function_call_id", "on_restore"),
        *("enable_output", "interact"),
    ),
}
#: Public for other modules of the package, not for programs.
_INTERNAL = {
    *("App.deployed_as", "App.runs_as", "App.whole", "App.shares_a_whole_with"),
    *("Function.undecorated", "Cls.undecorated"),
    *("FunctionCall.of", "Image.spec", "Image.secrets", "Image.is_host", "Cron.message"),
    *("Period.message", "CloudBucketMount.options", "CloudBucketMount.url", "Secret.is_named"),
    "FilePatternMatcher.may_take_back",
    *("Volume.objects", "Secret.objects", "Dict.objects", "Queue.objects"),
}
#: Classes whose objects only decorators and methods make: their constructors are not called.
_NOT_MADE = {"Function", "Cls", "FunctionCall", "Image", "Dict", "Queue", "Secret", "Volume"}
_NOT_MADE |= {"FileEntry", "FileEntryType"}
_GIVEN = re.compile(r"``(\w+\(.*?\)(?: -> .*?)?)``[:.]\s*", re.S)
_OF_A_FILE = re.compile(r" \((?:sdk|calls)/[\w/]+\.py\)")


def text() -> str:
    """The whole reference. ValueError where a public name is in no chapter."""
    named = {name for names in _CHAPTERS.values() for name in names}
    public = {*rekindle.__all__} - {"__version__", "exception", "gpu", "Error"}
    if named != public:
        raise ValueError(f"say in which chapter these belong: {sorted(named ^ public)}")
    parts = [_HEAD]
    for title, names in _CHAPTERS.items():
        parts.append(f"## {title}\n")
        for name in names:
            value = getattr(rekindle, name)
            parts += _class(name, value) if inspect.isclass(value) else [_entry("###", name, value)]
    parts.append("## Objects by name\n")
    parts += _manager("Dict", rekindle.Dict.objects)
    parts += _manager("Queue", rekindle.Queue.objects)
    parts += _manager("Secret", rekindle.Secret.objects)
    parts += _manager("Volume", rekindle.Volume.objects)
    parts += [f"## rekindle.gpu\n\n{_prose(inspect.getdoc(gpu) or '')}\n"]
    parts += [_entry("###", f"gpu.{name}", getattr(gpu, name)) for name in gpu.__all__]
    parts += _errors(exception)
    return "\n".join(parts).rstrip() + "\n"


# ---- one name ------------------------------------------------------------------------------------


def _class(name: str, cls: type) -> list[str]:
    head = f"### {name}\n"
    if name not in _NOT_MADE:
        head += f"\n{_code(f'rekindle.{name}{_signature(cls.__init__)}')}\n"
    parts = [f"{head}\n{_prose(inspect.getdoc(cls) or '')}\n"]
    shown = [one for one in _members(cls) if f"{name}.{one}" not in _INTERNAL]
    return parts + [
        _entry("####", f"{name}.{one}", inspect.getattr_static(cls, one)) for one in shown
    ]


def _members(cls: type) -> Iterator[str]:
    """Its public methods and properties: the order is that in which they are written."""
    seen = set()
    for base in cls.__mro__:
        if not base.__module__.startswith("rekindle."):
            continue
        for name, value in vars(base).items():
            if name.startswith("_") or name in seen or isinstance(value, str | int | float):
                continue
            if value is not None and (callable(value) or _body(value) is not None):
                seen.add(name)
                yield name


def _body(value: Any) -> Any:
    """The function that has the docstring and the signature of a member; None of a plain value."""
    if isinstance(value, property):
        return value.fget
    if isinstance(value, staticmethod | classmethod):
        return value.__func__
    for inside in ("_body", "body", "func", "__wrapped__"):
        found = getattr(value, inside, None)
        if callable(found):
            return found
    return value if inspect.isfunction(value) else None


def _entry(level: str, name: str, value: Any) -> str:
    written = inspect.getdoc(_body(value)) or inspect.getdoc(value) or ""
    if not written.strip():
        raise ValueError(f"rekindle.{name} has no docstring")
    given = _GIVEN.match(written)
    short = name.rpartition(".")[2]
    shown = "" if _is_property(value) else f"{short}{_signature(_body(value) or value)}"
    if given is not None:
        written = written[given.end() :]
        said = re.sub(r"\s+", " ", given[1])
        if not shown or ("=..." in shown and "min_containers" not in shown):
            shown = re.sub(r"^\w+", short, said)
    both = "  *and .aio*" if _has_aio(value, shown) else ""
    signature = f"\n{_code(shown)}\n" if shown else ""
    return f"{level} {name}{both}\n{signature}\n{_prose(_capital(written))}\n"


def _is_property(value: Any) -> bool:
    return type(value).__name__ in ("property", "cached_property")


def _has_aio(value: Any, shown: str) -> bool:
    kind = type(value).__name__
    dual = ("Dual", "DualMethod", "block_method", "own_block", "class_block")
    return kind in (*dual, "both", "both_iterators", "both_taking") or (
        _is_property(value) and "(" in shown
    )


def _signature(function: Any) -> str:
    """As it is called: without what Python or rekindle hand in first."""
    try:
        found = inspect.signature(function)
    except (TypeError, ValueError):
        return "()"
    parameters = list(found.parameters.values())
    handed = {"self", "cls", "caller"}
    while parameters and parameters[0].name in handed:
        del parameters[0]
    shown: list[str] = []
    star = False
    for one in parameters:
        if one.name in ("no_parentheses", "unknown"):
            continue
        if one.kind is one.KEYWORD_ONLY and not star:
            shown.append("*")
            star = True
        if one.kind is one.VAR_POSITIONAL:
            star = True
        if "Unpack[" in str(one.annotation):
            shown += [*([] if star else ["*"]), *_options(one)]
        else:
            shown.append(_parameter(one))
    return f"({', '.join(shown)})"


def _parameter(one: inspect.Parameter) -> str:
    mark = {one.VAR_POSITIONAL: "*", one.VAR_KEYWORD: "**"}.get(one.kind, "")
    if one.default is one.empty:
        return f"{mark}{one.name}"
    default = one.default
    plain = default is None or isinstance(default, bool | int | float | str | bytes | tuple | dict)
    return f"{one.name}={default!r}" if plain else f"{one.name}=..."


def _options(one: inspect.Parameter) -> list[str]:
    """The keywords behind ``**given: Unpack[FunctionOptions]``."""
    name = str(one.annotation).strip("'").removeprefix("Unpack[").removesuffix("]")
    given: type = getattr(options if hasattr(options, name) else step_commands, name)
    return [f"{key}=..." for key in given.__annotations__]


# ---- others --------------------------------------------------------------------------------------


def _manager(name: str, manager: Any) -> list[str]:
    cls = type(manager)
    parts = [f"### {name}.objects\n\n{_prose(inspect.getdoc(cls) or '')}\n"]
    for one in _members(cls):
        value = inspect.getattr_static(cls, one)
        parts.append(_entry("####", f"{name}.objects.{one}", value))
    return parts


def _errors(module: ModuleType) -> list[str]:
    """The tree of errors: each under what it is one of."""
    named = {
        name: value
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, BaseException)
        and value.__module__.startswith("rekindle.")
    }
    found = set(named.values())

    def below(parent: type, depth: int) -> Iterator[str]:
        children = [cls for cls in found if cls.__bases__[0] is parent]
        for cls in sorted(children, key=lambda cls: cls.__name__):
            also = [base.__name__ for base in cls.__bases__[1:]]
            also += [name for name, value in named.items() if value is cls and name != cls.__name__]
            more = f" (also {', '.join(f'`{name}`' for name in also)})" if also else ""
            said = re.sub(r"\s+", " ", _prose(inspect.getdoc(cls) or ""))
            yield f"{'  ' * depth}- `{cls.__name__}`{more}: {said}"
            yield from below(cls, depth + 1)

    alone = sorted((c for c in found if c.__bases__[0] not in found), key=lambda c: c.__name__)
    lines = [
        "## Errors\n",
        "`rekindle.exception` has them; each is one of those that it stands under. An exception",
        "that a function raises is none of them: it has its own type at the caller.\n",
    ]
    for cls in alone:
        said = re.sub(r"\s+", " ", _prose(inspect.getdoc(cls) or ""))
        lines.append(f"- `{cls.__name__}`: {said}")
        lines += below(cls, 1)
    return ["\n".join(lines) + "\n"]


def _prose(docstring: str) -> str:
    return _OF_A_FILE.sub("", docstring).replace("``", "`").strip()


def _capital(written: str) -> str:
    return written[:1].upper() + written[1:]


def _code(line: str) -> str:
    """A signature, in lines that a page has room for."""
    if len(line) <= 100:
        return f"```text\n{line}\n```"
    name, _, rest = line.partition("(")
    lines, now = [f"{name}("], "   "
    for part in _parts(rest.removesuffix(")")):
        if len(now) + len(part) + 2 > 100:
            lines.append(now)
            now = "   "
        now += f" {part},"
    return "\n".join(["```text", *lines, now, ")", "```"])


def _parts(parameters: str) -> Iterator[str]:
    """Split at the commas that are in no bracket."""
    depth, now = 0, ""
    for letter in parameters:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            yield now.strip()
            now = ""
        else:
            now += letter
    if now.strip():
        yield now.strip()


def main(arguments: list[str]) -> int:
    """Write the file, or look whether it is current; 2 for wrong use."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write(f"{__doc__}\n")
        return 2
    made = text()
    if not arguments:
        PLACE.write_text(made, encoding="utf-8")
        return 0
    if PLACE.is_file() and PLACE.read_text(encoding="utf-8") == made:
        return 0
    sys.stderr.write(f"{PLACE.name} is not current: run {Path(__file__).name}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
