"""The examples that need packages, on a node that has nothing but rekindle: in their images."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from rekindle import Image
from tests import images
from tests.e2e.harness import Home, a_home

pytestmark = images.BUILDS

ROOT = Path(__file__).parents[2]
#: An image with PyTorch takes a minute or two to build.
_BUILD_S = 560


def _needed(name: str, found: dict[str, importlib.metadata.Distribution]) -> None:
    """A package and what it needs, of extras that with a server alone."""
    one = importlib.metadata.distribution(name)
    found[name] = one
    for requirement in one.requires or ():
        other = re.match(r"[A-Za-z0-9._-]+", requirement)
        assert other is not None
        if other[0] in found or ("extra ==" in requirement and "server" not in requirement):
            continue
        try:
            _needed(other[0], found)
        except importlib.metadata.PackageNotFoundError:
            assert ";" in requirement, requirement  # for another Python or system


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that can import what rekindle needs, as an installation of it alone can."""
    place = tmp_path_factory.mktemp("bare")
    venv.create(place, with_pip=False, symlinks=True)
    (site,) = place.glob("lib/python*/site-packages")
    found: dict[str, importlib.metadata.Distribution] = {}
    _needed("rekindle", found)
    for one in found.values():
        for file in one.files or ():
            top = Path(str(one.locate_file(""))) / file.parts[0]
            if file.parts[0] not in ("..", "__pycache__") and not (site / top.name).exists():
                (site / top.name).symlink_to(top)
    (site / "here.pth").write_text(f"{ROOT}\n")
    return place / "bin" / "python"


@pytest.fixture
def home(bare: Path) -> Iterator[Home]:
    """A home whose programs run by that interpreter, with a store of its own that has the base."""
    with a_home() as made:
        images.store_with_base(made.root / "images")
        made.environ["REKINDLE_IMAGES"] = str(made.root / "images")
        made.environ["PATH"] = f"{bare.parent}:{os.environ['PATH']}"
        yield made


def _run(home: Home, bare: Path, *argv: str | Path) -> subprocess.CompletedProcess[str]:
    code = "import sys; from rekindle.cli.main import main; sys.exit(main())"
    done = subprocess.run(
        [bare, "-c", code, "run", *argv],
        env=home.environ,
        capture_output=True,
        text=True,
        timeout=_BUILD_S,
        check=False,
    )
    if done.returncode != 0 and _is_out_of_reach(done.stderr):
        pytest.skip(f"its packages are out of reach: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return done


def _is_out_of_reach(said: str) -> bool:
    return re.search(r"pip_install.* failed", said) is not None and any(
        words in said
        for words in ("No matching distribution found", "Could not find a version", "Connection")
    )


def test_the_node_of_these_tests_has_rekindle_and_nothing_else(bare: Path) -> None:
    for name, there in (("rekindle", True), ("grpc", True), ("torch", False), ("numpy", False)):
        done = subprocess.run([bare, "-c", f"import {name}"], capture_output=True, check=False)
        assert (done.returncode == 0) is there, (name, done.stderr)


def test_dates_by_a_package(home: Home, bare: Path) -> None:
    done = _run(home, bare, ROOT / "examples" / "in_an_image.py", "--year", "2027")
    said = done.stdout.splitlines()
    assert len(said) == 12 and said[0] == "22 January"


@pytest.mark.soak  # minutes for pip to unpack PyTorch; what is new in it is what pip finds
def test_a_search_by_a_model(home: Home, bare: Path) -> None:
    images.link(home.root / "images", Image.debian_slim())  # with the Python that runs it
    done = _run(home, bare, ROOT / "examples" / "embed.py", "--query", "a storm at sea")
    assert "Building pip_install(" in done.stderr
    assert "800 sentences of Moby-Dick; nearest to: 'a storm at sea'" in done.stdout
    scores = [
        float(line.split()[0]) for line in done.stdout.splitlines() if line.startswith("  0.")
    ]
    assert len(scores) == 5 and scores == sorted(scores, reverse=True)
    assert scores[0] > 0.5
