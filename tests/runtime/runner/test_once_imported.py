"""What is done to a module once it has been imported; the module is a real one of a file."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

from rekindle.runtime.runner.unique.once_imported import OnceImported

NAME = "rekindle_test_imported_later"
#: What brings libraries that no start needs: each area of theirs is mapped again by each restore.
_NOT_LOADED = ("random", "hashlib", "base64", "binascii", "termios")


@pytest.fixture(autouse=True)
def _later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"{NAME}.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, NAME, raising=False)


def test_a_module_is_handed_over_after_it_has_run_and_before_its_importer_goes_on() -> None:
    seen: list[int] = []
    awaited = OnceImported(NAME, lambda module: seen.append(module.value))
    assert seen == []
    module = importlib.import_module(NAME)
    assert seen == [1]
    assert awaited not in sys.meta_path
    assert isinstance(module.__loader__, SourceFileLoader)
    assert module.__spec__ is not None and module.__spec__.loader is module.__loader__


def test_one_that_is_there_is_handed_over_at_once() -> None:
    seen: list[object] = []
    module = importlib.import_module(NAME)
    awaited = OnceImported(NAME, seen.append)
    assert seen == [module]
    assert awaited not in sys.meta_path


def test_after_a_cancel_it_is_imported_as_ever() -> None:
    seen: list[object] = []
    awaited = OnceImported(NAME, seen.append)
    awaited.cancel()
    awaited.cancel()
    importlib.import_module(NAME)
    assert seen == []
    assert awaited not in sys.meta_path


def test_one_that_is_not_found_is_an_import_error_as_ever() -> None:
    OnceImported(f"{NAME}_missing", print)
    with pytest.raises(ModuleNotFoundError, match=f"{NAME}_missing"):
        importlib.import_module(f"{NAME}_missing")


def test_a_process_that_runs_user_code_has_no_library_that_no_start_needs() -> None:
    script = (
        "import rekindle.runtime.runner.main, sys\n"
        "from rekindle.runtime.runner import unique\n"
        "from rekindle.wire import spec\n"
        "unique.track()\n"
        f"print([name for name in {_NOT_LOADED} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
