"""Names of snapshots: all that matters is in them, and differences are told in words."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rekindle.snapshot import key, machine
from rekindle.snapshot.criu import Criu
from rekindle.snapshot.key import Ingredients
from rekindle.wire.spec import FunctionSpec
from tests import unlistable
from tests.snapshot.conftest import ingredients

_CRIU = Criu(("criu",), "4.1.1", "/usr/sbin/criu")


def _changed(field: dataclasses.Field[object]) -> Ingredients:
    value = getattr(ingredients(), field.name)
    other: object
    if isinstance(value, dict):
        other = {**value, "new": "1.0"}
    elif isinstance(value, tuple):
        other = (*value, "new")
    elif isinstance(value, int):
        other = value + 1
    else:
        other = value + "x"
    return ingredients(**{field.name: other})


@pytest.mark.parametrize("field", dataclasses.fields(Ingredients), ids=lambda field: field.name)
def test_every_ingredient_changes_the_name_and_is_told(field: dataclasses.Field[object]) -> None:
    changed = _changed(field)
    assert changed.key() != ingredients().key()
    assert len(key.differences(ingredients(), changed)) == 1


def test_equal_ingredients_have_one_name_and_no_difference() -> None:
    assert ingredients().key() == ingredients().key()
    reordered = ingredients(packages=dict(reversed(ingredients().packages.items())))
    assert reordered.key() == ingredients().key()
    assert key.differences(ingredients(), ingredients()) == []


def test_a_name_has_the_prefix_and_twenty_digits() -> None:
    assert len(ingredients().key()) == 23
    assert ingredients().key().startswith("sn-")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"code_digest": "x"}, "code changed"),
        ({"hooks_digest": "x"}, "an enter(snap=True) hook changed"),
        ({"source_digest": "x"}, "source tree changed"),
        ({"kernel": "6.19.0 #2"}, "kernel changed: 6.18.0 #1 -> 6.19.0 #2"),
        ({"cpu_features": ("avx",)}, "CPU features missing: avx2"),
        ({"cpu_features": ("amx", "avx", "avx2")}, "CPU features added: amx"),
        ({"criu": "4.2"}, "CRIU changed: 4.1.1 -> 4.2"),
        ({"packages": {"torch": "2.13.0 aa"}}, "package removed: numpy 2.1.0"),
        (
            {"packages": {"torch": "2.13.1 cc", "numpy": "2.1.0 bb"}},
            "package changed: torch 2.13.0 -> 2.13.1",
        ),
        (
            {"packages": {"torch": "2.13.0 XX", "numpy": "2.1.0 bb"}},
            "package changed: torch 2.13.0 (other files)",
        ),
        (
            {"packages": {"torch": "2.13.0 aa", "numpy": "2.1.0 bb", "rich": "15.0 dd"}},
            "package added: rich 15.0",
        ),
    ],
)
def test_differences_are_told_in_words(changes: dict[str, object], words: str) -> None:
    assert key.differences(ingredients(), ingredients(**changes)) == [words]


@given(
    st.frozensets(st.sampled_from(["avx", "avx2", "sse", "amx"])),
    st.frozensets(st.sampled_from(["avx", "avx2", "sse", "amx"])),
)
def test_a_processor_suits_when_it_has_every_feature_of_the_snapshot(
    made_with: frozenset[str], present: frozenset[str]
) -> None:
    old = ingredients(cpu_features=tuple(sorted(made_with)))
    new = ingredients(cpu_features=tuple(sorted(present)))
    assert (key.machine_differences(old, new) == []) == (made_with <= present)


# ---- gathering on this machine -------------------------------------------------------------


def test_the_same_function_has_the_same_ingredients_twice() -> None:
    spec = FunctionSpec(app_name="shop", name="Model", python=sys.executable, code_digest="1")
    assert key.gather(spec, criu=_CRIU) == key.gather(spec, criu=_CRIU)


def test_parameters_and_environment_make_other_snapshots() -> None:
    spec = FunctionSpec(app_name="shop", name="Model", python=sys.executable, env={"A": "1"})
    plain = key.gather(spec, criu=_CRIU)
    assert key.differences(plain, key.gather(spec, criu=_CRIU, params=b"x")) == [
        "parameters changed"
    ]
    assert key.differences(plain, key.gather(spec, criu=_CRIU, env={"A": "2"})) == [
        "environment variables changed"
    ]


def test_limits_of_a_function_do_not_make_another_snapshot() -> None:
    spec = FunctionSpec(app_name="shop", name="Model", python=sys.executable)
    other = dataclasses.replace(spec, timeout_s=1.0, max_containers=3)
    assert key.gather(spec, criu=_CRIU).key() == key.gather(other, criu=_CRIU).key()


def test_environment_values_are_not_in_the_ingredients() -> None:
    spec = FunctionSpec(app_name="a", name="f", python=sys.executable, env={"X": "hunter2"})
    assert "hunter2" not in str(key.gather(spec, criu=_CRIU))


def test_rekindles_own_runtime_is_an_ingredient() -> None:
    assert len(key.runtime_digest()) == 64


@pytest.mark.parametrize(
    ("text", "features"),
    [
        ("processor\t: 0\nflags\t\t: sse avx sse\n\nprocessor: 1\nflags: amx\n", ("avx", "sse")),
        ("processor\t: 0\nFeatures\t: fp asimd\n", ("asimd", "fp")),
        ("", ()),
    ],
)
def test_cpu_features_are_those_of_the_first_processor(
    text: str, features: tuple[str, ...]
) -> None:
    assert machine.parse_cpu_features(text) == features


def test_another_executable_is_another_python(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("one")
    before = machine.python_identity(str(python), "3.11.7")
    python.write_text("another")
    assert machine.python_identity(str(python), "3.11.7") != before
    python.unlink()
    assert "3.11.7" in machine.python_identity(str(python), "3.11.7")


def test_a_part_of_rekindle_that_cannot_be_listed_is_not_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unlistable.make(monkeypatch, Path(key.__file__).parents[1] / "wire")
    with pytest.raises(PermissionError):
        key.runtime_digest.__wrapped__()
