"""Functions of the user's as steps of a build: the module that they need, and their Python."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import pytest

from rekindle import Image, Secret, Volume
from rekindle.exception import ImageBuildError
from rekindle.runtime.images.store import LayerStore
from tests import images
from tests.images import BUILDS, base, wheel
from tests.runtime.images.builds import build, files_of

pytestmark = BUILDS


def _write(path: str, *, text: str) -> None:
    Path(path).write_text(text)
    print("wrote", path)


def test_a_function_runs_in_the_image_where_its_python_is_the_same(store: LayerStore) -> None:
    image = base().run_function(_write, args=("/made",), kwargs={"text": "by a function"})
    if sys.version_info[:2] == (3, 13):
        built, said = build(image, store)
        assert (built.lowers[0] / "made").read_text() == "by a function"
        assert "wrote /made" in said.lines
    else:
        with pytest.raises(ImageBuildError, match=r"No module named 'pytest'.*Install that"):
            build(image, store)  # it is imported there with all that this module imports


@pytest.fixture
def own_python(store: LayerStore) -> Image:
    """A base with the program's Python, which is in the store."""
    image = Image.debian_slim()
    layer = images.kept(image)
    with contextlib.suppress(FileExistsError):
        (store.root / "layers" / layer.name).symlink_to(layer)
    return image


_USER = """
def write(path):
    import of_a_copy, sys
    with open(path, "w") as file:
        print(of_a_copy.WORD, *sys.version_info[:2], file=file)
"""
_LAZY = """
def plain(function):
    def called():
        return function()
    return called

@plain
def lazily():
    yield
"""


def test_steps_import_local_modules_that_were_copied_before(
    store: LayerStore, own_python: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "of_a_copy.py").write_text("WORD = 'copied'\n")
    (tmp_path / "of_a_user.py").write_text(_USER)
    monkeypatch.syspath_prepend(tmp_path)
    import of_a_user  # type: ignore[import-not-found]

    for image, version in ((own_python, sys.version_info[:2]), (base(), (3, 13))):
        image = (
            image.add_local_python_source("of_a_copy", copy=True)
            .env({"PYTHONPATH": "/opt/own"})
            .run_function(of_a_user.write, args=("/by-function",))
            .run_commands(
                "mkdir -p /opt/own && echo 'import of_a_copy' > /opt/own/of_its_own.py",
                "cd / && python3 -c 'import of_its_own as one; print(one.of_a_copy.WORD)' > /said",
            )
        )
        built, _ = build(image, store)
        assert (built.lowers[0] / "said").read_text() == "copied\n"
        said = (built.lowers[1] / "by-function").read_text()
        assert said == "copied {} {}\n".format(*version)
        assert dict(built.env)["PYTHONPATH"] == "/opt/own"


def test_a_module_that_the_image_lacks_is_named_with_what_brings_it_there(
    store: LayerStore, own_python: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "of_a_helper.py").write_text("WORD = 1\n")
    (tmp_path / "of_the_unlucky.py").write_text(
        "import of_a_helper\n"
        "def local():\n    import of_a_helper\n"
        "def mentions():\n    return of_a_helper.WORD\n"
        "def other():\n    import no_such_package.part\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import of_the_unlucky  # type: ignore[import-not-found]

    copied = r"add_local_python_source\('{}', copy=True\) before this step"
    for function in (of_the_unlucky.local, of_the_unlucky.mentions):
        said = f"of_a_helper is a module of the program.*{copied.format('of_a_helper')}"
        with pytest.raises(ImageBuildError, match=said):
            build(own_python.run_function(function), store)
    said = (
        f"lacks no_such_package: install it in a step before; .*{copied.format('no_such_package')}"
    )
    with pytest.raises(ImageBuildError, match=said):
        build(own_python.run_function(of_the_unlucky.other), store)


def test_a_function_that_turns_out_to_be_a_generator_makes_no_layer(
    store: LayerStore, own_python: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "of_a_lazy_user.py").write_text(_LAZY)
    monkeypatch.syspath_prepend(tmp_path)
    import of_a_lazy_user  # type: ignore[import-not-found]

    for image in (own_python, base()):
        with pytest.raises(ImageBuildError, match="it returned a generator, of which nothing ran"):
            build(image.run_function(of_a_lazy_user.lazily), store)


def test_a_function_runs_in_an_image_that_has_another_cloudpickle(
    store: LayerStore, own_python: Image, tmp_path: Path
) -> None:
    package = wheel(tmp_path / "wheels", "cloudpickle", "2.0.0")
    image = (
        own_python.add_local_file(package, "/wheels/", copy=True)
        .pip_install(f"/wheels/{package.name}", extra_options="--no-index --no-deps")
        .run_function(_write, args=("/made",), kwargs={"text": "made"})
    )
    built, _ = build(image, store)
    assert (built.lowers[0] / "made").read_text() == "made"


_MODULE = """
import rekindle
from rekindle import App, Image, Secret
from of_another import SUFFIX

secret = Secret.from_local_environ(["NOT_SET_IN_A_BUILD"])
image = Image.debian_slim()
with image.imports():
    import no_such_package

app = App("any", image=image)

class Place:
    def __init__(self, path):
        self.path = path

def write(place, *, text):
    import os, sys
    with open(place.path, "w") as file:
        file.write(text + SUFFIX + "{}.{} ".format(*sys.version_info) + os.environ["TOKEN"])
    with open("/shelf/from-a-build", "w") as file:
        file.write(text)
    print("wrote", place.path, "with", os.environ["TOKEN"])

def within():
    def inner():
        pass
    return inner
"""


def test_a_function_of_another_python_is_imported_in_the_image(
    store: LayerStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REKINDLE_VOLUMES", str(tmp_path / "volumes"))
    monkeypatch.setenv("NOT_SET_IN_A_BUILD", "1")
    (tmp_path / "of_a_program.py").write_text(_MODULE)
    (tmp_path / "of_another.py").write_text("SUFFIX = ' by '\n")
    monkeypatch.syspath_prepend(tmp_path)
    import of_a_program  # type: ignore[import-not-found]

    place = of_a_program.Place("/made")
    shelf = Volume.from_name("shelf", create_if_missing=True)
    image = base().run_function(
        of_a_program.write,
        args=[place],
        kwargs={"text": "written"},
        secrets=[Secret.from_dict({"TOKEN": "a-long-value"})],
        volumes={"/shelf": shelf},
    )
    built, said = build(image, store)
    assert (built.lowers[0] / "made").read_text() == "written by 3.13 a-long-value"
    assert files_of(built.lowers[0]) == {"made"}
    assert "wrote /made with <TOKEN>" in said.lines
    assert b"".join(shelf.read_file("from-a-build")) == b"written"
    if sys.version_info[:2] != (3, 13):
        with pytest.raises(ImageBuildError, match="no import finds this function"):
            build(base().run_function(of_a_program.within()), store)
        by_value = base().run_function(of_a_program.write, args=[place], kwargs={"text": lambda: 1})
        with pytest.raises(ImageBuildError, match=r"code of Python 3\.\d+, and this is Python 3"):
            build(by_value, store)
