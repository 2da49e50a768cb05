"""Where names lie: one rule for all that has a name."""

from __future__ import annotations

from typing import Any

import pytest

import rekindle
from rekindle.exception import InvalidError

KINDS = [rekindle.Secret, rekindle.Volume, rekindle.Dict, rekindle.Queue]


@pytest.mark.parametrize("kind", KINDS)
def test_an_environment_that_can_be_none_is_refused(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidError, match="environment"):  # an empty one is not the default
        kind.from_name("x", environment_name="")
    monkeypatch.setenv("REKINDLE_ENVIRONMENT", "a b")
    with pytest.raises(InvalidError, match="'a b'"):
        kind.from_name("x")
