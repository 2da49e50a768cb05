"""What a process in an image has, and what is refused before it starts."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rekindle.exception import ImageBuildError, StartError
from rekindle.runtime.agent.starts import in_image, revision_image
from rekindle.runtime.agent.starts.node_context import NodeContext
from rekindle.runtime.agent.starts.revision import Revision
from rekindle.runtime.images import builder
from rekindle.runtime.images.built import BuiltImage, identity
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
        "layers": ((1, 2), (3, 4)),
        "env": (("PATH", "/opt/bin"), ("PYTHONPATH", "/own")),
        "python": "/usr/bin/python3",
        "python_version": "3.13",
        "mounts": (),
    }
    return BuiltImage(**fields)


def test_it_has_the_images_variables_and_none_that_name_places_of_the_node(
    image: BuiltImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", "/home/user/venv")
    monkeypatch.setenv("TZ", "Europe/Berlin")
    env = in_image.environment(image)
    assert env["PATH"] == "/opt/bin" and env["TZ"] == "Europe/Berlin"
    assert "VIRTUAL_ENV" not in env and env["HOME"] == "/root"
    assert in_image.import_path(image, {})["PYTHONPATH"].split(":") == [
        *(in_image.LIBRARY, "/root", "/own")
    ]


def test_a_process_that_its_entrypoint_did_not_start_is_told_with_it(image: BuiltImage) -> None:
    by = dataclasses.replace(image, entrypoint=("/bin/true", "a b"))
    blank = Revision(_SPEC, b"", b"", None, cast(Any, None))
    started = [dataclasses.replace(blank, image=one).process() for one in (None, image, by)]
    assert started[:2] == ["a new process"] * 2
    assert "by the image's entrypoint `/bin/true 'a b'`" in started[2]


def test_an_image_has_its_own_python_whichever_its_program_had(image: BuiltImage) -> None:
    spec = dataclasses.replace(_SPEC, python="/nowhere/python")
    revision = Revision(spec, b"", b"", None, cast(Any, None))
    assert revision.why_other_python()
    revision.image = image
    assert not revision.why_other_python()


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


@dataclasses.dataclass
class _Revision:
    """What of a revision is asked."""

    spec: FunctionSpec
    image: BuiltImage | None = None
    image_is_known: bool = False
    label: str = "a.f"
    source_dir: None = None
    forgotten: int = 0
    providing: asyncio.Lock = dataclasses.field(default_factory=asyncio.Lock)

    def is_in(self, image: BuiltImage, roots: object) -> None:
        assert roots == "roots"
        self.image = image

    def forget_image(self) -> None:
        self.forgotten += 1
        self.image, self.image_is_known = None, False

    @property
    def tracker(self) -> _Revision:
        return self

    async def refresh(self) -> None: ...


def _provide(monkeypatch: pytest.MonkeyPatch, revision: _Revision, ensure: Any) -> bool:
    monkeypatch.setattr(builder, "ensure", lambda spec, **_given: ensure(spec))

    async def roots_of(*_given: object) -> str:
        return "roots"

    async def have(_image: BuiltImage, _say: object) -> None:
        """Its layers were built here."""

    layers = SimpleNamespace(have=have, serves=lambda _image: True)
    context = SimpleNamespace(
        images=SimpleNamespace(roots_of=roots_of),
        settings=SimpleNamespace(instance_dir=Path("/instance")),
        layers=layers,
    )
    provided = revision_image.ensure_image(cast(NodeContext, context), cast(Revision, revision))
    return asyncio.run(provided)


def test_an_image_is_looked_for_once_and_again_where_its_layers_are_gone(
    image: BuiltImage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    layer = tmp_path / "layer"
    layer.mkdir()
    image = dataclasses.replace(image, lowers=(layer,), layers=(identity(layer),))
    revision = _Revision(dataclasses.replace(_SPEC, module="m", qualname="f"))
    assert _provide(monkeypatch, revision, lambda _spec: image) and revision.image is image
    assert not _provide(monkeypatch, revision, None)
    layer.rename(tmp_path / "gone")
    layer.mkdir()  # another build
    again = dataclasses.replace(image, layers=(identity(layer),))
    assert _provide(monkeypatch, revision, lambda _spec: again)
    assert revision.image is again and revision.forgotten == 1
    layer.rmdir()
    shown = ((tmp_path / "shown", "/shown"),)
    other = dataclasses.replace(image, lowers=(), layers=(), mounts=shown)
    assert _provide(monkeypatch, revision, lambda _spec: other)
    assert revision.image is other and revision.forgotten == 2
    # So are copies of local files that were removed: what finds it says so.
    assert _provide(monkeypatch, revision, lambda _spec: other) and revision.forgotten == 3
    (tmp_path / "shown").touch()
    assert not _provide(monkeypatch, revision, None)


def test_the_nodes_own_files_are_no_image(monkeypatch: pytest.MonkeyPatch) -> None:
    revision = _Revision(dataclasses.replace(_SPEC, module="m"))
    assert _provide(monkeypatch, revision, lambda _spec: None) and revision.image is None
    assert not _provide(monkeypatch, revision, None)
    assert not _provide(monkeypatch, _Revision(dataclasses.replace(_SPEC, image="")), None)


def test_a_build_that_fails_and_code_of_another_python_are_errors_of_the_start(
    image: BuiltImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_spec: object) -> None:
        raise ImageBuildError("pip_install('x') failed; the last that it printed: no x", "ab")

    with pytest.raises(StartError, match=r"the image of a\.f: pip_install.*no x"):
        _provide(monkeypatch, _Revision(dataclasses.replace(_SPEC, module="m")), fails)
    with pytest.raises(StartError, match=r"a\.f cannot run: it is sent as code of Python 3\.11"):
        _provide(monkeypatch, _Revision(_SPEC), lambda _spec: image)
