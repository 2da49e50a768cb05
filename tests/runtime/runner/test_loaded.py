"""What a template was made from, where that cannot be looked at."""

from __future__ import annotations

import errno
import os
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from rekindle.runtime.runner import loaded


@pytest.mark.parametrize("number", [errno.ESTALE, errno.ENOENT])
def test_a_file_that_cannot_be_looked_at_just_now_is_not_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    file = str(tmp_path / "module.py")
    module = types.ModuleType("a_module_of_the_test")
    module.__file__ = file
    monkeypatch.setitem(sys.modules, module.__name__, module)
    stat = os.stat

    def refused(path: Any, **options: Any) -> os.stat_result:
        if path == file:
            raise OSError(number, os.strerror(number), path)
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", refused)
    found = loaded.files()
    if number == errno.ENOENT:
        assert file not in found
    else:  # else it could change, and the snapshot be used all the same
        assert found[file] == loaded.NOT_KNOWN
