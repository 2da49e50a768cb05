"""Bases from nothing: what takes minutes, and tools that are fetched."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from rekindle import Image
from rekindle.exception import ImageError
from rekindle.runtime.images import tools
from rekindle.runtime.images.builder import ensure
from rekindle.runtime.images.store import LayerStore
from rekindle.wire.images import names
from tests.images import BUILDS
from tests.runtime.images.registry import serving

pytestmark = [*BUILDS, pytest.mark.soak]


def _layer(files: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return data.getvalue()


def _saved(place: Path, layers: list[bytes], config: dict[str, object]) -> Path:
    """What `docker save` writes."""
    digests = [hashlib.sha256(layer).hexdigest() for layer in layers]
    about = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{one}" for one in digests]},
        }
    ).encode()
    files = {f"{digest}.tar": layer for digest, layer in zip(digests, layers, strict=True)}
    listed = [{"Config": "config.json", "RepoTags": ["saved:1"], "Layers": list(files)}]
    files |= {"config.json": about, "manifest.json": json.dumps(listed).encode()}
    place.write_bytes(_layer(files))
    return place


def test_what_docker_saved_is_a_base_with_its_settings_and_without_what_it_removed(
    store: LayerStore, tmp_path: Path
) -> None:
    if not all(tools.has(store.root, name) for name in tools.OCI):
        tools.fetch_oci(store.root, lambda *_: None)
    layers = [_layer({"etc/a": b"a", "etc/b": b"b"}), _layer({"etc/.wh.b": b"", "etc/c": b"c"})]
    config = {"Env": ["PATH=/bin", "COLOUR=green"], "WorkingDir": "/srv", "Entrypoint": ["run"]}
    image = Image.from_registry(f"docker-archive:{_saved(tmp_path / 'saved.tar', layers, config)}")
    with pytest.raises(ImageError, match="the image has no Python"):
        ensure(image.spec(), store=store)
    (name,) = names(image.spec().steps)
    layer = store.get(name)
    assert layer is not None
    assert layer.settings.env == {"PATH": "/bin", "COLOUR": "green"}
    assert (layer.settings.workdir, layer.settings.entrypoint) == ("/srv", ("run",))
    found = {file.name for file in (store.place(name) / "etc").iterdir()}
    assert found == {"a", "c"}


def test_an_image_is_the_same_from_a_folder_an_archive_and_a_registry_which_may_be_without_tls(
    store: LayerStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not all(tools.has(store.root, name) for name in tools.OCI):
        tools.fetch_oci(store.root, lambda *_: None)
    saved = _saved(tmp_path / "saved.tar", [_layer({"etc/a": b"a"})], {"WorkingDir": "/srv"})
    (tmp_path / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    skopeo = [*tools.find_oci(store.root, "skopeo"), f"--policy={tmp_path}/policy.json", "copy"]
    kinds = [f"oci:{tmp_path}/layout:1", f"oci-archive:{tmp_path}/archive", f"dir:{tmp_path}/dir"]
    for to in kinds:
        subprocess.run([*skopeo, "--quiet", f"docker-archive:{saved}", to], check=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home" / ".config" / "containers").mkdir(parents=True)
    with serving(tmp_path / "layout") as tag:
        with pytest.raises(ImageError, match=r"the registry has no TLS: .*registries\.conf"):
            ensure(Image.from_registry(tag).spec(), store=store)
        (tmp_path / "home" / ".config" / "containers" / "registries.conf").write_text(
            f'[[registry]]\nlocation = "{tag.partition("/")[0]}"\ninsecure = true\n'
        )
        for one in (*kinds, tag):
            image = Image.from_registry(one)
            with pytest.raises(ImageError, match="the image has no Python"):
                ensure(image.spec(), store=store)
            (name,) = names(image.spec().steps)
            layer = store.get(name)
            assert layer is not None and layer.settings.workdir == "/srv"
            assert (store.place(name) / "etc" / "a").read_text() == "a"
    with pytest.raises(ImageError, match=r"cannot be reached from here: .*oci-archive:FILE"):
        ensure(Image.from_registry(tag, force_build=True).spec(), store=store)


@pytest.mark.parametrize("version", ["3.11", "3.13"])
def test_a_debian_is_made_from_nothing(tmp_path: Path, version: str) -> None:
    store = LayerStore(tmp_path / "images")
    built = ensure(Image.debian_slim(version).spec(), store=store)
    assert built is not None and built.python_version == version
    (root,) = built.lowers
    assert not list((root / "dev").iterdir()) and not (root / "etc/resolv.conf").exists()
