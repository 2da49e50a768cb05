"""The source bundle: what is in it, what names it, what is too much."""

from __future__ import annotations

import io
import json
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import rekindle
from rekindle.exception import InvalidError, RequestSizeError
from rekindle.sdk.program import imports, interpreter, source
from rekindle.sdk.program.main_module import Program
from rekindle.wire.bundle import MANIFEST

#: What no test here made; of what is built in, no place is known.
INSTALLED = (sys.prefix, sys.base_prefix, str(Path(rekindle.__file__).parent), "builtin")


def _place(module: ModuleType) -> str:
    known = vars(module)  # some make up any attribute that they are asked for
    return next(filter(None, [known.get("__file__"), *known.get("__path__", ())]), "builtin")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory on sys.path; its modules are forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "script.py").write_text("")
    # Only what a test imports counts, not the suite itself and what its other tests imported.
    for name, module in list(sys.modules.items()):
        if not _place(module).startswith(INSTALLED):
            monkeypatch.delitem(sys.modules, name)
    imports._spec.cache_clear()
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def collect(project: Path, code: str = "") -> source.Bundle:
    if code:
        (project / "script.py").write_text(code)
    bundle = source.collect(Program("script", project / "script.py"))
    assert bundle is not None
    return bundle


def put(project: Path, **files: str) -> None:
    """Files by name: ``a__b`` is a/b.py."""
    for name, text in files.items():
        path = project / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_what_the_program_imports_is_in_it_and_what_lies_beside_is_not(project: Path) -> None:
    put(project, near="import third", third="", unused="", pkg__unused="")
    put(project, late="", plugin="", ns__inner="")
    for name, text in {"__init__": "", "words": "from . import other", "other": ""}.items():
        (project / "pkg" / f"{name}.py").write_text(text)
    (project / "notes.txt").write_text("")
    bundle = collect(
        project,
        "import json, numpy, click, missing_one, ns.inner\nfrom pkg.words import x\nimport near\n"
        "def f():\n    import late\n    importlib.import_module('plugin')\n",
    )
    assert bundle.modules == (
        *("late", "near", "ns.inner", "pkg", "pkg.other", "pkg.words", "plugin"),
        *("script", "third"),
    )
    with zipfile.ZipFile(io.BytesIO(bundle.data)) as archive:
        listed = json.loads(archive.read(MANIFEST))
        assert listed["pkg"] == [str(project / "pkg/__init__.py"), "pkg/__init__.py", True]
        assert archive.read("near.py") == b"import third"


def test_what_is_loaded_is_in_it_however_it_was_found(project: Path) -> None:
    put(project, by_a_computed_name="")
    __import__("by_a_" + "computed_name")
    assert "by_a_computed_name" in collect(project).modules


def test_folders_of_others_are_not_looked_into(project: Path) -> None:
    (project / "others").mkdir()
    (project / "circle").symlink_to(project)
    (project / "broken.py").symlink_to(project / "nowhere")
    (project / "others").chmod(0)
    assert collect(project, "import os, others, broken").modules == ("script",)


def test_what_pip_installed_into_a_target_directory_is_not_local(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = project / "deps"
    (target / "thing-1.dist-info").mkdir(parents=True)
    (target / "thing-1.dist-info" / "RECORD").write_text("thing/__init__.py,,\n")
    put(project, deps__own="")
    (target / "thing").mkdir()
    (target / "thing" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(target)
    assert collect(project, "import thing, own").modules == ("own", "script")


def test_a_virtual_environment_is_not_local(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(project, env__lib__inside="")
    (project / "env" / "pyvenv.cfg").write_text("")
    monkeypatch.syspath_prepend(project / "env" / "lib")
    assert collect(project, "import inside").modules == ("script",)


def test_a_neighbour_does_not_hide_the_standard_library(project: Path) -> None:
    put(project, numbers="")
    assert collect(project, "import numbers").modules == ("script",)


def test_the_digest_is_that_of_names_and_contents(project: Path) -> None:
    put(project, near="a = 1")
    one = collect(project, "import near")
    assert one == collect(project)
    put(project, near="a = 2")
    two = collect(project)
    (project / "near.py").rename(project / "far.py")
    imports._spec.cache_clear()
    three = collect(project, "import far")
    assert len({one.digest, two.digest, three.digest}) == 3


def test_a_source_in_another_encoding_travels_as_it_is(project: Path) -> None:
    text = "# -*- coding: latin-1 -*-\nimport near\nname = 'é'\n".encode("latin-1")
    (project / "script.py").write_bytes(text)
    put(project, near="")
    bundle = collect(project)
    assert bundle.modules == ("near", "script")
    with zipfile.ZipFile(io.BytesIO(bundle.data)) as archive:
        assert archive.read("script.py") == text


def test_no_local_modules_no_bundle(project: Path) -> None:
    assert source.collect(None) is None


def test_modules_over_the_limit_are_an_error_that_names_the_largest(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(project, large__more="y = 1\n" * 300)
    (project / "large" / "__init__.py").write_text("")
    monkeypatch.setattr(source, "MAX_BYTES", 1000)
    with pytest.raises(RequestSizeError, match=r"large with 2 files.*include_source=False"):
        collect(project, "import large.more")


def test_a_source_that_cannot_be_read_is_named(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(project, near="")

    collect(project, "import near")
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:  # root may read all
        if path.name == "near.py":
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(InvalidError, match=r"'near' cannot be sent.*Permission denied"):
        collect(project)


def test_installed_and_standard_modules_are_not_local() -> None:
    import click

    assert not imports.is_local_file(json.__file__)
    assert not imports.is_local_file(click.__file__)
    assert not imports.is_local_file(source.__file__)


def test_a_late_import_out_of_nested_namespace_packages_is_found(project: Path) -> None:
    put(project, outer_space__inner_space__leaf="")
    bundle = collect(project, "def f():\n    import outer_space.inner_space.leaf\n")
    assert "outer_space.inner_space.leaf" in bundle.modules


def test_the_interpreter_lies_where_sysconfig_says() -> None:
    of_build = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    assert set(interpreter.standard_library()) == of_build
    assert sysconfig.get_path("scripts") in interpreter.programs()
    installed = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    assert all(imports.is_local_file(f"{one}/m.py") is False for one in installed)
