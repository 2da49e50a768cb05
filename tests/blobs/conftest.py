"""Stores that behave as tests say, and lazy files from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import unwell
from rekindle.blobs.lazy.client import LazyFiles, Settings
from rekindle.blobs.objects import open_objects
from rekindle.blobs.store import BlobStore, Patience

#: Of stores that are to fail: tests do not wait for what they know.
IMPATIENT = Patience(attempts=4, first_wait_s=0.001, most_wait_s=0.002)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a store."""
    made = tmp_path / "store"
    made.mkdir()
    return made


@pytest.fixture
def store(folder: Path) -> BlobStore:
    return BlobStore(open_objects(folder.as_uri()), IMPATIENT)


@pytest.fixture
def unwell_store(folder: Path, unwell_urls: None) -> BlobStore:
    """One whose conduct can be set: ``unwell.Conduct``."""
    return BlobStore(open_objects(unwell.url(folder)), IMPATIENT)


StartLazy = Callable[..., LazyFiles]


@pytest.fixture
def start_lazy(tmp_path: Path) -> Iterator[StartLazy]:
    """Starts processes that serve lazy files, and ends them."""
    started: list[LazyFiles] = []

    def start(
        url: str, *, wait_s: float = 20.0, budget_bytes: int = 1 << 30, cache: Path | None = None
    ) -> LazyFiles:
        mountpoint = tmp_path / f"mount-{len(started)}"
        folder = cache or tmp_path / "cache"
        files = LazyFiles.start(Settings(url, str(mountpoint), str(folder), budget_bytes, wait_s))
        started.append(files)
        return files

    yield start
    for files in started:
        files.close()
