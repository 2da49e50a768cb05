"""What a runner is told of itself by environment variables. Standard library only."""

from __future__ import annotations

from rekindle.wire.environment import ENVIRONMENT_VARIABLE, split_name

APP_ID = "REKINDLE_APP_ID"
RUNNER_ID = "REKINDLE_RUNNER_ID"
APP = "REKINDLE_APP"
FUNCTION = "REKINDLE_FUNCTION"


def of_function(app_name: str, app_id: str, function: str) -> dict[str, str]:
    """What all runners of a function are told. ``app_name``: as the instance knows it."""
    environment, app = split_name(app_name)
    return {
        "REKINDLE_IS_REMOTE": "1",
        APP: app,
        ENVIRONMENT_VARIABLE: environment,
        APP_ID: app_id,
        FUNCTION: function,
    }
