"""Where an error of rekindle's own says that it was raised."""

from __future__ import annotations

import pytest

import rekindle
from rekindle.cli.failure import show_error
from rekindle.exception import InvalidError


def test_the_place_is_a_line_of_the_program_not_of_generated_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(InvalidError) as caught:
        rekindle.Cron("every monday")  # a dataclass, whose __init__ is generated
    show_error(caught.value)
    said = capsys.readouterr().err
    assert f"at {__file__}:" in said and "<string>" not in said
