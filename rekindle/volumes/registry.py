"""Which volumes there are: a folder each, ``ENVIRONMENT/NAME``, below one directory.

In it lie ``volume.json`` (its id, when it was made, its store) and ``files``, which is what users
see. A volume is made and removed by one rename, so none is ever seen half.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rekindle import filesystems, paths
from rekindle.exception import (
    AlreadyExistsError,
    Error,
    InvalidError,
    NotFoundError,
    VolumeError,
)
from rekindle.linux import files
from rekindle.shown_url import reason, without_password

#: Another directory than the one in rekindle's home.
VARIABLE = "REKINDLE_VOLUMES"
#: An fsspec URL below which new volumes keep their files; "": on this machine alone.
URL_VARIABLE = "REKINDLE_VOLUMES_URL"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
#: The environment of volumes without a name. No other can be called so.
EPHEMERAL = ".ephemeral"
#: Tells of a volume; beside its files.
_ABOUT = "volume.json"
#: Folders that are being made or removed.
FOLDER_DRAFT = ".draft-"
#: Held by who makes or renames one.
_LOCK = ".lock"
#: What a rename says where a folder that is not empty is there.
TAKEN = (errno.ENOTEMPTY, errno.EEXIST)


def url_of_all() -> str:
    """``$REKINDLE_VOLUMES_URL``."""
    return os.environ.get(URL_VARIABLE, "").strip()


def place() -> Path:
    """``$REKINDLE_VOLUMES``, else ``volumes`` in rekindle's own directory. Nothing looks there."""
    return paths.named_unseen(VARIABLE) or paths.home() / "volumes"


def folder_draft(root: Path) -> Path:
    """A place for what is being made or removed."""
    return root / f"{FOLDER_DRAFT}{secrets.token_hex(8)}"


def _new_id() -> str:
    return f"vo-{secrets.token_hex(11)}"


def id_at(directory: int) -> str:
    """The id of the volume whose place is open as ``directory``; "" where it was deleted.

    Raises VolumeError.
    """
    try:
        with open(_ABOUT, opener=lambda name, how: os.open(name, how, dir_fd=directory)) as file:
            return str(json.load(file)["id"])
    except FileNotFoundError:
        return ""
    except (ValueError, LookupError, TypeError) as error:
        raise VolumeError(f"{_ABOUT} of a volume is damaged: {error!r}") from error


def made_at(place: Path) -> tuple[int, int]:
    """What another volume at the same place has not; cheaper than its id.

    Raises FileNotFoundError.
    """
    info = os.stat(place / _ABOUT)
    return info.st_ino, info.st_mtime_ns


@dataclass(frozen=True)
class VolumeRecord:
    """One volume."""

    id: str
    name: str
    environment: str
    created_ns: int
    url: str
    place: Path

    @property
    def files(self) -> Path:
        """The folder that users see."""
        return self.place / "files"


