"""Manifests: what is written is read back, and nothing else is accepted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rekindle.exception import SnapshotInvalidError
from rekindle.snapshot.manifest import ImageFile, LoadedFile, Manifest
from tests.snapshot.conftest import ingredients, manifest

_names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1).filter(
    lambda name: not name.startswith(".")
)
_sizes = st.integers(0, 1 << 62)


@given(
    files=st.dictionaries(_names, st.builds(ImageFile, _sizes, st.text("0123456789abcdef"))),
    loaded=st.dictionaries(st.text(), st.builds(LoadedFile, _sizes, st.integers())),
    reasons=st.lists(st.text()),
    packages=st.dictionaries(st.text(), st.text()),
    created=st.floats(allow_nan=False, allow_infinity=False),
)
def test_a_manifest_is_read_as_it_was_written(
    files: dict[str, ImageFile],
    loaded: dict[str, LoadedFile],
    reasons: list[str],
    packages: dict[str, str],
    created: float,
) -> None:
    written = manifest(
        ingredients(packages=packages),
        files=files,
        loaded_files=loaded,
        made_because=reasons,
        created=created,
    )
    assert Manifest.from_json(written.to_json()) == written


def _raw() -> dict[str, Any]:
    raw = json.loads(manifest(ingredients()).to_json())
    assert isinstance(raw, dict)
    return raw


@pytest.mark.parametrize("field", sorted(_raw()))
def test_a_field_that_is_missing_or_of_another_type_is_refused(field: str) -> None:
    others: list[Any] = [None, True, {"x": []} if field != "ingredients" else {}, ["x"]]
    for value in others:
        raw = _raw()
        if value is None:
            del raw[field]
        elif isinstance(value, type(raw[field])) and isinstance(value, list):
            continue  # a list of words is what it should be
        else:
            raw[field] = value
        with pytest.raises(SnapshotInvalidError, match="manifest"):
            Manifest.from_json(json.dumps(raw))


@pytest.mark.parametrize(("name", "value"), [("kernel", None), ("packages", "x")])
def test_an_ingredient_that_is_missing_or_of_another_type_is_refused(name: str, value: Any) -> None:
    raw = _raw()
    raw["ingredients"][name] = value
    with pytest.raises(SnapshotInvalidError, match=f"manifest's '{name}'"):
        Manifest.from_json(json.dumps(raw))
    del raw["ingredients"][name]
    with pytest.raises(SnapshotInvalidError, match=f"manifest's '{name}'"):
        Manifest.from_json(json.dumps(raw))


@pytest.mark.parametrize("name", ["../evil.img", "/etc/passwd", "a/b", "", ".hidden"])
def test_a_manifest_cannot_name_files_outside_the_images(name: str) -> None:
    raw = _raw()
    raw["files"][name] = [1, "00"]
    with pytest.raises(SnapshotInvalidError, match="outside the images"):
        Manifest.from_json(json.dumps(raw))


@given(st.text())
def test_any_other_text_is_refused_in_words(text: str) -> None:
    with pytest.raises(SnapshotInvalidError):
        Manifest.from_json(text)
