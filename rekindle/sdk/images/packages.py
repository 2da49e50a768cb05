"""Image: the steps that install packages. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self, cast

from rekindle.sdk.images import step_commands
from rekindle.sdk.images.chain import Chain, Planned
from rekindle.sdk.user_frames import trims
from rekindle.wire.images import Step, StepKind

if TYPE_CHECKING:
    from typing import Unpack

    from rekindle.sdk.images.step_commands import PackageOptions, StepOptions


@trims
class InstallsPackages(Chain):
    """Mixed into Image."""

    def apt_install(self, *packages: str | list[str], **given: Unpack[StepOptions]) -> Self:
        """Install packages of Debian (or what the base's apt knows), without what they recommend.

        ``env``, ``secrets``: variables of this step alone. ``force_build``: build it even where it
        is there. Raises InvalidError.
        """
        names = step_commands.packages("apt_install", packages)
        options = cast("PackageOptions", given)  # some of those
        return self._run(
            *("apt_install", names, step_commands.apt(names), options), of_packages=False
        )

    def pip_install(self, *packages: str | list[str], **given: Unpack[PackageOptions]) -> Self:
        """Install packages by pip, with the index and constraints that the node's pip is set to.

        ``index_url``, ``extra_index_url``, ``find_links``, ``pre``, ``extra_options``: as pip's
        options of these names. ``env``, ``secrets``, ``force_build`` as of ``apt_install``. The
        order of the packages does not count. Raises InvalidError.
        """
        names = step_commands.packages("pip_install", packages)
        return self._run("pip_install", names, step_commands.pip(names, given), given)

    def pip_install_from_requirements(
        self, requirements_txt: str | Path, **given: Unpack[PackageOptions]
    ) -> Self:
        """Install what a requirements file names; what the file says is in the layer's name."""
        file = Path(requirements_txt)
        commands = step_commands.pip([], given, requirements=[file.name])
        return self._run(
            "pip_install_from_requirements", [str(file)], commands, given, inputs=[file]
        )

    def pip_install_from_pyproject(
        self,
        pyproject_toml: str | Path,
        optional_dependencies: Sequence[str] = (),
        **given: Unpack[PackageOptions],
    ) -> Self:
        """Install the dependencies that a pyproject.toml names, and those of its named extras."""
        file, extras = Path(pyproject_toml), list(optional_dependencies)
        title = step_commands.title("pip_install_from_pyproject", [str(file), *extras])

        options = step_commands.checked("Image.pip_install_from_pyproject", given)

        def make() -> Sequence[Step]:
            names = step_commands.of_pyproject(file, extras)
            return [self._step(title, step_commands.pip(names, options), options)]

        secrets = tuple(options.get("secrets") or ())
        return self._with(Planned(StepKind.RUN, title, make, secrets))

    def uv_pip_install(
        self,
        *packages: str | list[str],
        requirements: Sequence[str | Path] = (),
        uv_version: str | None = None,
        **given: Unpack[PackageOptions],
    ) -> Self:
        """As ``pip_install``, by uv, which is in no layer. ``requirements``: files to read, too.
        ``uv_version``: which uv; without, the node's."""
        files = [Path(one) for one in requirements]
        names = step_commands.packages("uv_pip_install", packages, may_be_none=bool(files))
        commands = step_commands.uv(names, given, requirements=[one.name for one in files])
        title = [*names, *map(str, files)]
        tools = (step_commands.uv_tool("uv_pip_install", uv_version),)
        return self._run("uv_pip_install", title, commands, given, inputs=files, tools=tools)

    def micromamba_install(
        self,
        *packages: str | list[str],
        channels: Sequence[str] = ("conda-forge",),
        spec_file: str | Path | None = None,
        **given: Unpack[PackageOptions],
    ) -> Self:
        """Install packages of conda's channels, on ``Image.micromamba()``. ``spec_file``: a file
        that names some. The program is the node's own, and in no layer."""
        files = [Path(spec_file)] if spec_file is not None else []
        names = step_commands.packages("micromamba_install", packages, may_be_none=bool(files))
        file = files[0].name if files else ""
        commands = step_commands.micromamba_install(names, channels, file)
        title = [*names, *channels, *map(str, files)]
        return self._run(
            *("micromamba_install", title, commands, given), inputs=files, tools=("micromamba",)
        )

    def uv_sync(
        self,
        uv_project_dir: str | Path = "./",
        *,
        groups: Sequence[str] = (),
        extras: Sequence[str] = (),
        frozen: bool = True,
        uv_version: str | None = None,
        **given: Unpack[PackageOptions],
    ) -> Self:
        """Install what the uv.lock of a project holds, without the project itself.

        ``frozen=False`` without a uv.lock: what its pyproject.toml resolves to now. ``uv_version``:
        which uv; without, the node's.
        """
        folder = Path(uv_project_dir)
        commands = step_commands.uv_sync(given, list(groups), list(extras), frozen=frozen)
        files = [folder / "pyproject.toml", *([folder / "uv.lock"] if frozen else [])]
        title = [str(folder), *(f"group {one}" for one in groups), *extras]
        tools = (step_commands.uv_tool("uv_sync", uv_version),)
        return self._run("uv_sync", title, commands, given, inputs=files, tools=tools)
