"""An instance directory with a controller that runs inputs in the test process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from rekindle.sdk.connection import client
from tests.sdk.fake_controller import FakeController
from tests.sdk.fake_lender import Lender

FakeT = TypeVar("FakeT", bound=FakeController)


@contextmanager
def _found(fake: FakeT, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeT]:
    monkeypatch.setenv("REKINDLE_DIR", str(fake.directory))
    yield fake
    fake.close()
    client.forget(fake.directory)


@pytest.fixture
def controller(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeController]:
    """A controller that ``app.run()`` finds through REKINDLE_DIR."""
    with _found(FakeController(), monkeypatch) as fake:
        yield fake


@pytest.fixture
def lender(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lender]:
    """The same with an agent that lends a runner."""
    with _found(Lender(), monkeypatch) as fake:
        yield fake


@pytest.fixture
def own_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copies of files are kept in a place of the test's."""
    monkeypatch.setenv("REKINDLE_IMAGES", str(tmp_path / "images"))
    return tmp_path
