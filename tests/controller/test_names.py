"""Names of calls that are not known."""

from __future__ import annotations

import time

import pytest

from rekindle.controller import names
from rekindle.exception import NotFoundError, OutputExpiredError
from rekindle.wire import callid


def test_a_call_that_is_older_than_results_are_kept_has_expired(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    call_id = callid.new_call_id()
    error = names.unknown_call(call_id, 3600)
    assert type(error) is NotFoundError
    assert call_id in str(error)
    later = time.time() + 7200
    monkeypatch.setattr(time, "time", lambda: later)
    expired = names.unknown_call(call_id, 3600)
    assert type(expired) is OutputExpiredError
    assert "REKINDLE_RESULT_TTL_S" in str(expired)
    assert type(names.unknown_call("fc-other-name", 3600)) is NotFoundError
