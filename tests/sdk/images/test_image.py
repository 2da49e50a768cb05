"""Image: what is declared, what it comes to, and what cannot be."""

from __future__ import annotations

import functools
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import rekindle
from rekindle import Image, Secret
from rekindle.exception import ImageError, InvalidError, RequestSizeError, SerializationError
from rekindle.sdk.images import builds
from rekindle.wire.images import VARIABLE, ImageSpec, StepKind, StepSecret, names
from rekindle.wire.spec import FunctionSpec
from rekindle.wire.volumes import VolumeMount
from tests.sdk.images.declared_images import last_step, slim

pytestmark = pytest.mark.usefixtures("own_images")


FACTOR = 2


def _name(image: Image) -> str:
    return list(names(image.spec().steps))[-1]


# ---- declaring ---------------------------------------------------------------------------------


def test_each_step_gives_a_new_image_and_leaves_the_old_one() -> None:
    base = slim()
    more = base.pip_install("numpy")
    assert [step.kind for step in base.spec().steps] == [StepKind.DEBIAN]
    assert [step.title for step in more.spec().steps] == [
        "debian_slim('3.13')",
        "pip_install('numpy')",
    ]


def test_packages_are_installed_by_lines_that_quote_what_is_asked_for() -> None:
    image = slim().pip_install(
        "torch>=2", ["numpy"], index_url="https://i/", pre=True, extra_options="--no-deps"
    )
    (line,) = last_step(image).commands
    assert line == ("python -m pip install numpy 'torch>=2' --index-url https://i/ --pre --no-deps")
    assert last_step(slim().apt_install("jq", "curl")).commands[1].endswith("curl jq")
    step = last_step(slim().uv_pip_install("six"))
    assert (step.commands, step.tools) == (("uv pip install six",), ("uv",))
    step = last_step(slim().uv_pip_install("six", uv_version="0.8.4"))
    assert (step.commands, step.tools) == (("uv pip install six",), ("uv==0.8.4",))
    for wrong in ("", ">=0.8", 8, "0.8 --index-url x"):
        with pytest.raises(InvalidError, match="must be a version"):
            slim().uv_pip_install("six", uv_version=wrong)  # type: ignore[arg-type]


def test_the_order_of_packages_does_not_count() -> None:
    assert _name(slim().pip_install("a", "b")) == _name(slim().pip_install(["b", "a", "b"]))
    assert _name(slim().run_commands("a", "b")) != _name(slim().run_commands("b", "a"))


