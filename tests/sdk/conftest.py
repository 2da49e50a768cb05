"""An instance directory with a controller that runs inputs in the test process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rekindle.sdk.connection import client
from tests.sdk.fake_controller import FakeController


@pytest.fixture
def controller(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeController]:
    """A controller that ``app.run()`` finds through REKINDLE_DIR."""
    fake = FakeController()
    monkeypatch.setenv("REKINDLE_DIR", str(fake.directory))
    yield fake
    fake.close()
    client.forget(fake.directory)
