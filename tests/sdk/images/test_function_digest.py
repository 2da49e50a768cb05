"""What names a step that calls a function: edits that count, and edits that do not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import dataclasses, enum, functools, sys
import own_settings
import own_package.deep
from own_functions import Shape, fetch, remembered
from rekindle import Image
from rekindle.wire.images import names

class Model:
    revision = "r1"
    size = own_settings.SIZE

    def name(self):
        return helper(self)

@dataclasses.dataclass
class Options:
    quality: int = 3

class Mode(enum.Enum):
    FAST = 1

def helper(model):
    return model.revision

def traced(function):
    @functools.wraps(function)
    def within(*args):
        return function(*args)
    return within

@traced
def decorated():
    return "decorated"

TABLE = {"a": [helper], "kinds": {Mode.FAST, "b"}}
OPTIONS = Options()

def unused():
    return "not mentioned"

@traced
def step():
    from own_lazy import load
    load(Model().name(), OPTIONS, TABLE, fetch(), remembered(1), Shape, decorated())
    return own_settings.SIZE, own_package.deep.near(), own_package.other.far

if __name__ == "__main__":
    print(*names(Image.debian_slim("3.13").run_function(step).spec().steps))
"""
_FILES = {
    "program.py": _PROGRAM,
    "own_settings.py": "SIZE = 1\nOTHER = 'unused'\n",
    "own_functions.py": """
import functools
from own_settings import SIZE

def fetch():
    return inner() + SIZE

def inner():
    return 'inner'

def unused():
    return 'not mentioned'

@functools.lru_cache
def remembered(x):
    return 'remembered'

class Shape:
    @property
    def area(self):
        return 'area'
""",
    "own_package/__init__.py": "from own_package import other\n",
    "own_package/other.py": "far = 'far'\n",
    "own_package/deep.py": "def near():\n    return 'near'\n",
    "own_lazy.py": "def load(*args):\n    import own_lazily\n",
    "own_lazily.py": "x = 'lazily'\n",
}


def _name(folder: Path) -> str:
    """The name of the step's layer, as a process of its own makes it."""
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=folder,
        env={
            **os.environ,
            "REKINDLE_IMAGES": str(folder / "images"),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("program")
    for file, text in _FILES.items():
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text(text)
    name = _name(folder)
    assert _name(folder) == name
    return folder, name


@pytest.mark.parametrize(
    ("file", "before", "after", "counts"),
    [
        pytest.param(*edit, id=f"{edit[0]}:{edit[1]}")
        for edit in (
            ("program.py", "'r1'", "'r2'", True),
            ("program.py", "return helper(self)", "return helper(self) + 'x'", True),
            ("program.py", "return model.revision", "return model.revision * 2", True),
            ("program.py", "quality: int = 3", "quality: int = 4", True),
            ("program.py", "FAST = 1", "FAST = 2", True),
            ("program.py", 'return "decorated"', 'return "edited"', True),
            ("program.py", "return function(*args)", "return function(*args, 1)", True),
            ("program.py", "Options()", "Options(5)", True),
            ("program.py", 'return "not mentioned"', 'return "still not"', False),
            ("program.py", "\nclass Model", "\n\n# moved\nclass Model", False),
            ("own_settings.py", "SIZE = 1", "SIZE = 2", True),
            ("own_settings.py", "OTHER = 'unused'", "OTHER = 'edited'", False),
            ("own_functions.py", "return 'inner'", "return 'edited'", True),
            ("own_functions.py", "return 'remembered'", "return 'edited'", True),
            ("own_functions.py", "return 'area'", "return 'edited'", True),
            ("own_functions.py", "return 'not mentioned'", "return 'edited'", False),
            ("own_package/deep.py", "return 'near'", "return 'edited'", True),
            ("own_package/other.py", "'far'", "'edited'", True),
            ("own_lazily.py", "'lazily'", "'edited'", True),
        )
    ],
)
def test_an_edit_counts_where_the_function_comes_to_it(
    program: tuple[Path, str], file: str, before: str, after: str, counts: bool
) -> None:
    folder, name = program
    text = _FILES[file]
    before = before if before in text else before.replace("'", '"')
    assert text.count(before) == 1
    (folder / file).write_text(text.replace(before, after))
    try:
        assert (_name(folder) != name) is counts
    finally:
        (folder / file).write_text(text)