def test_requirement_files_count_by_what_they_say(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("six==1.16\n")
    image = slim().pip_install_from_requirements(file)
    before = _name(image)
    file.touch()
    assert _name(image) == before
    file.write_text("six==1.17\n")
    assert _name(image) != before


def test_the_dependencies_of_a_pyproject_are_installed_with_those_of_its_extras(
    tmp_path: Path,
) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text(
        "[project]\nname='x'\ndependencies=['six']\n[project.optional-dependencies]\nm=['idna']\n"
    )
    (line,) = last_step(slim().pip_install_from_pyproject(file, ["m"])).commands
    assert line == "python -m pip install idna six"
    with pytest.raises(InvalidError, match=r"no optional dependencies 'mm'; did you mean 'm'"):
        slim().pip_install_from_pyproject(file, ["mm"]).spec()


def test_a_uv_lock_is_read_and_installed_into_the_images_own_python(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "uv.lock"):
        (tmp_path / name).write_text("")
    step = last_step(slim().uv_sync(tmp_path, groups=["dev"]))
    assert "--frozen --group dev" in step.commands[0]
    assert [Path(one.target).name for one in step.files] == ["pyproject.toml", "uv.lock"]


def test_what_debian_has_not_comes_by_uv() -> None:
    assert [step.kind for step in slim().spec().steps] == [StepKind.DEBIAN]
    steps = Image.debian_slim("3.12").spec().steps
    assert steps[0].arguments == {"python": "3.13"}
    assert steps[1].title == "Python 3.12 by uv"


def test_packages_of_conda_are_beside_a_python_of_conda() -> None:
    steps = Image.micromamba("3.12").micromamba_install("numpy", channels=["a"]).spec().steps
    _base, python, settings, packages = steps
    assert python.commands[0].endswith("--channel conda-forge python=3.12 pip")
    assert settings.env["PATH"].startswith("/opt/conda/bin:")
    assert packages.commands == (
        "micromamba install --yes --quiet --prefix /opt/conda --channel a numpy",
    )
    assert python.tools == packages.tools == ("micromamba",)


def test_without_a_version_it_is_that_of_the_program() -> None:
    version = "{}.{}".format(*sys.version_info)
    assert f"debian_slim('{version}')" in repr(Image.debian_slim())


@pytest.mark.parametrize("version", ["3", "3.13.1", "3.9", "3.99", "three", 3.13])
def test_a_python_that_functions_do_not_run_on_is_refused(version: str) -> None:
    with pytest.raises(InvalidError, match="python_version="):
        Image.debian_slim(version)


@pytest.mark.parametrize(
    ("declare", "said"),
    [
        (lambda: slim().pip_install(), "pip_install"),
        (lambda: slim().pip_install("a", 3), "give names as strings"),
        (lambda: slim().run_commands(1), "give commands as strings"),
        (lambda: slim().pip_install("a", pre="yes"), "pre='yes' must be True or False"),
        (lambda: slim().env({"": "c"}), "Image.env"),
        (lambda: slim().workdir("here"), "must be an absolute path"),
        (lambda: slim().entrypoint("sh -c"), "give a list of words"),
        (lambda: slim().add_local_dir(".", "../x"), "must be an absolute path"),
        (
            lambda: slim().add_local_dir(".", "/x", ignore=1),
            "ignore=1 must be a list of patterns",
        ),
        (lambda: slim().add_local_dir(".", "/proc"), "/proc is the kernel's"),
        (lambda: slim().add_local_file("f", "/sys/x"), "/sys is the kernel's"),
        (lambda: slim().add_local_file("f", "/dev/x", copy=True), "/dev is the kernel's"),
        (lambda: slim().add_local_file("f", "/."), "/ is a folder: name the file, too"),
        (lambda: slim().add_local_dir(".", "/.rekindle"), "has what is rekindle's own"),
        (
            lambda: slim().add_local_file("f", "/.rekindle/lib/", copy=True),
            "is rekindle's own",
        ),
        (
            lambda: slim().add_local_dir(".", "/run/x", copy=True),
            "/run is empty at each start",
        ),
        (lambda: slim().workdir("/.rekindle/x"), "is rekindle's own"),
        (lambda: slim().shell([]), "give a list of words"),
        (lambda: slim().cmd(5), "give a list of words"),
        (lambda: slim().run_function(_fill, args=5), "args=5. must be a list"),
        (lambda: slim().run_function(_fill, args="ab"), "args='ab'. must be a list"),
        (lambda: slim().run_function(_fill, kwargs=[1]), "must be a dict of arguments"),
        (lambda: slim().run_function(_fill, kwargs={1: 2}), "must be a dict of arguments"),
        (
            lambda: slim().run_function(_fill, args=(1, 2, 3)),
            r"_fill\(count: .*: too many positional arguments",
        ),
        (lambda: slim().run_function(_fill), "missing a required argument: 'count'"),
        (lambda: slim().run_function(_fill, kwargs={"x": 1}), "these args= and kwargs=: "),
        (lambda: slim().add_local_python_source("a.b"), "name modules at the top"),
        (lambda: slim().run_function(lambda: None), "write a function with a name"),
        (lambda: slim().run_function(3), "give a function"),
        (lambda: Image.host().pip_install("a"), "are read-only"),
        (lambda: Image.host().add_local_dir(".", "/x"), "are read-only"),
        (lambda: Image.from_registry(""), "name an image"),
        (lambda: Image.from_registry("a b"), "is no name of an image: write NAME"),
        (lambda: Image.from_registry("UPPER/x"), "in small letters"),
        (lambda: Image.from_registry("https://x/y"), "https is no source of images here"),
        (lambda: Image.from_registry("docker-daemon:x"), "docker-daemon is no source of images"),
        (
            lambda: slim().add_local_dir(".", "/x").run_commands("ls"),
            "put it first, or give that one copy=True",
        ),
        (lambda: slim().run_commands("a", secrets=["a-name"]), "Secret.from_name"),
        (lambda: slim().run_commands("a", volumes={"/x": "a-name"}), "at /x is a str"),
        (
            lambda: slim().run_commands("a", volumes={"x": "a-name"}),
            "must be an absolute path",
        ),
        (lambda: slim().run_function(_fill, args=(1,), volumes={"/x": 3}), "at /x is an int"),
        (lambda: slim().run_function(functools.partial(_fill, 1)), "it is a partial; give a"),
        (lambda: slim().run_function(print), "it is a builtin_function_or_method; give a"),
        (
            lambda: slim().run_function("f".upper),
            "which calls it, and what it is called with",
        ),
        (lambda: slim().run_function(_never), "not async"),
        (lambda: slim().run_function(_lazily), "a generator, of which nothing runs"),
        (lambda: rekindle.App("a", image="debian"), "must be a rekindle.Image"),
        (lambda: rekindle.App("a").function(image="debian"), "must be a rekindle.Image"),
    ],
)
def test_what_cannot_be_is_refused_where_it_is_declared(declare: object, said: str) -> None:
    with pytest.raises(InvalidError, match=said):
        declare()  # type: ignore[operator]


async def _never() -> None: ...


def _lazily() -> Iterator[None]:
    yield


def test_apt_takes_no_option_of_pip() -> None:
    for option in ("pre", "find_links", "index_url", "extra_options"):
        with pytest.raises(TypeError, match=f"apt_install got an unexpected keyword .*{option}"):
            slim().apt_install("a", **{option: True})  # type: ignore[arg-type]


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(TypeError, match=r"unexpected keyword.*did you mean 'index_url'"):
        slim().pip_install("a", indx_url="x")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "tag",
    [
        *(
            "debian",
            "python:3.13-slim",
            "docker://python",
            "me/x:1",
            "localhost/x",
            "localhost:5000/x",
        ),
        *("ghcr.io/me/x__y.z:Tag_1", "Host.example:5000/a/b-c", "registry:5000/x", "http:3"),
        *("10.0.0.1:5000/x", "[::1]:5000/x:2", "quay.io/x@sha256:" + "0" * 64),
    ],
)
def test_what_docker_takes_for_an_image_is_one_here(tag: str) -> None:
    (step,) = Image.from_registry(tag).spec().steps
    assert step.arguments["image"] == f"docker://{tag.removeprefix('docker://')}"


