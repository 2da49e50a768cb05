"""Image: the environment that functions run in, declared as a chain of steps.

Each method gives a new image, with one step more. What steps read (files, requirements, the code of
functions) is looked at when the app is run, on the client alone. Standard library only.
"""

from __future__ import annotations

import os
import posixpath
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rekindle.exception import InvalidError
from rekindle.sdk import checks
from rekindle.sdk.argument_types import typed
from rekindle.sdk.ignore_patterns import Ignore, not_python
from rekindle.sdk.images import oci, step_commands
from rekindle.sdk.images.chain import (
    MAX_TIMEOUT_S,
    Planned,
    absolute,
    checked_volumes,
    refuse_place,
)
from rekindle.sdk.images.packages import InstallsPackages
from rekindle.sdk.images.step_commands import PackageOptions
from rekindle.sdk.user_frames import passing, trims
from rekindle.wire.images import DEBIAN_SUITES, MODULES, VARIABLE, Step, StepKind

if TYPE_CHECKING:
    from rekindle.sdk.secret import Secret
    from rekindle.sdk.volume import Volume
    from rekindle.sdk.volume_mounts import CloudBucketMount

#: What runs in a runner needs these.
_OLDEST_PYTHON = (3, 11)
_NEWEST_PYTHON = (3, 14)
#: Of the Debian that a Python by uv is put into.
_OTHERWISE_PYTHON = "3.13"


