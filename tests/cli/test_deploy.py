"""What ``rekindle deploy`` says of a version that was made."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from rekindle.cli import app_refs
from rekindle.cli.deploy import deploy
from rekindle.sdk.deploying import Deployed

_NOTE = "no node is connected, so the new version was not started first"


@pytest.mark.parametrize("more", [[], ["--quiet"]], ids=["plain", "quiet"])
def test_what_could_not_be_tried_is_said_also_where_the_rest_is_not(
    monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    made = Deployed("app", "ap-1", 2, unchanged=False, notes=(_NOTE,))
    app = SimpleNamespace(name="app", deploy=lambda **_: made)
    monkeypatch.setattr(app_refs, "resolve", lambda *_, **__: app)
    said = CliRunner().invoke(deploy, ["app.py", *more])
    assert said.exit_code == 0
    assert _NOTE in said.output
    assert ("Deployed app, version 2" in said.stdout) != bool(more)
    assert (_NOTE in said.stderr) == bool(more)  # quiet commands have nothing on standard output
