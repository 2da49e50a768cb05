"""What a process in an image has, and what is refused before it starts."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rekindle.exception import ImageBuildError, StartError
from rekindle.runtime.agent.starts import in_image, providing
from rekindle.runtime.agent.starts.node_context import NodeContext
from rekindle.runtime.agent.starts.revision import Revision
from rekindle.runtime.images import builder
from rekindle.runtime.images.built import BuiltImage
from rekindle.wire.images import ImageSpec, Step, StepKind
from rekindle.wire.spec import FunctionSpec
from rekindle.wire.volumes import VolumeMount

_SPEC = FunctionSpec(
    app_name="a",
    name="f",
    python_version="3.11.7",
    image=ImageSpec(steps=(Step(kind=StepKind.DEBIAN),)).to_json(),
)


@pytest.fixture
def image() -> BuiltImage:
    fields: dict[str, Any] = dict.fromkeys(one.name for one in dataclasses.fields(BuiltImage))
    fields |= {
        "name": "im",
        "lowers": (Path("/top"), Path("/base")),
        "env": (("PATH", "/opt/bin"), ("PYTHONPATH", "/own")),
        "python": "/usr/bin/python3",
        "python_version": "3.13",
        "mounts": (),
    }
    return BuiltImage(**fields)


def test_it_has_the_images_variables_and_none_that_name_places_of_the_node(
    image: BuiltImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", "/home/me/venv")
    monkeypatch.setenv("TZ", "Europe/Berlin")
    env = in_image.environment(image)
    assert env["PATH"] == "/opt/bin" and env["TZ"] == "Europe/Berlin"
    assert "VIRTUAL_ENV" not in env and env["HOME"] == "/root"
    assert in_image.import_path(image, {})["PYTHONPATH"].split(":") == [
        *(in_image.LIBRARY, "/root", "/own")
    ]


def test_only_files_that_are_shown_can_change_under_a_template() -> None:
    loaded = {"/usr/lib/python3/os.py": [1, 2], "/node/vol/x": [3, 4], "/node/vol": [5, 6]}
    seen = in_image.seen_from_node(loaded, [["/vol", "/node/vol"]])
    assert seen == {"/node/vol/x": [3, 4], "/node/vol": [5, 6]}


def test_files_of_an_image_and_of_its_snapshot_are_found_on_the_node(tmp_path: Path) -> None:
    for layer, names in (("top", ["both"]), ("base", ["both", "below"])):
        (tmp_path / layer).mkdir()
        for name in names:
            (tmp_path / layer / name).write_text(layer)
    layers = [tmp_path / "top", tmp_path / "base"]
    kept = tmp_path / "sn-1"
    assert in_image.on_node("/both", kept, layers) == str(tmp_path / "top" / "both")
    assert in_image.on_node("/below", kept, layers) == str(tmp_path / "base" / "below")
    assert in_image.on_node("/neither", kept, layers) == ""
    page = in_image.on_node(f"{in_image.SNAPSHOT}/made-1/images/pages-1.img", kept, layers)
    assert page == f"{kept}/made-1/images/pages-1.img"


def test_a_runner_finds_its_volumes_by_name_and_at_their_places() -> None:
    mounts = [
        VolumeMount(path="/a", name="v", environment="main"),
        VolumeMount(path="/b", name="", environment="", url="s3://bucket"),
    ]
    binds: list[Any] = [
        {"root": "/node/v", "below": "part", "source": "/node/v/part", "target": path}
        for path in ("/a", "/b")
    ]
    one, two = in_image.seen_there(binds, mounts)
    assert one["root"] == f"{in_image.VOLUMES}/main/v/files" and one["source"] == "/a"
    assert two["root"] == "/b" and two["below"] == ""


def _provided(monkeypatch: pytest.MonkeyPatch, spec: FunctionSpec, ensure: Any) -> Any:
    monkeypatch.setattr(builder, "ensure", ensure)
    asked: list[object] = []

    async def roots_of(*given: object) -> str:
        asked.append(given)
        return "roots"

    revision = SimpleNamespace(
        spec=spec,
        label="a.f",
        source_dir=None,
        image_is_known=False,
        providing=asyncio.Lock(),
        is_in=lambda *given: asked.append(given),
    )
    context = SimpleNamespace(images=SimpleNamespace(roots_of=roots_of))

    async def twice() -> list[bool]:
        both = cast(NodeContext, context), cast(Revision, revision)
        return [await providing.provide(*both) for _ in range(2)]

    return asyncio.run(twice()), asked


def test_an_image_is_looked_for_once_and_the_nodes_own_files_are_none(
    image: BuiltImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = dataclasses.replace(_SPEC, module="m", qualname="f")
    waited, asked = _provided(monkeypatch, spec, lambda _spec: image)
    assert waited == [True, False] and asked[1] == (image, "roots")
    waited, asked = _provided(monkeypatch, spec, lambda _spec: None)
    assert waited == [True, False] and asked == []
    waited, asked = _provided(monkeypatch, dataclasses.replace(spec, image=""), None)
    assert waited == [False, False] and asked == []


def test_a_build_that_fails_and_code_of_another_python_are_errors_of_the_start(
    image: BuiltImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_spec: object) -> None:
        raise ImageBuildError("pip_install('x') failed; the last that it printed: no x", "ab")

    with pytest.raises(StartError, match=r"the image of a\.f: pip_install.*no x"):
        _provided(monkeypatch, dataclasses.replace(_SPEC, module="m"), fails)
    with pytest.raises(StartError, match=r"a\.f cannot run: it is sent as code of Python 3\.11"):
        _provided(monkeypatch, _SPEC, lambda _spec: image)
