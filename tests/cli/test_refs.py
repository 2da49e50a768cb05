"""``FILE::NAME``: which one is meant, of a program with several apps too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.run_here import Cli
from tests.sdk.fake_controller import FakeController

_TWO_APPS = """
import rekindle
a, b = rekindle.App("first"), rekindle.App("second")

@a.local_entrypoint()
def main():
    print("main of a")

@a.local_entrypoint()
def other():
    print("other of a")

@b.function(name="given")
def own(): return "own of b"

@b.local_entrypoint()
def main():
    print("main of b")
"""

_PARTS = """
import rekindle
parts = rekindle.App("parts")

@parts.function()
def f(): return "f"

@parts.cls()
class Thing:
    @rekindle.method()
    def m(self): return "m"

whole = rekindle.App("whole").include(parts)
"""


def program(folder: Path, text: str, name: str = "program_refs.py") -> str:
    file = folder / name
    file.write_text(text)
    return str(file)


def test_a_name_behind_an_app_is_of_that_app(run: Cli, tmp_path: Path) -> None:
    file = program(tmp_path, _TWO_APPS)
    assert run("run", f"{file}::a.main")[:2] == (0, "main of a\n")
    assert run("run", f"{file}::b.main")[:2] == (0, "main of b\n")
    for wrong in ("typo.main", "first.main", "a.given", "b.own"):
        status, _, err = run("run", f"{file}::{wrong}")
        assert status == 1 and f"has no '{wrong}'" in err
    assert "program_refs.py::a.main  (local entrypoint)" in err  # which is no variable any more
    assert "program_refs.py::main  (local entrypoint)" in err


def test_a_name_is_what_the_module_has_by_it(run: Cli, tmp_path: Path) -> None:
    file = program(tmp_path, _TWO_APPS)
    assert run("run", f"{file}::main")[:2] == (0, "main of b\n")
    for name in ("own", "b.given", "given"):
        assert run("run", f"{file}::{name}")[:2] == (0, "own of b\n")


def test_an_app_alone_is_what_can_be_meant_in_it(run: Cli, tmp_path: Path) -> None:
    file = program(tmp_path, _TWO_APPS)
    assert run("run", f"{file}::b")[:2] == (0, "main of b\n")
    status, _, err = run("run", f"{file}::a")
    assert status == 1 and "program_refs.py::a has several local entrypoints" in err
    assert "program_refs.py::a.main " in err and "program_refs.py::other " in err
    assert "::main " not in err


def test_what_a_program_declares_goes_before_what_it_imports(run: Cli, tmp_path: Path) -> None:
    program(
        tmp_path,
        "import rekindle\nshelf = rekindle.App('shelf')\n"
        "@shelf.function()\ndef stored(): return 'stored'\n"
        "@shelf.local_entrypoint()\ndef main(): print('main of the library')\n",
        "program_shelf.py",
    )
    text = (
        "import rekindle\nfrom program_shelf import {}\napp = rekindle.App('own')\n"
        "@app.local_entrypoint()\ndef main(): print('own main')\n"
    )
    file = program(tmp_path, text.format("shelf"))
    assert run("run", f"{file}::main")[:2] == (0, "own main\n")
    assert run("run", f"{file}::shelf.main")[:2] == (0, "main of the library\n")
    status, _, err = run("run", file)
    assert status == 1 and "several local entrypoints" in err
    # What the library's app has besides is not the program's.
    file = program(tmp_path, text.format("stored"), "program_refs2.py")
    assert run("run", file)[:2] == (0, "own main\n")
    assert run("run", f"{file}::stored")[:2] == (0, "stored\n")


def test_a_name_that_two_apps_gave_is_refused(run: Cli, tmp_path: Path) -> None:
    text = "import rekindle\na, b = rekindle.App('a'), rekindle.App('b')\n" + "".join(
        f"@{app}.function(name='same')\ndef _{app}(): return '{app}'\n" for app in "ab"
    )
    file = program(tmp_path, text)
    status, _, err = run("run", f"{file}::same")
    assert status == 1 and "has several same; name one:" in err
    assert "::_a  (function)" in err and "::_b  (function)" in err
    assert run("run", f"{file}::b.same")[:2] == (0, "b\n")


@pytest.mark.parametrize("reference", ["", "::f", "::whole.f", "::whole", "::Thing", "::Thing.m"])
def test_what_an_app_includes_is_run_as_a_part_of_it(
    run: Cli, tmp_path: Path, controller: FakeController, reference: str
) -> None:
    file = program(tmp_path, _PARTS)
    out = "m\n" if "Thing" in reference else "f\n"
    assert run("run", f"{file}{reference}")[:2] == (0, out)
    assert controller.registered[-1].name == "whole"


@pytest.mark.parametrize("name", ["parts.f", "parts.Thing", "parts.Thing.m"])
def test_a_part_that_is_named_is_run_by_itself(
    run: Cli, tmp_path: Path, controller: FakeController, name: str
) -> None:
    assert run("run", f"{program(tmp_path, _PARTS)}::{name}")[0] == 0
    assert controller.registered[-1].name == "parts"


def test_a_part_of_two_apps_is_to_be_named_by_one(
    run: Cli, tmp_path: Path, controller: FakeController
) -> None:
    file = program(tmp_path, _PARTS + "second = rekindle.App('second').include(parts)\n")
    for reference in (file, f"{file}::f"):
        status, _, err = run("run", reference)
        assert status == 1 and "f is in several apps" in err
        assert "::whole.f" in err and "::second.f" in err
    assert run("run", f"{file}::second.f")[:2] == (0, "f\n")
    assert controller.registered[-1].name == "second"


def test_a_variant_and_another_name_for_the_same_are_no_second_function(
    run: Cli, tmp_path: Path
) -> None:
    file = program(
        tmp_path,
        "import rekindle\napp = also = rekindle.App('x')\n"
        "@app.function()\ndef f(): return 'f'\n"
        "g = f\nslow = f.with_options(timeout=9)\nfar = rekindle.Function.from_name('y', 'f')\n",
    )
    for reference in ("", "::f", "::g", "::app", "::also.f"):
        assert run("run", f"{file}{reference}")[:2] == (0, "f\n")


def test_a_part_of_a_part_is_run_in_the_whole(
    run: Cli, tmp_path: Path, controller: FakeController
) -> None:
    file = program(tmp_path, _PARTS + "all_ = rekindle.App('all').include(whole)\n")
    assert run("run", f"{file}::f")[:2] == (0, "f\n")
    assert controller.registered[-1].name == "all"
