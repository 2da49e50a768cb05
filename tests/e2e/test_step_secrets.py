"""Secrets that an instance keeps, in steps of images: who gets values, and where none is."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from tests import images
from tests.e2e.harness import COMMAND, PATIENCE_S, Home

pytestmark = images.BUILDS

FIRST, SECOND = "swordfish-4714", "marlin-99-31"
_PROGRAM = """
    import json, os, sys
    import rekindle

    secret = rekindle.Secret.from_name("index", required_keys=["TOKEN"])
    image = rekindle.Image.debian_slim("3.13").run_commands(
        "echo the token is $TOKEN, as $WHO says",
        # Who lists processes sees no value.
        "cat /proc/[0-9]*/cmdline | tr '\\\\0' ' ' > /listed",
        "printf %s $TOKEN | sha256sum | cut -c 1-64 > /digest",
        secrets=[secret, rekindle.Secret.from_dict({"WHO": "the program"})],
        force_build="FORCE" in os.environ,
    )
    app = rekindle.App("secret-steps", image=image)

    @app.function()
    def look():
        return {
            "digest": open("/digest").read().strip(),
            "listed": open("/listed").read(),
            "environ": dict(os.environ),
        }

    @app.local_entrypoint()
    def main():
        print(json.dumps(look.remote()))
"""


@pytest.fixture
def home(home_with_base: Home) -> Home:
    """Its store of layers is its own, and has the base."""
    return home_with_base


def _keep(home: Home, value: str) -> None:
    subprocess.run(
        [COMMAND, "secret", "create", "index", "--force", "TOKEN=-"],
        input=value,
        env=home.environ,
        text=True,
        check=True,
        timeout=PATIENCE_S,
        capture_output=True,
    )


def _holding(place: Path, value: str) -> list[Path]:
    """Files below a folder that have a value in them."""
    return [
        path
        for path in place.rglob("*")
        if path.is_file() and not path.is_symlink() and value.encode() in path.read_bytes()
    ]


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def test_a_step_gets_the_values_of_a_named_secret_and_nobody_sees_them(home: Home) -> None:
    home.up()
    _keep(home, FIRST)
    script = home.script(_PROGRAM)
    done = home.run(script)
    found = done.value
    assert found["digest"] == _digest(FIRST)
    assert FIRST not in json.dumps(found)
    assert "the token is <TOKEN>, as <WHO> says" in done.err and FIRST not in done.err
    assert _holding(home.root / "images", FIRST) == []
    # Another value is no other layer; who wants it anew says so.
    _keep(home, SECOND)
    again = home.run(script)
    assert again.value["digest"] == _digest(FIRST)
    assert "Building" not in again.err
    home.environ["FORCE"] = "1"
    forced = home.run(script)
    assert forced.value["digest"] == _digest(SECOND)
    assert SECOND not in forced.err and _holding(home.root / "images", SECOND) == []


def test_the_agent_builds_with_them_too_and_what_is_missing_is_told_before_the_build(
    home: Home,
) -> None:
    home.up()
    missing = home.run(home.script(_PROGRAM), status=1)
    assert "no secret 'index' here" in missing.err, missing.err
    _keep(home, FIRST)
    layers = home.root / "images" / "layers"
    script = home.script(
        _PROGRAM.replace(', rekindle.Secret.from_dict({"WHO": "the program"})', "")
        + f"""
    import shutil
    layers = {str(layers)!r}

    @app.local_entrypoint()
    def gone():
        # They were built before the app was made known; a node that has none builds its own.
        for name in set(os.listdir(layers)):
            if not os.path.islink(f"{{layers}}/{{name}}"):
                shutil.rmtree(f"{{layers}}/{{name}}")
        print(json.dumps(look.remote()))
        """
    )
    found = home.run(f"{script}::gone").value
    assert found["digest"] == _digest(FIRST)
    assert _holding(home.root / "images", FIRST) == []


def test_without_an_instance_a_build_says_what_it_needs_one_for(home: Home) -> None:
    script = home.script(_PROGRAM)
    done = home.rekindle("image", "build", script, status=1)
    assert "rekindle up" in done.err, done.err
