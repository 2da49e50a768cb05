"""Which app a version is of, however many are deployed."""

from __future__ import annotations

from typing import Any

import pytest

from rekindle.controller.deployments.records import Deployment, Version
from rekindle.controller.state import App
from tests.controller.harness import Instance, in_loop
from tests.controller.in_process import running_parts

_APPS = 20


@in_loop
async def test_a_restart_looks_for_each_version_in_the_app_of_its_name_alone(
    redis_alone: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_parts(redis_alone) as parts:
        for i in range(_APPS):
            version = Version(version=1, app_id=f"ap-{i}", at=1.0, digest="")
            await parts.deployed.keep(Deployment(name=f"app{i}", versions=(version,)))
        looked, is_version = [], Deployment.is_version

        def counted(self: Deployment, app_id: str) -> Any:
            looked.append(self.name)
            return is_version(self, app_id)

        monkeypatch.setattr(Deployment, "is_version", counted)
        for i in range(_APPS):
            app = App(f"ap-{i}", f"app{i}", ephemeral=False, version=1)
            parts.deployments.restored(app)
            assert parts.deployments.keeps(app) and not app.on_trial
        assert len(looked) == 2 * _APPS
        # One that a broken-off rename has called otherwise is found all the same.
        renamed = App("ap-7", "other/app7", ephemeral=False, version=1)
        parts.deployments.restored(renamed)
        assert renamed.name == "app7" and not renamed.on_trial
