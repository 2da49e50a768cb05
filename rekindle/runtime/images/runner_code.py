"""The part of rekindle that runs beside user code in an image, and cloudpickle: a directory of it.

Copied once a version of it, and compiled for the Python of each image, as an image shows it
read-only. Knows nothing of mounts and processes. It is pure Python and needs no other package: the
contract is there in a form that needs no protobuf (wire/plain_contract.py).
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path

from rekindle import paths
from rekindle.linux import files
from rekindle.linux.kept_directories import use
from rekindle.linux.whole_directory import sync, whole_directory
from rekindle.wire import plain_contract

#: Of the package, what no user code and no runner imports: the agent, the controller, CRIU.
_ABSENT = ("bench", "blobs", "cli", "controller", "debian", "runtime", "snapshot")
_LEFT_OUT = (
    "__main__.py",  # the command line
    # Nobody starts an instance from inside one, nor ends one.
    *("sdk/local/supervisor.py", "sdk/local/services.py", "sdk/local/leftover_snapshots.py"),
    # Requests go by the agent there (sdk/connection/framed.py).
    *("sdk/connection/over_grpc.py", "sdk/connection/channel.py", "sdk/connection/relay.py"),
    "wire/rekindle_pb2_grpc.py",
)
_CONTRACT = "wire/rekindle_pb2.py"
#: Below those, what they do import.
_PARTS = ("runtime/__init__.py", "runtime/runner")


def provide(into: Path) -> Path:
    """The directory, below ``into``: made where it is missing. Raises OSError."""
    found = dict(sorted(_files()))
    written = {f"rekindle/{_CONTRACT}": plain_contract.source()}
    digest = hashlib.sha256()
    for name, path in found.items():
        digest.update(f"{name}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    for name, text in written.items():
        digest.update(f"{name}\0{text}".encode())
    target = into / digest.hexdigest()[:16]
    if use(target):
        return target
    with whole_directory(target) as draft:
        draft.chmod(0o755)
        for name, path in found.items():
            there = draft / name
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, there)
        for name, text in written.items():
            (draft / name).write_text(text, encoding="utf-8")
    return target


def _files() -> Iterator[tuple[str, Path]]:
    package = paths.PACKAGE
    parts = [package / part for part in _PARTS]
    for found in (*(path for path in package.iterdir() if path.name not in _ABSENT), *parts):
        for path in [found] if found.is_file() else files.below(found, ".py"):
            name = path.relative_to(package).as_posix()
            if name not in (*_LEFT_OUT, _CONTRACT):
                yield f"rekindle/{name}", path
    found_by = importlib.util.find_spec("cloudpickle")
    assert found_by is not None and found_by.origin is not None
    for path in Path(found_by.origin).parent.iterdir():
        if path.suffix == ".py":
            yield f"cloudpickle/{path.name}", path


def is_compiled(directory: Path, python_version: str) -> bool:
    """Whether it was compiled for this Python, as in "3.13"."""
    return _mark(directory, python_version).exists()


def was_compiled(directory: Path, python_version: str) -> None:
    """Note that it was. Raises OSError."""
    sync(directory)
    _mark(directory, python_version).touch()


def _mark(directory: Path, python_version: str) -> Path:
    return directory.with_name(f"{directory.name}.compiled-{python_version}")
