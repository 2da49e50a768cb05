"""Volume: a named folder that outlives runners, which see it at a path of their own.

Standard library only until something is asked of one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any, TypeVar

from rekindle.exception import InvalidError
from rekindle.sdk import checks
from rekindle.sdk.absent import SaysWhatToUse
from rekindle.sdk.argument_types import typed
from rekindle.sdk.dual import block_method, class_block, dual, dual_iterator, settled
from rekindle.sdk.environments import declared, environment_of, travelling
from rekindle.sdk.user_frames import trims
from rekindle.sdk.volume_info import VolumeInfo, VolumeReference

if TYPE_CHECKING:
    from datetime import datetime

    from rekindle.sdk.block import Block
    from rekindle.sdk.calls.callers import Caller
    from rekindle.sdk.volume_upload import VolumeUpload
    from rekindle.volumes.remote import Folder
    from rekindle.volumes.tree import FileEntry

T = TypeVar("T")


class VolumeObjects:
    """Volumes by name: ``Volume.objects``."""

    @dual
    async def create(
        self: VolumeObjects,
        caller: Caller,
        name: str,
        *,
        allow_existing: bool = False,
        environment_name: str | None = None,
        url: str = "",
    ) -> VolumeInfo:
        """Make an empty one; ``url`` (fsspec): the folder of a store that its files lie in, too.

        Raises AlreadyExistsError unless ``allow_existing``; InvalidError.
        """
        from rekindle.sdk import volume_place

        environment = environment_of(environment_name)
        return await caller.in_thread(
            lambda: volume_place.create(name, environment, url, allow_existing=allow_existing)
        )

    @dual
    async def list(
        self: VolumeObjects,
        caller: Caller,
        *,
        max_objects: int | None = None,
        created_before: datetime | str | None = None,
        environment_name: str | None = None,
    ) -> list[Volume]:
        """Those of an environment, the newest first: their names, and more by ``info()``."""
        from rekindle.sdk import volume_place
        from rekindle.sdk.newest import newest

        environment = environment_of(environment_name)
        found = await caller.in_thread(lambda: volume_place.listed(environment))
        chosen = newest(found, lambda one: one.created_at.timestamp(), max_objects, created_before)
        return [Volume(VolumeReference(one.name, one.environment)) for one in chosen]

    @dual
    async def delete(
        self: VolumeObjects,
        caller: Caller,
        name: str,
        *,
        allow_missing: bool = False,
        environment_name: str | None = None,
    ) -> None:
        """Remove one with all that is in it on this machine; what a store has stays there.

        Raises NotFoundError unless ``allow_missing``.
        """
        from rekindle.sdk import volume_place

        environment = environment_of(environment_name)
        await caller.in_thread(
            lambda: volume_place.delete(name, environment, allow_missing=allow_missing)
        )


async def _rename(
    caller: Caller, old_name: str, new_name: str, *, environment_name: str | None = None
) -> Callable[[], None]:
    """Give a volume another name. Raises NotFoundError, AlreadyExistsError."""
    from rekindle.sdk import volume_place

    checks.name("the volume name", new_name)
    reference = VolumeReference(old_name, environment_of(environment_name))
    await caller.in_thread(lambda: volume_place.rename(reference, new_name))
    return lambda: None


@trims
class Volume(SaysWhatToUse):
    """A folder that outlives runners: ``@app.function(volumes={"/data": volume})``.

    Runners of this machine, and programs here, share one folder: what one writes the others see at
    once, and ``commit`` has it on disk. Where the volume has a URL (an fsspec store), the machine's
    folder is a copy of the store's: runners see what was there when they started or when ``reload``
    was called, and others see what was written after ``commit``.
    """

    __slots__ = ("_read_only", "_reference", "_sub_path")

    objects = VolumeObjects()

    def __init__(
        self, reference: VolumeReference, *, read_only: bool = False, sub_path: str = ""
    ) -> None:
        self._reference = reference
        self._read_only = read_only
        self._sub_path = sub_path

    def __repr__(self) -> str:
        return f"<rekindle.Volume {self._reference.name or self._reference.id}>"

    def __reduce__(self) -> tuple[Any, ...]:
        named = replace(self._reference, make=False)  # it was made when the app was run
        if named.name:
            named = replace(named, environment=travelling(named.environment))
        return _unpickled, (named, self._read_only, self._sub_path)

    # ---- which one -----------------------------------------------------------------------------

    @classmethod
    @typed
    def from_name(
        cls,
        name: str,
        *,
        environment_name: str | None = None,
        create_if_missing: bool = False,
        version: int | None = None,
        url: str = "",
        client: None = None,
    ) -> Volume:
        """One by its name, looked up when it is used. Raises InvalidError.

        ``create_if_missing``: made by its first use where there is none; one that was there and was
        deleted or renamed since is a NotFoundError.

        ``url``: where it is made because it is missing, the folder of a store that its files lie
        in, too. ``version`` has no meaning here: there is no limit of files or writers.
        """
        checks.of_this_instance("Volume.from_name", client=client)
        checks.name("the volume name", name)
        checks.flag("Volume.from_name(create_if_missing)", create_if_missing)
        environment = declared(environment_name)
        return cls(VolumeReference(name, environment, make=create_if_missing, url=url))

    @classmethod
    def from_id(cls, object_id: str, client: None = None) -> Volume:
        """One by the id that ``info()`` and ``rekindle volume list`` show."""
        checks.of_this_instance("Volume.from_id", client=client)
        if not object_id.startswith("vo-"):
            raise InvalidError(f"{object_id!r} is not the id of a volume (vo-...)")
        return cls(VolumeReference("", "", object_id))

    @class_block
    @typed
    def ephemeral(
        cls: type[Volume],
        client: None = None,
        *,
        environment_name: str | None = None,
        version: int | None = None,
    ) -> Block[Any]:
        """A volume for a ``with`` or ``async with`` block; it is gone after it.

        It has no name, so ``environment_name`` has no meaning, nor has ``version``.
        """
        from rekindle.sdk.volume_place import EphemeralVolume

        checks.of_this_instance("Volume.ephemeral", client=client)
        environment_of(environment_name)
        return EphemeralVolume(lambda name, environment: cls(VolumeReference(name, environment)))

    @typed
    def with_mount_options(
        self, *, read_only: bool | None = None, sub_path: str | None = None
    ) -> Volume:
        """The same volume, as runners are to have it: not to be written to, or a part alone.

        Raises InvalidError for a part that leaves the volume.
        """
        if ".." in (sub_path or "").split("/"):
            raise InvalidError(f"sub_path={sub_path!r} must not have `..` in it")
        return Volume(
            self._reference,
            read_only=self._read_only if read_only is None else read_only,
            sub_path=self._sub_path if sub_path is None else sub_path.strip("/"),
        )

    def read_only(self) -> Volume:
        """The same volume, which runners cannot write to."""
        return self.with_mount_options(read_only=True)

    @property
    def name(self) -> str | None:
        """Its name; None for one that was taken by its id."""
        return self._reference.name or None

    @dual
    async def info(self: Volume, caller: Caller) -> VolumeInfo:
        """What is known of it. Raises NotFoundError."""
        from rekindle.sdk import volume_place

        return await caller.in_thread(lambda: self._used(volume_place.info))

    # ---- its state -----------------------------------------------------------------------------

    @dual
    async def commit(self: Volume, caller: Caller) -> None:
        """Have what was written stay: on disk when this returns, and where it has a store, there.

        Raises VolumeError.
        """
        await caller.in_thread(lambda: self._folder().commit())

    @dual
    async def reload(self: Volume, caller: Caller) -> None:
        """See what others have committed.

        Raises VolumeBusyError, also a RuntimeError, where a runner has files of it open.
        """
        from rekindle.sdk import volume_place

        await caller.in_thread(lambda: volume_place.reload(self._folder()))

    # ---- its files -----------------------------------------------------------------------------

    @dual
    async def listdir(
        self: Volume, caller: Caller, path: str = "/", *, recursive: bool = False
    ) -> list[FileEntry]:
        """What lies in a directory, by name. Raises VolumeFileNotFoundError, VolumePathError."""
        return await caller.in_thread(
            lambda: list(self._fresh().tree.listdir(path, recursive=recursive))
        )

    @dual_iterator
    async def iterdir(
        self: Volume, caller: Caller, path: str = "/", *, recursive: bool = True
    ) -> AsyncGenerator[FileEntry, None]:
        """The same, one by one, with all below it unless ``recursive=False``."""
        entries = await caller.in_thread(
            lambda: iter(self._fresh().tree.listdir(path, recursive=recursive))
        )
        while (entry := await caller.in_thread(lambda: next(entries, None))) is not None:
            yield entry

    @dual_iterator
    async def read_file(self: Volume, caller: Caller, path: str) -> AsyncGenerator[bytes, None]:
        """The content of a file, in pieces. Raises VolumeFileNotFoundError, VolumePathError."""
        pieces = await caller.in_thread(lambda: self._fresh().tree.read(path))
        while (piece := await caller.in_thread(lambda: next(pieces, None))) is not None:
            yield piece

    @dual
    async def read_file_into_fileobj(
        self: Volume, caller: Caller, path: str, fileobj: IO[bytes]
    ) -> int:
        """Write the content of a file to another; how many bytes."""
        return await caller.in_thread(lambda: _pour(self._fresh().tree.read(path), fileobj))

    @block_method
    @typed
    def batch_upload(self, force: bool = False) -> VolumeUpload:
        """Send files of this machine, in a ``with`` or ``async with`` block; they are there at its
        end, or none of them. Without ``force``, one that is there is a VolumeFileExistsError.
        """
        from rekindle.sdk.volume_upload import VolumeUpload

        self._may_write("batch_upload")
        return VolumeUpload(self._folder, force)

    @dual
    async def remove_file(self: Volume, caller: Caller, path: str, recursive: bool = False) -> None:
        """Remove a file, or a directory with ``recursive=True``."""
        self._may_write("remove_file")
        await caller.in_thread(lambda: _change(self._fresh(), "remove", path, recursive=recursive))

    @dual
    async def copy_files(
        self: Volume,
        caller: Caller,
        src_paths: Sequence[str],
        dst_path: str,
        recursive: bool = False,
    ) -> None:
        """Copy files within the volume: into ``dst_path``, or to it where it is no directory."""
        self._may_write("copy_files")
        paths = [src_paths] if isinstance(src_paths, str) else list(src_paths)
        await caller.in_thread(
            lambda: _change(self._fresh(), "copy", paths, dst_path, recursive=recursive)
        )

    #: ``Volume.rename(old_name, new_name)``: runners that have it keep it. Raises NotFoundError,
    #: AlreadyExistsError.
    rename = settled(_rename)

    def _used(self, ask: Callable[[VolumeReference], T]) -> T:
        """What is asked of it. Once it was there, that it is missing is an error."""
        found = ask(self._reference)
        if self._reference.make:
            self._reference = replace(self._reference, make=False)
        return found

    def _folder(self) -> Folder:
        from rekindle.sdk import volume_place

        return self._used(volume_place.folder)

    def _fresh(self) -> Folder:
        """Its folder, as the store has it just now; in a runner, as that sees it."""
        from rekindle.sdk import volume_place

        return self._used(volume_place.fresh)

    def _may_write(self, what: str) -> None:
        if self._read_only:
            raise InvalidError(f"Volume.{what}() on a volume that is read_only here")


def _unpickled(reference: VolumeReference, read_only: bool, sub_path: str) -> Volume:
    return Volume(reference, read_only=read_only, sub_path=sub_path)


def _pour(pieces: Iterator[bytes], fileobj: IO[bytes]) -> int:
    return sum(fileobj.write(piece) for piece in pieces)


def _change(folder: Folder, what: str, *args: Any, **options: Any) -> None:
    """Work in the folder of a program, and tell the store."""
    getattr(folder.tree, what)(*args, **options)
    folder.push()
