"""``interact()``, ``breakpoint()`` and ``-i``, as Modal's users write them.

What they do on a terminal is in tests/e2e/test_interaction.py.
"""

from __future__ import annotations

import pytest

import rekindle as modal
from rekindle.cli.run import run
from rekindle.exception import InvalidError


def test_interact_leaves_a_process_alone_that_has_its_terminal() -> None:
    modal.interact()
    with modal.interact():
        pass


def test_an_interactive_run_is_asked_for_by_option_and_by_keyword() -> None:
    assert {"-i", "--interactive"} in [set(option.opts) for option in run.params]
    with pytest.raises(InvalidError, match="either interactive or detached"):
        modal.App("both").run(interactive=True, detach=True)
