"""Images on this node: where the roots of them come from.

What is shown in each root besides the image: the code that runs beside user code, the program's
source, the sockets of the instance, what the image mounts at start, the function's volumes.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rekindle import paths
from rekindle.exception import Error, StartError
from rekindle.runtime.agent.apart import apart
from rekindle.runtime.agent.starts import volumes
from rekindle.runtime.agent.starts.in_image import (
    DEFAULT_DIRECTORY,
    DRIVER,
    INSTANCE,
    LIBRARY,
    SMI,
    SOURCE,
    volume_place,
)
from rekindle.runtime.agent.starts.packed_files import PackedFiles
from rekindle.runtime.agent.starts.roots import RootSource, remove_tree, written_in_use
from rekindle.runtime.images import driver, runner_code, writes
from rekindle.runtime.images.built import BuiltImage
from rekindle.runtime.images.root import RootRequest, Shown
from rekindle.runtime.images.root_client import RootClient
from rekindle.runtime.isolation.spawner_client import Spawner
from rekindle.volumes.registry import Registry
from rekindle.wire.logs import kv
from rekindle.wire.spec import FunctionSpec

log = logging.getLogger(__name__)


@dataclass(eq=False)
class NodeImages:
    """Made once by the agent."""

    spawner: Spawner
    instance_dir: Path
    #: The agent's own directory, removed with all that is in it when the agent is gone.
    scratch: Path
    packed: PackedFiles = field(default_factory=PackedFiles)
    _client: RootClient | None = None
    _starting: asyncio.Lock = field(default_factory=asyncio.Lock)
    _library: Path | None = None
    _driver_there: Path | None = None
    _unpacking: asyncio.Lock = field(default_factory=asyncio.Lock)
    _compiling: asyncio.Lock = field(default_factory=asyncio.Lock)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    async def roots_of(
        self, spec: FunctionSpec, source_dir: Path | None, image: BuiltImage
    ) -> RootSource:
        """Where roots of an image for a function come from. Raises StartError."""

        async def shown() -> list[Shown]:
            try:
                return await self._shown(spec, source_dir, image)
            except StartError:
                raise
            except (Error, OSError) as error:
                what = f"{spec.app_name}.{spec.name}"
                raise StartError(f"what {what} sees in its image is not there: {error}") from error

        directories = (image.workdir or DEFAULT_DIRECTORY,)
        source = RootSource(self._make_root, self._new_place, image.lowers, shown, directories)
        await self._compile(source, image)
        return source

    def _new_place(self) -> Path:
        return self.scratch / "roots" / f"{next(self._numbers)}"

    async def unpacked(self, key: str, archive: Path) -> list[Path]:
        """What a template wrote before it was frozen, as a layer; none where it wrote nothing.
        It stays while it is below a root, or may be; another one's does not. Raises StartError."""
        there = self.scratch / "writes" / key
        async with self._unpacking:
            try:
                if not there.is_dir():
                    if not archive.exists():
                        return []
                    await self._remove_unused(there.parent)
                    draft = there.with_name(f".{key}")
                    await asyncio.to_thread(writes.unpack, archive, draft)
                    os.rename(draft, there)
            except OSError as error:
                raise StartError(f"what is in {archive} cannot be unpacked: {error}") from error
        return [there]

    async def _remove_unused(self, folder: Path) -> None:
        if not folder.is_dir():
            return
        for place in set(folder.iterdir()) - written_in_use():
            await asyncio.to_thread(remove_tree, place)

    async def _make_root(self, request: RootRequest) -> int:
        async with self._starting:
            if self._client is None or self._client.is_gone:
                made = self.scratch / "root-maker"
                made.mkdir(mode=0o700, exist_ok=True)
                self._client = RootClient(await self.spawner.start_root_maker(made))
        packed = self.packed.files_of(request.lowers)
        if packed:
            request = dataclasses.replace(request, packed=tuple(packed))
            self.packed.used(request.place, [place for _file, place in packed])
        try:
            return await self._client.make(request)
        except StartError as error:
            if why := self.packed.why_lost(request.lowers):
                log.warning("no root", extra=kv(reason=error))
                raise StartError(why) from error
            raise

    async def let_go(self, places: Sequence[str]) -> None:
        """Layers that are one file each need not be mounted any more. Raises StartError."""
        if self._client is not None and not self._client.is_gone:
            await self._client.let_go(places)

    # ---- what is shown -----------------------------------------------------------------------

    async def _shown(
        self, spec: FunctionSpec, source_dir: Path | None, image: BuiltImage
    ) -> list[Shown]:
        library = await self._provide_library()
        shown = [Shown(str(library), LIBRARY), Shown(str(self.show_instance()), INSTANCE)]
        if spec.gpu:
            shown += await self._driver()
        if source_dir is not None:
            shown.append(Shown(os.path.realpath(source_dir), SOURCE))
        shown += [Shown(os.path.realpath(at), target, laid=True) for at, target in image.mounts]
        binds = await volumes.binds_of(spec)
        if spec.volumes:
            shown += await apart(lambda: _of_volumes(spec, binds))
        return shown

    async def _driver(self) -> list[Shown]:
        """The node's NVIDIA driver, which no image can have. Raises StartError."""
        if self._driver_there is None:
            where = paths.driver_dir()
            try:
                self._driver_there = await asyncio.to_thread(driver.provide, where)
            except OSError as error:
                raise StartError(f"no driver for images below {where}: {error}") from error
            if self._driver_there is None:
                log.warning(
                    "no NVIDIA driver found",
                    extra=kv(reason=f"neither ldconfig nor {driver.VARIABLE} names libcuda.so.1"),
                )
                return []
        found = self._driver_there.resolve()
        shown = [Shown(str(found), DRIVER)]
        smi = found / driver.PROGRAMS / os.path.basename(SMI)
        return [*shown, Shown(str(smi), SMI)] if smi.exists() else shown

    async def _provide_library(self) -> Path:
        if self._library is None:
            where = paths.runner_code_dir()
            try:
                self._library = (await asyncio.to_thread(runner_code.provide, where)).resolve()
            except OSError as error:
                raise StartError(f"no code for runners in images below {where}: {error}") from error
        return self._library

    def shown_always(self) -> list[Path]:
        """What all roots are shown of this node's, whichever function they are for."""
        return [one for one in (self._library, self._driver_there) if one is not None]

    def show_instance(self) -> Path:
        """A directory with what a runner reaches the instance by, as it is now, and nothing else.

        Sockets have other inodes once their process was started again, so it is looked at again
        with each root that is made, and seen by those that were made before.
        """
        here = self.scratch / "instance"
        here.mkdir(mode=0o700, exist_ok=True)
        for find in (
            *(paths.agent_socket, paths.direct_socket, paths.objects_socket),
            paths.token_file,
        ):
            there, link = find(self.instance_dir), find(here)
            with contextlib.suppress(FileNotFoundError):
                if link.exists() and os.path.samestat(os.stat(there), os.stat(link)):
                    continue
                draft = link.with_name(f".{link.name}")
                draft.unlink(missing_ok=True)
                os.link(there, draft)
                os.replace(draft, link)
        return here.resolve()

    # ---- the runner's own code ---------------------------------------------------------------

    async def _compile(self, source: RootSource, image: BuiltImage) -> None:
        """Have it compiled for the image's Python: else each start would compile it again."""
        library = await self._provide_library()
        async with self._compiling:
            if runner_code.is_compiled(library, image.python_version):
                return

            async def shown() -> Sequence[Shown]:
                return [Shown(str(library), LIBRARY, read_only=False)]

            alone = RootSource(self._make_root, self._new_place, source.lowers, shown)
            root = await alone.take()
            try:
                sandbox = await self.spawner.spawn("rekindle", root.fd)
            except BaseException:
                root.remove()
                alone.close()
                raise
            root.entered()
            sandbox.gone.add_done_callback(lambda _gone: root.remove())
            alone.close()
            ended = await sandbox.run(
                [image.python, "-P", "-m", "compileall", "-q", LIBRARY],
                env=dict(image.env),
            )
            sandbox.kill()
            if ended.status != 0:
                raise StartError(
                    f"{image.python} of the image does not work: {ended.in_words()}; a function "
                    "needs a Python of 3.11 or newer there"
                )
            try:
                runner_code.was_compiled(library, image.python_version)
            except OSError as error:
                log.warning("not noted as compiled", extra=kv(reason=error))

    def close(self) -> None:
        """No more roots are made."""
        if self._client is not None:
            self._client.close()


def _of_volumes(spec: FunctionSpec, binds: list[volumes.Bind]) -> list[Shown]:
    """Raises StartError, and as Registry.find does."""
    shown = []
    for mount in spec.volumes:
        if not mount.url:  # by name: the same files, and what names them
            place = Registry.default().find(mount.name, mount.environment).place
            there = volume_place(mount)
            shown.append(Shown(os.path.realpath(place), there, mount.read_only, may_hang=True))
    return [*shown, *map(_of_volume, binds)]


def _of_volume(bind: volumes.Bind) -> Shown:
    """Raises StartError for one whose folder leads out of its volume."""
    root, source = os.path.realpath(bind["root"]), os.path.realpath(bind["source"])
    if source != root and not source.startswith(f"{root}/"):
        raise StartError(f"what is to be at {bind['target']} leaves its volume by a link")
    return Shown(source, bind["target"], bind["read_only"], may_hang=True)