@dataclass(frozen=True)
class Registry:
    """The volumes below ``root``."""

    root: Path

    @classmethod
    def default(cls) -> Registry:
        """Those of this machine. Raises InvalidError for a place that can never be."""
        paths.named_for_runners(VARIABLE)
        return cls(place())

    def find(self, name: str, environment: str) -> VolumeRecord:
        """Raises NotFoundError with the nearest name, InvalidError for what cannot be one."""
        found = self._read(self._place(name, environment))
        if found is None:
            known = ", ".join(one.name for one in self.all(environment)[:8])
            raise NotFoundError(
                f"no volume {name!r} in {self.root / environment}; "
                f"{f'there are {known}' if known else 'there is none'}. "
                f"Volume.from_name({name!r}, create_if_missing=True) or `rekindle volume create "
                f"{name}` makes one"
            )
        return found

    def by_id(self, wanted: str) -> VolumeRecord:
        """Raises NotFoundError; VolumeError where it may be one whose record is damaged."""
        found, damaged = self._known(None, ephemeral=True)
        for one in found:
            if one.id == wanted:
                return one
        for error in damaged:
            raise error
        raise NotFoundError(f"no volume {wanted!r} in {self.root}; `rekindle volume list`")

    def all(self, environment: str | None, *, ephemeral: bool = False) -> list[VolumeRecord]:
        """Those of an environment, of all for None, by name; not those that are ``damaged``.

        ``ephemeral``: for None, those without a name, too. Raises VolumeError.
        """
        return self._known(environment, ephemeral=ephemeral)[0]

    def damaged(self, environment: str | None) -> list[VolumeError]:
        """What is wrong with those of which it cannot be read what they are. Raises VolumeError."""
        return self._known(environment)[1]

    def _known(
        self, environment: str | None, *, ephemeral: bool = False
    ) -> tuple[list[VolumeRecord], list[VolumeError]]:
        if environment is None:  # others' folders may lie there: lost+found, on a disk of its own
            environments = filter(_NAME.fullmatch, _names_in(self.root))
            folders = [*sorted(environments), *((EPHEMERAL,) if ephemeral else ())]
        else:
            folders = [environment] if environment != EPHEMERAL or ephemeral else []
        places = [place for name in folders for place in _places_in(self.root / name)]
        found: list[VolumeRecord] = []
        damaged: list[VolumeError] = []
        for place in places:
            try:
                if (one := self._read(place)) is not None:
                    found.append(one)
            except _DamagedError as error:
                damaged.append(error)
        return found, damaged

    def create(
        self, name: str, environment: str, url: str = "", *, allow_existing: bool = False
    ) -> VolumeRecord:
        """A new, empty volume. Raises AlreadyExistsError, InvalidError, SetupError, VolumeError."""
        place = self._place(name, environment)
        what = f"the store of the volume {name!r}:"
        if wanted := url or url_of_all():
            filesystems.check_shared(wanted, what)
        if url:
            try:
                filesystems.open_url(url, what)
            except Error:
                raise
            except Exception as error:  # clients of stores raise types of their own
                raise VolumeError(
                    f"{what} {without_password(url)} cannot be opened: {reason(error)}"
                ) from error
        volume_id = _new_id()
        with (
            self._names_kept(),
            self._draft(volume_id, url or self._url_of(name, environment, volume_id)) as draft,
        ):
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                os.rename(draft, place)
            except OSError as error:
                found = self._read(place)
                if found is None or error.errno not in TAKEN:
                    raise VolumeError(f"{place} cannot be made: {error.strerror}") from error
                if not allow_existing:
                    raise AlreadyExistsError(
                        f"there is a volume {name!r} in the environment {environment!r} already"
                    ) from None
                return found
        return self.find(name, environment)

    def delete(self, record: VolumeRecord) -> None:
        """Remove a volume with all that is in it. Raises NotFoundError."""
        gone = folder_draft(self.root)
        try:
            os.rename(record.place, gone)
        except FileNotFoundError:
            raise NotFoundError(f"the volume {record.name!r} is gone already") from None
        # Before its files: who sends them to its store sees that they were not removed by a user.
        (gone / _ABOUT).unlink(missing_ok=True)
        try:
            shutil.rmtree(gone)
        except OSError as error:
            if error.errno not in TAKEN:
                raise
            shutil.rmtree(gone)  # who sends them had just written what it has seen

    def rename(self, record: VolumeRecord, name: str) -> VolumeRecord:
        """Give a volume another name; who has it keeps it. Raises AlreadyExistsError."""
        place = self._place(name, record.environment)
        try:
            with self._names_kept():
                os.rename(record.place, place)
        except FileNotFoundError:
            raise NotFoundError(f"the volume {record.name!r} is gone") from None
        except OSError as error:
            if error.errno not in TAKEN:
                raise VolumeError(f"{place} cannot be made: {error.strerror}") from error
            raise AlreadyExistsError(f"there is a volume {name!r} already") from None
        return self.find(name, record.environment)

    def environments(self) -> dict[str, int]:
        """How many volumes there are, by environment."""
        found: dict[str, int] = {}
        for one in self.all(None):
            found[one.environment] = found.get(one.environment, 0) + 1
        return found

    def rename_environment(self, name: str, new_name: str) -> None:
        """Have all volumes of an environment lie in another one; who has one keeps it.

        Raises AlreadyExistsError for a volume that is there already, with those before it moved;
        VolumeError for one that is damaged, with none moved.
        """
        for error in self.damaged(name):
            raise error
        for record in self.all(name):
            place = self._place(record.name, new_name)
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                with self._names_kept():
                    os.rename(record.place, place)
            except OSError as error:
                if error.errno not in TAKEN:
                    raise VolumeError(f"{place} cannot be made: {error.strerror}") from error
                raise AlreadyExistsError(
                    f"there is a volume {record.name!r} in {new_name!r} already"
                ) from None

    @contextlib.contextmanager
    def ephemeral(self) -> Iterator[VolumeRecord]:
        """A volume for as long as the block lasts. Its lock tells that a program has it."""
        name = secrets.token_hex(8)
        place = self.root / EPHEMERAL / name
        with self._draft(_new_id(), "") as draft, open(draft / _ABOUT, "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.rename(draft, place)
            record = self._read(place)
            assert record is not None
            try:
                yield record
            finally:
                with contextlib.suppress(NotFoundError):
                    self.delete(record)

    def left_over(self) -> list[Path]:
        """Ephemeral volumes of programs that ended without removing them."""
        found = []
        for place in _places_in(self.root / EPHEMERAL):
            try:
                with open(place / _ABOUT, "rb") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, FileNotFoundError):
                continue  # in use, or just removed
            found.append(place)  # nobody takes it again
        return found

    def sweep(self, left_over: Iterable[Path]) -> None:
        """Remove those; many files take long."""
        for place in left_over:
            shutil.rmtree(place, ignore_errors=True)

    # ---- folders -------------------------------------------------------------------------------

    def _place(self, name: str, environment: str) -> Path:
        for what, given in (("volume", name), ("environment", environment)):
            if not _NAME.fullmatch(given) and (what, given) != ("environment", EPHEMERAL):
                raise InvalidError(
                    f"the name of a {what} must be 1 to 64 characters out of letters, digits and "
                    f". _ -, and begin with a letter or digit, not {given!r}"
                )
        return self.root / environment / name

    def _url_of(self, name: str, environment: str, volume_id: str) -> str:
        """The folder of a new volume below the URL of all; "" without one.

        A volume that is renamed keeps its folder, so the one of a name may be another volume's.
        """
        base = url_of_all().rstrip("/")
        if not base:
            return ""
        url = f"{base}/{environment}/{name}"
        found, damaged = self._known(None)  # one that is damaged may have it
        is_taken = bool(damaged) or any(one.url.rstrip("/") == url for one in found)
        return f"{url}-{volume_id}" if is_taken else url

    @contextlib.contextmanager
    def _names_kept(self) -> Iterator[None]:
        """Nobody else makes or renames a volume: who looks at all of them misses none."""
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = open(self.root / _LOCK, "ab")  # noqa: SIM115 - closed below
        except OSError as error:
            raise VolumeError(f"nothing can be made in {self.root}: {error.strerror}") from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def _draft(self, volume_id: str, url: str) -> Iterator[Path]:
        draft = folder_draft(self.root)
        try:
            draft.mkdir(parents=True, mode=0o700)
            (draft / "files").mkdir(mode=0o700)
            about = {"id": volume_id, "created_ns": time.time_ns(), "url": url}
            (draft / _ABOUT).write_text(json.dumps(about))
            files.sync(draft / _ABOUT)  # before its name, by which it is a volume
        except OSError as error:
            raise VolumeError(f"no volume can be made in {self.root}: {error.strerror}") from error
        try:
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _read(self, place: Path) -> VolumeRecord | None:
        try:
            about = json.loads((place / _ABOUT).read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise VolumeError(f"{place / _ABOUT} cannot be read: {error}") from error
        except ValueError as error:
            raise _damaged(place, error) from error
        try:
            record = VolumeRecord(
                about["id"], place.name, place.parent.name, about["created_ns"], about["url"], place
            )
        except (KeyError, TypeError) as error:
            raise _damaged(place, error) from error
        for kept, kind in ((record.id, str), (record.url, str), (record.created_ns, int)):
            if type(kept) is not kind:
                raise _damaged(place, f"{kept!r:.60} is no {kind.__name__}")
        return record


class _DamagedError(VolumeError):
    """It cannot be read what a volume is."""


def _damaged(place: Path, error: object) -> _DamagedError:
    return _DamagedError(
        f"{place / _ABOUT} cannot be read ({error!r}): it is damaged. Its files are in {place}; "
        f"put {_ABOUT} back from a backup, or move that folder out of {place.parent.parent}"
    )


def _places_in(folder: Path) -> list[Path]:
    return [folder / name for name in sorted(_names_in(folder))]


def _names_in(folder: Path) -> list[str]:
    """None where it is not there. Raises VolumeError: `Path.glob` would pass over what fails."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise VolumeError(f"{folder} cannot be read: {error.strerror}") from error