@trims
class Image(InstallsPackages):
    """An environment: a base and the steps on it.

    Without one a function runs with the files and packages of its node (``Image.host()``). Layers
    are built once, where the app is run or on the node, and named by what they are made of.
    """

    def __init__(self, planned: tuple[Planned, ...] = (), *, declared: str = "") -> None:
        if not planned and not declared:
            raise InvalidError(
                "Image() has no base: begin with Image.debian_slim(), Image.micromamba(), "
                "Image.from_registry(...), Image.from_dockerfile(...) or, for the files of the "
                "node, Image.host()"
            )
        super().__init__(planned, declared=declared)

    # ---- bases ---------------------------------------------------------------------------------

    @classmethod
    def host(cls) -> Self:
        """The node's own files, Python and packages, read-only: what functions have without an
        image. Only ``env``, ``workdir`` and local modules can be added."""
        return cls((Planned(StepKind.HOST, "host()", lambda: [Step(kind=StepKind.HOST)]),))

    @classmethod
    def debian_slim(cls, python_version: str | None = None, *, force_build: bool = False) -> Self:
        """A small Debian with Python and pip, made from the packages of the node's own mirror.

        ``python_version``: "3.13" (of Debian 13) or "3.11" (of Debian 12), or another one that uv
        has or can get; of this program's Python where it is None. Raises InvalidError.
        """
        checks.flag("force_build", force_build)
        version = _python_version(python_version)
        title = f"debian_slim({version!r})"
        base = Step(
            kind=StepKind.DEBIAN,
            title=title,
            arguments={"python": version if version in DEBIAN_SUITES else _OTHERWISE_PYTHON},
            force=force_build,
        )
        more = [] if version in DEBIAN_SUITES else [step_commands.python_by_uv(version)]
        return cls((Planned(StepKind.DEBIAN, title, lambda: [base, *more]),))

    @classmethod
    def micromamba(cls, python_version: str | None = None, *, force_build: bool = False) -> Self:
        """A small Debian with a Python of conda-forge; the node needs micromamba on its PATH.

        ``python_version``: as of ``debian_slim``. Raises InvalidError.
        """
        checks.flag("force_build", force_build)
        version = _python_version(python_version)
        title = f"micromamba({version!r})"
        arguments = {"python": _OTHERWISE_PYTHON}
        base = Step(kind=StepKind.DEBIAN, title=title, arguments=arguments, force=force_build)
        more = step_commands.micromamba(version)
        return cls((Planned(StepKind.DEBIAN, title, lambda: [base, *more]),))

    @classmethod
    @typed
    def from_registry(
        cls,
        tag: str,
        *,
        add_python: str | None = None,
        setup_dockerfile_commands: Sequence[str] = (),
        force_build: bool = False,
    ) -> Self:
        """An image of a registry (``"python:3.13-slim"``), or one on the client's machine.

        ``oci:FOLDER[:TAG]`` is an OCI layout, ``docker-archive:FILE`` what ``docker save`` wrote.
        ``add_python``: a Python by uv, for an image that has none. The node needs skopeo and umoci
        (``rekindle setup images``). Raises InvalidError.
        """
        if not isinstance(tag, str) or not tag.strip():
            raise InvalidError(f"Image.from_registry({tag!r}): name an image, as in 'debian:13'")
        oci.check(tag)
        python = _python_version(add_python) if add_python is not None else ""
        title = f"from_registry({tag!r}{f', add_python={python!r}' if python else ''})"

        def make() -> Sequence[Step]:
            return oci.steps(tag, title, python, force=force_build)

        made = cls((Planned(StepKind.OCI, title, make),))
        if setup_dockerfile_commands:
            return made.dockerfile_commands(*setup_dockerfile_commands)
        return made

    @classmethod
    @typed
    def from_dockerfile(
        cls,
        path: str | Path,
        *,
        context_dir: str | Path | None = None,
        build_args: Mapping[str, str] | None = None,
        add_python: str | None = None,
        ignore: Ignore | None = None,
        force_build: bool = False,
    ) -> Self:
        """The steps of a Dockerfile: FROM one image, then RUN, COPY, ADD of local files, ENV, ARG,
        WORKDIR, ENTRYPOINT, CMD and SHELL; metadata is passed over.

        ``context_dir``: where its local files lie (default: the Dockerfile's folder). ``ignore``:
        patterns of what of it is left out, or a function of a path in it (default: what a
        .dockerignore file says). Running the app raises InvalidError with the line that cannot be.
        """
        from rekindle.sdk.images import dockerfile

        file = Path(path)
        context = Path(context_dir) if context_dir is not None else file.parent
        python = _python_version(add_python) if add_python is not None else ""
        title = f"from_dockerfile({str(file)!r})"

        def make() -> Sequence[Step]:
            lines = dockerfile.read(file, dict(build_args or {}))
            base = dockerfile.base_of(lines, str(file))
            first = oci.steps(base, f"FROM {base}", python, force=force_build)
            return [*first, *dockerfile.steps(lines[1:], context, ignore, file)]

        return cls((Planned(StepKind.OCI, title, make),))

    # ---- commands ------------------------------------------------------------------------------

    def run_commands(
        self,
        *commands: str | list[str],
        env: Mapping[str, str | None] | None = None,
        secrets: Sequence[Secret] | None = None,
        volumes: Mapping[str, Volume | CloudBucketMount] | None = None,
        timeout: float = 3600,
        force_build: bool = False,
    ) -> Self:
        """Run commands of the shell in the image, as root, with the network; the first that fails
        ends the build. ``timeout``: seconds for all of them. Raises InvalidError."""
        lines = step_commands.packages("run_commands", commands, sort=False)
        given = PackageOptions(env=env, secrets=secrets, force_build=force_build)
        return self._run("run_commands", lines, lines, given, volumes=volumes, timeout=timeout)

    def run_function(
        self,
        raw_f: Callable[..., Any],
        *,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        env: Mapping[str, str | None] | None = None,
        secrets: Sequence[Secret] | None = None,
        volumes: Mapping[str, Volume | CloudBucketMount] | None = None,
        timeout: float = 3600,
        force_build: bool = False,
    ) -> Self:
        """Call a function in the image, with the image's Python, and keep the files that it makes.

        It travels by value; local modules that it imports must be in the image
        (``add_local_python_source(..., copy=True)``). Its source, that of what it mentions of local
        modules, the values of globals and its arguments are in the layer's name. Raises
        InvalidError.
        """
        from rekindle.sdk.images import step_functions

        step_functions.check(raw_f)
        step_functions.check_arguments(raw_f, args, kwargs)
        name = getattr(raw_f, "__qualname__", "")
        title = f"run_function({name})"
        given = PackageOptions(env=env, secrets=secrets, force_build=force_build)

        options = step_commands.checked("Image.run_function", given)
        checks.number("timeout", timeout, 1, MAX_TIMEOUT_S, "of seconds")
        mounted = checked_volumes(volumes)

        def make() -> Sequence[Step]:
            plain = self._step(title, [], options, volumes=mounted, timeout=timeout)
            return [step_functions.step(raw_f, tuple(args), dict(kwargs or {}), plain)]

        return self._with(Planned(StepKind.CALL, title, make, tuple(secrets or ())))

    def dockerfile_commands(
        self,
        *lines: str | list[str],
        context_dir: str | Path = ".",
        ignore: Ignore | None = None,
    ) -> Self:
        """Lines of a Dockerfile on this image: as in ``from_dockerfile``, without FROM.

        ``context_dir`` and ``ignore``: as there. Raises InvalidError.
        """
        from rekindle.sdk.images import dockerfile

        text = "\n".join(step_commands.packages("dockerfile_commands", lines, sort=False))
        parsed = dockerfile.parse(text, "dockerfile_commands", {})
        dockerfile.refuse_base(parsed)

        def make() -> Sequence[Step]:
            return dockerfile.steps(parsed, Path(context_dir), ignore)

        title = step_commands.title("dockerfile_commands", [line.text for line in parsed])
        return self._with(Planned(StepKind.RUN, title, make))

    # ---- settings ------------------------------------------------------------------------------

    def env(self, vars: Mapping[str, str | None]) -> Self:
        """Variables of all steps from here on, and of runners."""
        found = checks.environment("Image.env", vars)
        return self._settings(f"env({found!r})", env=found)

    def workdir(self, path: str | Path) -> Self:
        """The working directory of commands from here on, and of runners; made where missing."""
        place, title = absolute(path), f"workdir({str(path)!r})"
        refuse_place(title, place, copied=False)
        return self._settings(title, arguments={"workdir": place})

    def entrypoint(self, entrypoint_commands: Sequence[str]) -> Self:
        """What the image's programs are started by: a command and arguments, which must exec what
        follows them."""
        words = step_commands.words("entrypoint", entrypoint_commands)
        return self._settings(f"entrypoint({words!r})", arguments={"entrypoint": words})

    def shell(self, shell_commands: Sequence[str]) -> Self:
        """The shell of commands from here on; ``["/bin/sh", "-c"]`` at first."""
        words = step_commands.words("shell", shell_commands, may_be_none=False)
        return self._settings(f"shell({words!r})", arguments={"shell": words})

    def cmd(self, cmd: Sequence[str]) -> Self:
        """Recorded for other tools; a runner starts its function."""
        words = step_commands.words("cmd", cmd)
        return self._settings(f"cmd({words!r})", arguments={"cmd": words})

    # ---- local files ---------------------------------------------------------------------------

    def add_local_file(
        self, local_path: str | Path, remote_path: str | Path, *, copy: bool = False
    ) -> Self:
        """A file of this machine, shown read-only when a runner starts.

        ``copy=True`` puts it into a layer, which steps after it need. A ``remote_path`` that ends
        with a slash is a folder for it. Raises InvalidError.
        """
        source = Path(local_path)
        target = str(remote_path)
        target = absolute(f"{target}{source.name}" if target.endswith("/") else target)
        title = f"add_local_file({str(source)!r}, {target!r}{', copy=True' if copy else ''})"
        return self._add(title, [(source, target)], (), copy=copy, is_folder=False)

    def add_local_dir(
        self,
        local_path: str | Path,
        remote_path: str | Path,
        *,
        copy: bool = False,
        ignore: Ignore = (),
    ) -> Self:
        """A folder, as ``add_local_file``. ``ignore``: patterns as in a .dockerignore file, or a
        function that is given each path, relative to the folder, and says whether to leave it out.
        """
        source, target = Path(local_path), absolute(remote_path)
        title = f"add_local_dir({str(source)!r}, {target!r}{', copy=True' if copy else ''})"
        return self._add(title, [(source, target)], ignore, copy=copy, is_folder=True)

    def add_local_python_source(
        self, *modules: str, copy: bool = False, ignore: Ignore = not_python
    ) -> Self:
        """Modules and packages that this program can import, at /root, which is on the import path.

        ``copy`` as of ``add_local_file``; ``ignore``: by default what is no source of Python.
        """
        for one in modules:
            if not isinstance(one, str) or not one.isidentifier():
                raise InvalidError(
                    f"add_local_python_source({one!r}): name modules at the top, as in 'package'"
                )
        title = f"add_local_python_source({', '.join(map(repr, modules))})"
        if self.is_host:
            return self  # local modules travel with the program, and are importable there

        def places() -> list[tuple[Path, str]]:
            found = (step_commands.module_place(one) for one in modules)
            return [(place, posixpath.join(MODULES, place.name)) for place in found]

        return self._add(title, places, ignore, copy=copy)

    # ---- use -----------------------------------------------------------------------------------

    @contextmanager
    def imports(self) -> Iterator[None]:
        """``with image.imports():`` around imports of packages that only this image has.

        Where another image runs, and in the program that declares it, an ImportError is passed
        over; in a runner of this image it is raised.
        """
        from rekindle.execution.context import is_local

        try:
            yield
        except ImportError:
            running = os.environ.get(VARIABLE, "")
            here = running == self._declared or (not running and self.is_host)
            if not is_local() and here:
                raise

    @passing
    def pipe(self, func: Callable[..., Image], *args: Any, **kwargs: Any) -> Image:
        """``func(self, ...)``: for steps that a function of yours adds."""
        return func(self, *args, **kwargs)


def _python_version(given: str | None) -> str:
    """As "3.13". Raises InvalidError for one that cannot run functions."""
    text = given if given is not None else "{}.{}".format(*sys.version_info)
    parts = text.split(".") if isinstance(text, str) else []
    if len(parts) != 2 or not all(one.isdigit() for one in parts):
        raise InvalidError(f"python_version={given!r}: write a minor version, as in '3.13'")
    found = (int(parts[0]), int(parts[1]))
    if not _OLDEST_PYTHON <= found <= _NEWEST_PYTHON:
        oldest, newest = ("{}.{}".format(*one) for one in (_OLDEST_PYTHON, _NEWEST_PYTHON))
        raise InvalidError(f"python_version={given!r}: functions run on {oldest} to {newest}")
    return text
