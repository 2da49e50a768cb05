"""The vault: what seals values before they go to Redis, and the file with its keys.

The file (mode 0600) has one Fernet key a line, the newest first: that one seals, all of them open.
It is made when something is sealed first. Several instances may have it, each with a Redis of its
own: so no key is dropped here. Knows nothing of what is sealed.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rekindle import paths
from rekindle.exception import InvalidError, ServiceError, SetupError
from rekindle.linux import files

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

#: Names the file where several controllers share a Redis, and so a key.
VARIABLE = "REKINDLE_SECRETS_KEY_FILE"


def default_key_file() -> Path:
    """``$REKINDLE_SECRETS_KEY_FILE``, else ``secrets.key`` in rekindle's own directory.

    Raises InvalidError for what can be no file.
    """
    named = paths.named(VARIABLE)
    if named is not None and not named.parent.is_dir():
        raise InvalidError(f"{VARIABLE}={named} is in a folder that is not there: make that folder")
    if named is not None and named.exists() and not named.is_file():
        raise InvalidError(
            f"{VARIABLE}={named} is no file: name one, which is made where it is not"
        )
    return named or paths.home() / "secrets.key"


@dataclass(eq=False)
class Vault:
    """Seals with the newest key of a file, opens with any of them."""

    key_file: Path
    #: What is in the file, and which file that was: another controller, or an operator, may have
    #: changed it. One value, as keys are added in a thread.
    _read: tuple[tuple[int, int], MultiFernet] | None = None

    def seal(self, what: str, values: Mapping[str, str]) -> bytes:
        """Encrypted, and bound to ``what``: moved to another place, it does not open there.

        Raises SetupError for a key file that cannot be used.
        """
        text = json.dumps({"what": what, "values": dict(values)})
        return self._keys(make=True).encrypt(text.encode())

    def open(self, what: str, sealed: bytes) -> dict[str, str]:
        """The inverse. Raises ServiceError where no key of the file fits, and SetupError."""
        from cryptography.fernet import InvalidToken

        try:
            held = json.loads(self._keys(make=False).decrypt(sealed))
        except InvalidToken:
            raise ServiceError(
                f"{what} cannot be opened: it was sealed with a key that is not in "
                f"{self.key_file}, or it was changed; put the key back, or set it again"
            ) from None
        if held["what"] != what:
            raise ServiceError(f"{what} cannot be opened: what lies there was sealed for another")
        values: dict[str, str] = held["values"]
        return values

    def add_key(self) -> None:
        """Seal with a new key from now on. Blocks. Raises SetupError.

        The others stay and still open: an instance that has the file, too, may have sealed with
        them, and not be up now.
        """
        with self._locked():
            self._keys(make=True)
            self._write([_new_key(), *self._lines()])

    # ---- the file ------------------------------------------------------------------------------

    def _keys(self, *, make: bool) -> MultiFernet:
        from cryptography.fernet import Fernet, MultiFernet

        try:
            info = self.key_file.stat()
        except FileNotFoundError:
            if not make:
                raise SetupError(
                    f"the key of stored secrets is not there: {self.key_file}; put the file back"
                ) from None
            self._make()
            info = self.key_file.stat()
        except OSError as error:
            raise SetupError(f"{self.key_file} cannot be read: {error.strerror}") from error
        read_at = (info.st_ino, info.st_ctime_ns)  # whose change of permissions counts, too
        read = self._read
        if read is None or read_at != read[0]:
            if info.st_mode & 0o077 or info.st_uid not in (os.geteuid(), 0):
                raise SetupError(
                    f"{self.key_file} has the keys of stored secrets and may be read by others "
                    f"(mode {stat.S_IMODE(info.st_mode):o}, owner {info.st_uid}); make it yours "
                    f"alone: chmod 600"
                )
            try:
                box = MultiFernet([Fernet(line) for line in self._lines()])
            except ValueError:  # says nothing of the key itself
                raise SetupError(
                    f"{self.key_file} is no file of keys: one key a line, each 32 bytes in base64"
                ) from None
            read = self._read = (read_at, box)
        return read[1]

    def _lines(self) -> list[str]:
        try:
            text = self.key_file.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise SetupError(
                f"{self.key_file} cannot be read as a file of keys ({type(error).__name__})"
            ) from None
        return [line.strip() for line in text.splitlines() if line.strip()]

    def _make(self) -> None:
        """Make the file with a first key, unless somebody else just did."""
        draft = self._draft([_new_key()])
        try:
            os.link(draft, self.key_file)
            files.sync(self.key_file.parent)  # before what it seals is
        except FileExistsError:
            return
        except OSError as error:
            raise SetupError(f"{self.key_file} cannot be made: {error.strerror}") from error
        finally:
            draft.unlink()

    def _write(self, lines: Sequence[str]) -> None:
        draft = self._draft(lines)
        try:
            os.replace(draft, self.key_file)
            files.sync(self.key_file.parent)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise SetupError(f"{self.key_file} cannot be written: {error.strerror}") from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Nobody else changes the file within: who writes what it read before another one's change
        drops a key that something is sealed with."""
        path = self.key_file.with_name(f"{self.key_file.name}.lock")
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SetupError(f"{path} cannot be made: {error.strerror}") from error
        try:
            files.lock(lock)
            yield
        finally:
            os.close(lock)

    def _draft(self, lines: Sequence[str]) -> Path:
        """A file with mode 0600 next to the key file, on disk before it is put in place."""
        name = None
        try:
            fd, name = tempfile.mkstemp(prefix=".secrets-", dir=self.key_file.parent)
            with open(fd, "w", encoding="ascii") as file:
                file.write("".join(f"{line}\n" for line in lines))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            if name is not None:
                Path(name).unlink(missing_ok=True)
            raise SetupError(f"{self.key_file} cannot be written: {error.strerror}") from error
        return Path(name)


def _new_key() -> str:
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode()
