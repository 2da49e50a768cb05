"""What is done to a module once it has been imported; the module is a real one of a file."""

from __future__ import annotations

import importlib
import importlib.util
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


def test_who_only_asks_where_it_is_does_not_end_the_wait() -> None:
    seen: list[int] = []
    awaited = OnceImported(NAME, lambda module: seen.append(module.value))
    spec = importlib.util.find_spec(NAME)
    assert spec is not None and spec.loader is not None
    assert spec.loader.get_source(NAME) == "value = 1\n"  # type: ignore[attr-defined]
    spec.loader.exec_module(importlib.util.module_from_spec(spec))  # a copy for oneself
    importlib.import_module(NAME)
    assert seen == [1, 1]
    assert awaited not in sys.meta_path


def test_an_import_that_fails_does_not_end_the_wait(tmp_path: Path) -> None:
    seen: list[int] = []
    OnceImported(NAME, lambda module: seen.append(module.value))
    file = tmp_path / f"{NAME}.py"
    file.write_text("raise RuntimeError('not yet')\n")
    with pytest.raises(RuntimeError, match="not yet"):
        importlib.import_module(NAME)
    file.write_text("value = 2  # of another length\n")
    importlib.import_module(NAME)
    assert seen == [2]


def test_one_that_was_found_before_a_cancel_is_not_handed_over_after_it() -> None:
    seen: list[object] = []
    awaited = OnceImported(NAME, seen.append)
    spec = importlib.util.find_spec(NAME)
    assert spec is not None and spec.loader is not None
    awaited.cancel()
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    assert seen == []


def test_two_that_wait_for_the_same_both_get_it() -> None:
    seen: list[str] = []
    OnceImported(NAME, lambda module: seen.append("first"))
    OnceImported(NAME, lambda module: seen.append("second"))
    importlib.import_module(NAME)
    assert sorted(seen) == ["first", "second"]


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