def test_what_is_no_saved_image_is_refused_when_the_app_is_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for kind, place, said in (
        ("oci", "", "is no folder of an image: it has no index.json"),
        ("dir", "", "is no folder of an image: it has no manifest.json"),
        ("oci", "file", "it has no index.json"),
        ("docker-archive", "", "is no file: a folder is oci:FOLDER or dir:FOLDER"),
        ("oci-archive", "none", "there is no"),
    ):
        image = Image.from_registry(f"{kind}:{tmp_path / place}")
        with pytest.raises(InvalidError, match=said):
            image.spec()


# ---- functions as steps ------------------------------------------------------------------------


def _fill(count: int) -> int:
    return count * FACTOR


def test_a_function_counts_by_source_arguments_and_the_values_that_it_mentions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step = last_step(slim().run_function(_fill, args=(1,)))
    assert step.kind is StepKind.CALL and step.files[0].target.endswith("function.pkl")
    name = _name(slim().run_function(_fill, args=(1,)))
    assert _name(slim().run_function(_fill, args=(1,))) == name
    assert _name(slim().run_function(_fill, args=(2,))) != name
    monkeypatch.setattr(sys.modules[__name__], "FACTOR", 3)
    assert _name(slim().run_function(_fill, args=(1,))) != name


def test_a_function_that_cannot_travel_says_why() -> None:
    with pytest.raises(SerializationError, match="cannot be pickled"):
        slim().run_function(_fill, args=(sys._getframe(),)).spec()
    with pytest.raises(RequestSizeError, match="add large data"):
        slim().run_function(_fill, args=(b"x" * (3 << 20),)).spec()


def test_values_of_secrets_are_in_nothing_that_travels() -> None:
    secret = Secret.from_dict({"TOKEN": "a-value"})
    image = slim().run_commands("x", secrets=[secret])
    assert "a-value" not in image.spec().to_json()
    assert last_step(image).secrets == ("TOKEN",)


def test_steps_whose_secrets_have_other_values_by_one_name_are_refused() -> None:
    one, two = Secret.from_dict({"TOKEN": "1"}), Secret.from_dict({"TOKEN": "2"})
    assert slim().run_commands("x", secrets=[one, two]).secret_values() == {"TOKEN": "2"}
    image = slim().run_commands("x", secrets=[one]).run_commands("y", secrets=[two])
    with pytest.raises(InvalidError, match="another TOKEN than a step before"):
        image.secret_values()


def test_a_secret_by_name_is_in_the_name_of_its_step_and_its_values_are_the_builders_to_ask_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    named = Secret.from_name("index", required_keys=["PIP_INDEX_URL"])
    plain = Secret.from_dict({"LATER": "1"})
    step = last_step(slim().pip_install("six", secrets=[named, plain]))
    assert step.secrets == ("LATER",)
    assert step.named_secrets == (
        StepSecret(
            name="index", environment="main", required_keys=("PIP_INDEX_URL",), kept=("LATER",)
        ),
    )
    spec = slim().pip_install("six", secrets=[named]).spec()
    assert ImageSpec.from_json(spec.to_json()) == spec
    name = _name(slim().pip_install("six", secrets=[named]))
    assert name != _name(slim().pip_install("six"))
    assert name != _name(slim().pip_install("six", secrets=[Secret.from_name("other")]))
    monkeypatch.setenv("REKINDLE_ENVIRONMENT", "other")
    assert name != _name(slim().pip_install("six", secrets=[named]))


