from __future__ import annotations

from pathlib import Path

import pytest

from rekindle.runtime.images.store import LayerStore
from tests import images


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LayerStore:
    """A store of the test's own, with the base in it."""
    place = tmp_path / "images"
    monkeypatch.setenv("REKINDLE_IMAGES", str(place))
    monkeypatch.setenv("REKINDLE_HOME", str(tmp_path / "home"))
    return images.store_with_base(place)
