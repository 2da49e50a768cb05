"""Programs as commands load them."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from rekindle import paths
from rekindle.cli import app_refs, programs, refs
from rekindle.exception import InvalidError, NotFoundError, SetupError
from tests.cli.command import rekindle


@pytest.fixture
def stdin(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> pytest.MonkeyPatch:
    """A home without programs; what is imported and may be imported is as before afterwards."""
    monkeypatch.setenv("REKINDLE_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setattr("rekindle.sdk.program.main_module._loaded", {})
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    return monkeypatch


def _give(stdin: pytest.MonkeyPatch, text: str) -> None:
    stdin.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def test_programs_of_standard_input_go_after_a_day_with_what_python_compiled_of_them(
    stdin: pytest.MonkeyPatch,
) -> None:
    _give(stdin, "FIRST = 1\n")
    assert programs.load("-").module.FIRST == 1
    (first,) = (paths.home() / "stdin").iterdir()
    assert (first / "__pycache__").is_dir()
    os.utime(first / "stdin.py", (0, 0))
    os.utime(first, (0, 0))
    _give(stdin, "SECOND = 2\n")
    assert programs.load("-").module.SECOND == 2
    (second,) = (paths.home() / "stdin").iterdir()
    assert second != first
    _give(stdin, "SECOND = 2\n")
    programs.load("-")
    assert [*(paths.home() / "stdin").iterdir()] == [second], "a younger one stays"


def test_a_program_of_standard_input_that_cannot_be_kept_says_where(
    stdin: pytest.MonkeyPatch,
) -> None:
    (paths.home() / "stdin").touch()
    _give(stdin, "FIRST = 1\n")
    with pytest.raises(SetupError, match=r"/stdin/.* cannot be used .*REKINDLE_HOME"):
        programs.load("-")


def test_a_program_of_standard_input_that_is_read_again_is_young_again(
    stdin: pytest.MonkeyPatch,
) -> None:
    for text in ("A = 1\n", "B = 2\n", "A = 1\n"):
        _give(stdin, text)
        programs.load("-")
        for kept in (paths.home() / "stdin").iterdir():
            os.utime(kept, (0, 0))
    _give(stdin, "A = 1\n")
    programs.load("-")
    (only,) = (paths.home() / "stdin").iterdir()
    assert Path(only, "stdin.py").read_text() == "A = 1\n"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("run {}", "there is no file {} to be read: File name too long"),
        ("run {}.py::f", "there is no file {}.py to be read: File name too long"),
        ("deploy {}.py", "there is no file {}.py to be read: File name too long"),
        ("serve {}.py", "there is no file {}.py to be read: File name too long"),
        ("secret create one --from-dotenv {}", "--from-dotenv: there is no file {}"),
    ],
)
def test_what_is_too_long_for_the_name_of_a_file_names_none(
    tmp_path: Path, command: str, said: str
) -> None:
    name = "print('a program in place of its file') " * 9
    argv = [word.format(name) for word in command.split()]
    err = rekindle(tmp_path, *argv, status=1, REKINDLE_HOME=str(tmp_path)).stderr
    assert err.startswith(f"Error: {said.format(name)}\n")


def test_a_working_directory_that_was_deleted_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (gone := tmp_path / "gone").mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(InvalidError, match="working directory was deleted"):
        programs.load("program.py")


def _package(tmp_path: Path, called: str = "inner_shop", **files: str) -> Path:
    (package := tmp_path / called).mkdir()
    for name, text in {"__init__": "", **files}.items():
        (package / f"{name}.py").write_text(text)
    return package


@pytest.mark.parametrize("wanted", ["from . import stock", "import inner_shop.stock"])
def test_a_file_that_needs_its_package_is_told_of_m(
    stdin: pytest.MonkeyPatch, tmp_path: Path, wanted: str
) -> None:
    package = _package(tmp_path, report=f"{wanted}\n", stock="")
    stdin.chdir(tmp_path)
    with pytest.raises(ImportError) as raised:
        programs.load("inner_shop/report.py")
    assert "-m inner_shop.report" in raised.value.__notes__[0]
    (package / "report.py").write_text("import surely_not_installed\n")
    with pytest.raises(ImportError) as raised:
        programs.load("inner_shop/report.py")
    assert not hasattr(raised.value, "__notes__")


def test_a_package_that_declares_nothing_is_its_main(
    stdin: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    declares = "import rekindle\napp = rekindle.App()\n@app.local_entrypoint()\ndef begin(): ...\n"
    _package(tmp_path, __main__=declares)
    stdin.chdir(tmp_path)
    target = refs.resolve("inner_shop", is_module=True)
    assert target.name == "begin" and target.what.raw.__module__ == "inner_shop.__main__"


def test_deploy_and_serve_mean_the_app_of_a_package_that_run_means(
    stdin: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    declares = "@app.function()\ndef begin(): ...\n"
    _package(tmp_path, __main__=f"import rekindle\napp = rekindle.App()\n{declares}")
    stdin.chdir(tmp_path)
    run = refs.resolve("inner_shop", is_module=True).app
    assert app_refs.resolve("inner_shop", is_module=True) is run
    assert app_refs.resolve("inner_shop::app", is_module=True) is run
    # Where the package has the app itself, and declares nothing of it.
    other = _package(tmp_path, "other_shop", __main__=f"from other_shop import app\n{declares}")
    (other / "__init__.py").write_text("import rekindle\napp = rekindle.App()\n")
    deployed = app_refs.resolve("other_shop", is_module=True)
    assert list(deployed.declarations) == ["begin"]
    assert refs.resolve("other_shop", is_module=True).app is deployed
    with pytest.raises(NotFoundError, match="is a package: -m inner_shop"):
        app_refs.resolve("inner_shop", is_module=False)