# ---- in runners --------------------------------------------------------------------------------


def test_local_files_in_a_volume_are_refused_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "f.txt").write_text("f")
    monkeypatch.setattr(builds, "all_there", lambda spec: pytest.fail("it is built"))
    volume = VolumeMount(path="/data", name="corpus")
    inside = FunctionSpec(app_name="a", name="reads", volumes=(volume,))
    for image in (
        slim().add_local_file(folder / "f.txt", "/data/conf/f.txt"),
        slim().add_local_dir(folder, "/data"),
    ):
        with pytest.raises(InvalidError, match=r"^reads: add_local_.*/data.* the volume 'corpus'"):
            builds.placed([inside], [image], lambda: tmp_path)
    beside = slim().add_local_file(folder / "f.txt", "/database/f.txt")
    monkeypatch.setattr(builds, "all_there", lambda spec: True)
    (placed,) = builds.placed([inside], [beside], lambda: tmp_path)
    assert ImageSpec.from_json(placed.image).steps[-1].files[0].target == "/database/f.txt"


def test_in_pickled_code_an_image_is_a_name() -> None:
    image = slim().pip_install("six")
    again = pickle.loads(pickle.dumps(image))
    assert again._declared == image._declared
    assert image._declared == slim().pip_install("six")._declared
    assert image._declared != slim().pip_install("seven")._declared


def test_imports_of_an_image_are_missed_in_its_own_runners_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = slim().pip_install("six")
    with image.imports():
        import no_such_module
    monkeypatch.setattr("rekindle.execution.context.is_local", lambda: False)
    monkeypatch.setenv(VARIABLE, slim()._declared)
    with image.imports():
        import no_such_module
    monkeypatch.setenv(VARIABLE, image._declared)
    with pytest.raises(ImportError), image.imports():
        import no_such_module  # noqa: F401
    with pytest.raises(ZeroDivisionError), image.imports():
        _ = 1 / 0


@pytest.mark.parametrize(
    ("text", "forced"),
    [("", False), ("0", False), ("no", False), ("False", False), ("1", True), ("yes", True)],
)
def test_the_environment_forces_a_build_where_it_says_yes(
    text: str, forced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REKINDLE_FORCE_BUILD", text)
    spec = Image.debian_slim("3.13").run_commands("true").spec()
    assert [step.force for step in spec.steps] == [forced, forced]
    monkeypatch.setenv("REKINDLE_FORCE_BUILD", "perhaps")
    with pytest.raises(InvalidError, match="REKINDLE_FORCE_BUILD='perhaps' must be 1, or 0"):
        Image.debian_slim("3.13").run_commands("true").spec()


def test_a_build_that_ends_before_it_was_told_what_to_build_is_an_error_of_the_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(builds, "_MODULE", "rekindle.no_such_module")
    image = slim().run_commands(": " + "x" * (1 << 20))  # more than a pipe holds
    with pytest.raises(ImageError, match="ended with status 1"):
        builds.built(image, Path)


def _build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *lines: str) -> list[tuple[str, str]]:
    """What is shown of a build whose process is this program."""
    (tmp_path / "a_build.py").write_text("\n".join(["import os, sys", *lines]))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(builds, "_MODULE", "a_build")
    seen: list[tuple[str, str]] = []
    builds.built(slim(), Path, lambda step, line: seen.append((step, line)))
    return seen


def test_what_something_else_prints_in_the_process_of_a_build_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ("hello", "[1]", '{"step": "one", "line": "done"}', '{"built": "x"}', "bye")
    seen = _build(tmp_path, monkeypatch, *(f"print({line!r})" for line in lines))
    assert seen == [("", "hello"), ("", "[1]"), ("one", "done"), ("", "bye")]


def test_a_build_that_is_killed_within_a_line_is_an_error_of_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    says = """sys.stdout.write('{"built": "x'); sys.stdout.flush(); os.kill(os.getpid(), 9)"""
    with pytest.raises(ImageError, match="ended with status -9"):
        _build(tmp_path, monkeypatch, says)


@pytest.mark.parametrize("text", ["{", "[]", "{}", "\xff"])
def test_a_layer_whose_record_is_damaged_is_not_there_and_has_no_known_python(
    own_images: Path, text: str
) -> None:
    image = slim()
    record = own_images / "images" / "layers" / _name(image) / "layer.json"
    record.parent.mkdir(parents=True)
    record.write_bytes(text.encode("latin-1"))
    assert not builds.all_there(image.spec())
    assert builds._python_of(image.spec()) == ""
