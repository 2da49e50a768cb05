"""What packages are installed by: command lines of apt, pip and uv; checks of what is asked for.

Standard library only.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from rekindle.exception import InvalidError
from rekindle.sdk import checks
from rekindle.wire.images import INPUTS, UV, Step, StepKind
from rekindle.wire.usercode import came_by_signal

if TYPE_CHECKING:
    from rekindle.sdk.secret import Secret

#: Where micromamba installs.
CONDA = "/opt/conda"
#: Of a package, exactly.
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+!-]*")
_CONDA = f"--yes --quiet --prefix {CONDA}"


class StepOptions(TypedDict, total=False):
    """What every step that builds may be given."""

    env: Mapping[str, str | None] | None
    secrets: Sequence[Secret] | None
    force_build: bool


class PackageOptions(TypedDict, total=False):
    """What steps that install packages of Python may be given."""

    index_url: str | None
    extra_index_url: str | Sequence[str] | None
    find_links: str | None
    pre: bool
    extra_options: str
    env: Mapping[str, str | None] | None
    secrets: Sequence[Secret] | None
    force_build: bool


def checked(where: str, given: PackageOptions, *, of_packages: bool = True) -> PackageOptions:
    """The same. Raises InvalidError and TypeError, which name the option.

    ``of_packages``: it may have those of pip.
    """
    from rekindle.sdk.secret import check_secrets

    known = (PackageOptions if of_packages else StepOptions).__annotations__
    checks.unknown_keywords(where, given, known)
    for name in ("pre", "force_build"):
        if name in given:
            checks.flag(name, given.get(name))
    if not isinstance(given.get("extra_options", ""), str):
        raise InvalidError(f"{where}(extra_options=...) must be one string, as in '--no-deps'")
    checks.environment("env", given.get("env") or {})
    check_secrets("secrets", given.get("secrets"))
    return given


def title(method: str, words: Sequence[str]) -> str:
    """How a step is named."""
    return f"{method}({', '.join(map(repr, words))})"


def packages(
    method: str,
    given: Sequence[str | list[str]],
    *,
    sort: bool = True,
    may_be_none: bool = False,
) -> list[str]:
    """One list out of names and lists of names; sorted, each once. Raises InvalidError."""
    found: list[str] = []
    for one in given:
        found += one if isinstance(one, (list, tuple)) else [one]
    if not all(isinstance(one, str) and one.strip() for one in found):
        what = "commands" if method == "run_commands" else "names"
        raise InvalidError(f"Image.{method}: give {what} as strings, not {found!r}")
    if not found and not may_be_none:
        raise InvalidError(f"Image.{method}() is given nothing")
    return sorted(set(found)) if sort else found


def words(method: str, given: Any, *, may_be_none: bool = True) -> str:
    """A command as one line. Raises InvalidError."""
    is_list = isinstance(given, (list, tuple)) and (may_be_none or bool(given))
    if not is_list or not all(isinstance(one, str) for one in given):
        raise InvalidError(f"Image.{method}({given!r}): give a list of words, as in ['sh', '-c']")
    return shlex.join(given)


def apt(names: list[str]) -> list[str]:
    """What installs packages of Debian."""
    return [
        "apt-get update --quiet",
        f"apt-get install --yes --quiet --no-install-recommends {shlex.join(names)}",
    ]


def pip(names: Sequence[str], given: PackageOptions, requirements: Sequence[str] = ()) -> list[str]:
    """What installs packages by pip."""
    return (
        [_line("python -m pip install", names, given, requirements)]
        if (names or requirements)
        else []
    )


def uv(names: Sequence[str], given: PackageOptions, requirements: Sequence[str] = ()) -> list[str]:
    """The same by uv."""
    return [_line("uv pip install", names, given, requirements)]


def uv_tool(method: str, version: str | None) -> str:
    """The uv that a step needs. Raises InvalidError for what is no version."""
    if version is None:
        return UV
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise InvalidError(f"Image.{method}(uv_version={version!r}) must be a version, as '0.8.4'")
    return f"{UV}=={version}"


def _line(
    program: str, names: Sequence[str], given: PackageOptions, requirements: Sequence[str]
) -> str:
    words = [program]
    for one in requirements:
        words += ["--requirement", shlex.quote(f"{INPUTS}/{one}")]
    words += [shlex.join(names)] if names else []
    extra = given.get("extra_index_url") or ()
    options: dict[str, list[str | None]] = {
        "--index-url": [given.get("index_url")],
        "--extra-index-url": [extra] if isinstance(extra, str) else list(extra),
        "--find-links": [given.get("find_links")],
    }
    for option, values in options.items():
        words += [f"{option} {shlex.quote(value)}" for value in values if value]
    if given.get("pre"):
        words.append("--pre" if program.startswith("python") else "--prerelease allow")
    if more := given.get("extra_options"):
        words.append(more)
    return " ".join(words)


def python_by_uv(version: str) -> Step:
    """The step that puts a Python of uv's into an image, before the one that it has.

    These are relocatable: one that the node has already is copied.
    """
    place = f"/usr/local/lib/python-{version}"
    lacking = (
        f"no Python {version}: uv has none on this node and could not fetch one; run `uv python "
        f"install {version}` where the node's agent runs, or take Python 3.13 or 3.11 of Debian"
    )
    get = f"uv python install --no-progress --install-dir /tmp/pythons {version}"
    copied = (
        f"found=$(ls -d /run/rekindle/pythons/cpython-{version}.* 2>/dev/null | tail -n 1); "
        f'if [ -z "$found" ]; then {get} && found=$(ls -d /tmp/pythons/cpython-{version}.*); fi; '
        f'[ -n "$found" ] && cp -a "$found" {place} || {{ echo {shlex.quote(lacking)}; exit 1; }}'
    )
    linked = (
        f"rm -f {place}/lib/python{version}/EXTERNALLY-MANAGED; "
        f"for name in python python3 python{version}; do "
        f"ln -sf {place}/bin/python{version} /usr/local/bin/$name; done"
    )
    commands = (copied, linked, "python -m pip --version")
    return Step(
        kind=StepKind.RUN, title=f"Python {version} by uv", commands=commands, tools=("uv",)
    )


def micromamba(python: str) -> list[Step]:
    """The steps that put a Python of conda-forge, and what is installed beside it, first."""
    return [
        Step(
            kind=StepKind.RUN,
            title=f"Python {python} by micromamba",
            commands=(f"micromamba create {_CONDA} --channel conda-forge python={python} pip",),
            tools=("micromamba",),
        ),
        Step(
            kind=StepKind.SETTINGS,
            title="conda first on PATH",
            env={
                "PATH": f"{CONDA}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            },
        ),
    ]


def micromamba_install(names: Sequence[str], channels: Sequence[str], file: str) -> list[str]:
    """What installs packages of conda's channels; ``file``: one that names them, too."""
    words = [f"micromamba install {_CONDA}"]
    words += [f"--channel {shlex.quote(one)}" for one in channels]
    words += [f"--file {shlex.quote(f'{INPUTS}/{file}')}"] if file else []
    return [" ".join([*words, shlex.join(names)]).rstrip()]


