"""Fixtures of the snapshot room's tests: made-up and real snapshots, a home of the test's own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rekindle.snapshot import criu as criu_room
from rekindle.snapshot.criu import Criu
from rekindle.snapshot.draft import begin
from rekindle.snapshot.key import Ingredients
from rekindle.snapshot.manifest import Manifest
from rekindle.snapshot.store import Snapshot, SnapshotStore
from tests.snapshot import sandbox


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing that a test remembers on disk outlives it."""
    monkeypatch.setenv("REKINDLE_HOME", str(tmp_path / "home"))
    criu_room.forget()
    yield
    criu_room.forget()


@pytest.fixture(scope="session")
def criu(tmp_path_factory: pytest.TempPathFactory) -> Criu:
    """The machine's CRIU; set-up provides it, so it is an error where there is none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REKINDLE_HOME", str(tmp_path_factory.mktemp("home")))
        return criu_room.find()


@pytest.fixture
def store(tmp_path: Path) -> SnapshotStore:
    """An empty store."""
    return SnapshotStore(tmp_path / "snapshots")


def ingredients(**changes: object) -> Ingredients:
    """Made-up ingredients, with changes."""
    values: dict[str, object] = {
        "app": "shop",
        "function": "Model",
        "code_digest": "c0de",
        "hooks_digest": "400c",
        "source_digest": "",
        "params_digest": "",
        "python": "3.11.7 /usr/bin/python3.11 1:2",
        "env_digest": "e",
        "path_digest": "p",
        "packages": {"torch": "2.13.0 aa", "numpy": "2.1.0 bb"},
        "kernel": "6.18.0 #1",
        "cpu_features": ("avx", "avx2"),
        "arch": "x86_64",
        "criu": "4.1.1",
        "runtime_digest": "r",
    }
    return Ingredients(**{**values, **changes})  # type: ignore[arg-type]


def manifest(made_from: Ingredients, **changes: object) -> Manifest:
    """A manifest for a snapshot made now."""
    values: dict[str, object] = {
        "key": made_from.key(),
        "app": made_from.app,
        "function": made_from.function,
        "ingredients": made_from,
        "created": time.time(),
    }
    return Manifest(**{**values, **changes})  # type: ignore[arg-type]


def commit(
    store: SnapshotStore, made_from: Ingredients | None = None, **changes: object
) -> Snapshot:
    """A committed snapshot with made-up images."""
    made_from = made_from or ingredients()
    draft = begin(store, made_from.key())
    (draft.images / "inventory.img").write_bytes(b"inventory")
    (draft.images / "pages-1.img").write_bytes(os.urandom(10_000))
    (draft.images / "dump.log").write_text("a log")
    return draft.commit(manifest(made_from, **changes))


@dataclass(frozen=True)
class Dumped:
    """A real template, frozen: its images and its control pipe."""

    images: Path
    control_pipe: str


@pytest.fixture(scope="session")
def dumped(criu: Criu, tmp_path_factory: pytest.TempPathFactory) -> Dumped:
    """One dump that many tests restore from; they copy it before they harm it."""
    images = tmp_path_factory.mktemp("dumped")
    code = "count = 41\ndef answer():\n    global count\n    count += 1\n    return count"
    with sandbox.template(criu, code) as template:
        done = template.dump(images)
        assert done.returncode == 0, (images / "dump.log").read_text()
        return Dumped(images, template.control_pipe)


CommitReal = Callable[..., Snapshot]


@pytest.fixture
def commit_real(store: SnapshotStore, dumped: Dumped, criu: Criu) -> CommitReal:
    """Commits the real dump to the store, as made on this machine."""
    from rekindle.snapshot import machine

    here = machine.here(criu)

    def commit_images(code_digest: str = "c0de", **changes: object) -> Snapshot:
        made_from = ingredients(
            code_digest=code_digest,
            kernel=here.kernel,
            arch=here.arch,
            cpu_features=here.cpu_features,
            criu=here.criu,
        )
        draft = begin(store, made_from.key())
        for image in dumped.images.iterdir():
            (draft.images / image.name).write_bytes(image.read_bytes())
        return draft.commit(manifest(made_from, control_pipe=dumped.control_pipe, **changes))

    return commit_images
