"""Who may have the terminal, and what is said where nobody may."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rekindle.exception import InvalidError
from rekindle.execution import context, interaction
from rekindle.wire.page import RunnerPage


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunnerPage]:
    """That of a runner, which this process is for as long."""
    monkeypatch.setattr(context, "_remote", True)
    for name in ("_refusal", "_page", "_channel"):
        monkeypatch.setattr(interaction, name, getattr(interaction, name))
    made = RunnerPage.create()
    yield made
    made.close()


def test_a_template_says_where_to_call_it(page: RunnerPage) -> None:
    with pytest.raises(InvalidError, match=r"rekindle\.interact\(\): at import.*@rekindle\.enter"):
        interaction.interact()


def test_a_runner_of_several_inputs_says_what_to_leave_out(page: RunnerPage) -> None:
    channel: Any = None
    interaction.attach(page, channel)
    interaction.refuse_side_by_side()
    with pytest.raises(InvalidError, match=r"@rekindle\.concurrent or @rekindle\.batched"):
        interaction.interact()


def test_an_app_without_a_terminal_and_a_thread_are_refused(
    page: RunnerPage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REKINDLE_DIR", str(tmp_path))
    monkeypatch.setenv("REKINDLE_APP_ID", "ap-1")
    channel: Any = object()
    interaction.attach(page, channel)
    with pytest.raises(InvalidError, match=r"start it with `rekindle run -i`"):
        interaction.interact()
    said: list[str] = []

    def ask() -> None:
        try:
            interaction.interact()
        except InvalidError as error:
            said.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert "in the main thread" in said[0]
    assert not page.at_terminal


def test_pythonbreakpoint_0_means_none(page: RunnerPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONBREAKPOINT", "0")
    assert interaction._breakpoint() is None
