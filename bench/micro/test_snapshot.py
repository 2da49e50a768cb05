"""What a restore does on its node besides waiting: names, checks, orders."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from rekindle.linux import maps, memory
from rekindle.snapshot import lean, stamp, use, validate, worker
from rekindle.snapshot.key import Ingredients
from rekindle.snapshot.manifest import ImageFile, LoadedFile, Manifest
from rekindle.snapshot.store import Snapshot

_FILES = 16  # as CRIU writes them for one process


def _ingredients() -> Ingredients:
    digest = hashlib.sha256(b"").hexdigest()
    return Ingredients(
        kernel="6.1 #1",
        arch="x86_64",
        cpu_features=tuple(f"feature_{number}" for number in range(100)),
        criu="4.1.1",
        app="app",
        function="function",
        code_digest=digest,
        hooks_digest=digest,
        source_digest=digest,
        params_digest=digest,
        python="3.11.7",
        env_digest=digest,
        path_digest=digest,
        packages={f"package-{number}": f"1.{number}" for number in range(100)},
        runtime_digest=digest,
    )


def _snapshot(directory: Path) -> Snapshot:
    (directory / "images").mkdir()
    files = {}
    for number in range(_FILES):
        name = f"image-{number}.img"
        (directory / "images" / name).write_bytes(b"x" * 100)
        files[name] = ImageFile(100, "")
    manifest = Manifest(
        key="sn-0",
        app="app",
        function="function",
        ingredients=_ingredients(),
        created=0.0,
        files=files,
        loaded_files={f"/lib/{number}.py": LoadedFile(1, 1) for number in range(1000)},
    )
    use.begin(directory)
    snapshot = Snapshot("sn-0", directory, manifest)
    stamp.write(directory, stamp.look(directory, manifest.content))
    return snapshot


def test_a_snapshot_is_named(benchmark: Any) -> None:
    benchmark(_ingredients().key)


def test_a_manifest_is_read(benchmark: Any, tmp_path: Path) -> None:
    benchmark(Manifest.from_json, _snapshot(tmp_path).manifest.to_json())


def test_images_are_seen_to_be_unchanged(benchmark: Any, tmp_path: Path) -> None:
    assert benchmark(validate.Seen.of(_snapshot(tmp_path)).holds)


def test_a_snapshot_is_pinned_and_let_go(benchmark: Any, tmp_path: Path) -> None:
    _snapshot(tmp_path)

    def pin() -> None:
        held = use.pin(tmp_path)
        assert held is not None
        use.touch(tmp_path)
        held.release()

    benchmark(pin)


def test_a_restore_is_ordered(benchmark: Any) -> None:
    benchmark(
        lambda: worker.restore_request(
            images="sn-0-mapped",
            control_pipe="pipe:[123456]",
            log_name="restore-ru-0.log",
            unprivileged=False,
        )
    )


def test_the_maps_of_a_process_are_read(benchmark: Any) -> None:
    assert benchmark(lambda: list(maps.mappings(os.getpid())))


def test_the_memory_of_the_machine_is_read(benchmark: Any) -> None:
    benchmark(memory.available)


def test_an_empty_library_is_made(benchmark: Any) -> None:
    benchmark(lean.library, "libempty.so.1", ("variable",), ("function",), 62)
