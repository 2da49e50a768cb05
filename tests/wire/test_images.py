"""Specs of images: they travel whole, and what can change a layer changes its name."""

from __future__ import annotations

import dataclasses
import json

import pytest

from rekindle.wire.images import ImageSpec, LocalFiles, Step, StepKind, names
from rekindle.wire.volumes import VolumeMount

_BASE = Step(kind=StepKind.DEBIAN, arguments={"python": "3.13"})
_FILES = (
    LocalFiles(target="/a", digest="1" * 32, source="a", kept="/kept/1"),
    LocalFiles(target="/b", digest="2" * 32, source="b", kept="/kept/2"),
)
_RUN = Step(
    kind=StepKind.RUN,
    title="run_commands('x')",
    commands=("x", "y"),
    files=_FILES,
    env={"A": "1"},
    secrets=("TOKEN",),
    volumes=(VolumeMount(path="/v", name="v"),),
    tools=("uv",),
)


def _name(*steps: Step, machine: str | None = None) -> str:
    return list(names(steps, machine))[-1]


def test_a_spec_travels_whole_as_json() -> None:
    spec = ImageSpec(steps=(_BASE, _RUN), declared="abc")
    assert ImageSpec.from_json(spec.to_json()) == spec


def test_fields_of_a_newer_peer_are_ignored() -> None:
    raw = json.loads(ImageSpec(steps=(_BASE, _RUN)).to_json())
    raw["later"] = raw["steps"][1]["later"] = raw["steps"][1]["files"][0]["later"] = 1
    assert ImageSpec.from_json(json.dumps(raw)).steps == (_BASE, _RUN)


@pytest.mark.parametrize(
    "change",
    [
        {"commands": ("x",)},
        {"commands": ("y", "x")},
        {"env": {"A": "2"}},
        {"secrets": ("OTHER",)},
        {"files": _FILES[:1]},
        {"files": (dataclasses.replace(_FILES[0], digest="3" * 32), _FILES[1])},
        {"volumes": ()},
        {"tools": ()},
        {"arguments": {"more": "1"}},
        {"kind": StepKind.CALL},
    ],
)
def test_what_can_change_a_layer_changes_its_name(change: dict[str, object]) -> None:
    changed = dataclasses.replace(_RUN, **change)  # type: ignore[arg-type]
    assert _name(_BASE, changed) != _name(_BASE, _RUN)


@pytest.mark.parametrize(
    "change",
    [
        {"title": "written otherwise"},
        {"files": _FILES[::-1]},
        {"files": tuple(dataclasses.replace(f, source="x", kept="/y") for f in _FILES)},
        {"timeout_s": 1.0},
        {"force": True},
    ],
)
def test_what_cannot_changes_none(change: dict[str, object]) -> None:
    changed = dataclasses.replace(_RUN, **change)  # type: ignore[arg-type]
    assert _name(_BASE, changed) == _name(_BASE, _RUN)


def test_a_name_holds_all_that_it_stands_on_and_the_platform() -> None:
    other = dataclasses.replace(_BASE, arguments={"python": "3.11"})
    assert _name(other, _RUN) != _name(_BASE, _RUN)
    assert _name(_BASE, machine="linux/aarch64") != _name(_BASE, machine="linux/x86_64")


def test_what_is_shown_at_start_changes_no_name() -> None:
    shown = Step(kind=StepKind.MOUNT, files=_FILES)
    assert _name(_BASE, shown) == _name(_BASE)


def test_a_variable_of_the_image_is_part_of_the_steps_after_it() -> None:
    settings = Step(kind=StepKind.SETTINGS, env={"A": "1"})
    assert _name(_BASE, settings, _RUN) != _name(_BASE, _RUN)
