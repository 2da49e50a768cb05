"""The program of docs/images.md, and its example, run in the images that they declare."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import images
from tests.e2e.harness import Home
from tests.e2e.test_guides_of_objects import program

pytestmark = images.BUILDS
ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(home_with_base: Home) -> Home:
    """Its store of layers is its own, and has the base."""
    return home_with_base


def test_what_the_page_shows_runs_and_prints_what_it_should(home: Home) -> None:
    done = home.run(home.script(program("docs/images.md"), "in_image.py"))
    assert done.out.split("\n")[0] == "3.13 1.17.0 hello, built by hello"
    assert "Building pip_install('six==1.17.0')" in done.err
    again = home.run(home.script(program("docs/images.md"), "in_image.py"))
    assert again.out == done.out and "Building" not in again.err


def test_the_example_runs_with_a_package_that_its_node_has_not(home: Home) -> None:
    said = home.run(ROOT / "examples" / "in_an_image.py", "--year", "2027").out.splitlines()
    assert len(said) == 12 and said[0] == "22 January"