def uv_sync(
    given: PackageOptions, groups: list[str], extras: list[str], *, frozen: bool
) -> list[str]:
    """What installs the packages of a uv.lock into the image's own Python."""
    export = ["uv", "export", "--project", INPUTS, "--quiet", "--no-emit-project"]
    export += ["--frozen"] if frozen else []
    for group in groups:
        export += ["--group", group]
    for extra in extras:
        export += ["--extra", extra]
    listed = "/tmp/requirements.txt"
    install = _line(f"uv pip install --requirement {listed}", (), given, ())
    return [f"{shlex.join(export)} --output-file {listed}", install]


def of_pyproject(file: Path, extras: Sequence[str]) -> list[str]:
    """The dependencies that a pyproject.toml names. Raises InvalidError."""
    import tomllib

    try:
        project = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {})
    except (OSError, ValueError) as error:
        if came_by_signal(error):
            raise
        raise InvalidError(f"{file} cannot be read: {error}") from error
    found = list(project.get("dependencies", ()))
    optional = project.get("optional-dependencies", {})
    for extra in extras:
        if extra not in optional:
            near = checks.nearest(extra, optional)
            raise InvalidError(f"{file} has no optional dependencies {extra!r}{near}")
        found += optional[extra]
    if not found:
        raise InvalidError(f"{file} names no dependencies (project.dependencies)")
    return sorted(set(found))


def module_place(name: str) -> Path:
    """Where a module's file, or a package's folder, lies. Raises InvalidError."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError) as error:
        raise InvalidError(f"add_local_python_source({name!r}): {error}") from error
    if spec is None:
        raise InvalidError(
            f"add_local_python_source({name!r}): this program cannot import it; it must lie beside "
            f"the program or on PYTHONPATH"
        )
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    if not spec.origin or not spec.origin.endswith(".py"):
        raise InvalidError(f"add_local_python_source({name!r}): it has no source ({spec.origin})")
    return Path(spec.origin)
