"""An instance's name for itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from rekindle.controller.instance import instance_id
from rekindle.exception import SetupError


def test_it_is_made_once(tmp_path: Path) -> None:
    made = instance_id(tmp_path)
    assert instance_id(tmp_path) == made and made.startswith("in-")
    assert [path.name for path in tmp_path.iterdir()] == ["instance"]


@pytest.mark.parametrize("damaged", [b"", b"\n", b"in-0123", b"in-0123456789abcde\xe6\n"])
def test_one_that_is_damaged_is_not_made_anew(tmp_path: Path, damaged: bytes) -> None:
    path = tmp_path / "instance"
    path.write_bytes(damaged)
    with pytest.raises(SetupError, match="is damaged"):
        instance_id(tmp_path)
    assert path.read_bytes() == damaged
