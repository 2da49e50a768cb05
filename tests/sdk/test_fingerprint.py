"""Digests of code: equal in every run, different after an edit that matters."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from rekindle.exception import InvalidError
from rekindle.sdk.fingerprint import code_digest, digest

_PROGRAM = '''
import enum
import functools
import json
import rekindle

app = rekindle.App("prints")
LIMIT = 10
NAMES = {"alpha", "beta", "gamma", "delta", "epsilon"}
TABLE = {"a": (1, 2.5), "b": [None, b"x", frozenset({"p", "q", "r"})]}


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Point:
    scale = 3

    def __init__(self, x):
        self.x = x

    @property
    def double(self):
        return self.x * 2

    @staticmethod
    def zero():
        return Point(0)


HERE = Point(7)


def helper(x):
    return deeper(x) + LIMIT


def deeper(x):
    return x if x < 0 else helper(x - 100)


def make_closure(n):
    def inner(x, extra=("default", 1)):
        if x in {"one", "two", "three", "four"}:
            return NAMES
        return helper(x) + n
    return inner


nested = make_closure(5)


@app.function()
def other(x):
    return x


@functools.lru_cache
def cached(x):
    return x


@app.function()
def main(x, *, flag=True):
    """Doc."""
    print(nested(x), TABLE, HERE.double, Colour.RED, json.dumps({}), other, cached)
    return [lambda: LIMIT for _ in range(3)]


@app.cls(enable_memory_snapshot=True)
class Model:
    size: int = rekindle.parameter(default=1)

    @rekindle.enter(snap=True)
    def load(self):
        self.data = helper(1)

    @rekindle.method()
    def go(self, x):
        return x + LIMIT


if __name__ == "__main__":
    from rekindle.sdk.fingerprint import code_digest, digest
    print(code_digest(main.__wrapped__), code_digest(Model.__wrapped__))
'''


def prints(directory: Path, program: str, seed: str = "0") -> list[str]:
    """The digests of ``main`` and ``Model`` in a run of their own."""
    done = subprocess.run(
        [sys.executable, "-"],  # from standard input: there is no file that an import could find
        input=program,
        cwd=directory,
        capture_output=True,
        text=True,
        env={"PYTHONHASHSEED": seed, "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_two_runs_agree_whatever_the_hash_seed(tmp_path: Path) -> None:
    runs = [prints(tmp_path, _PROGRAM, seed) for seed in ("0", "1", "77", "random")]
    assert all(run == runs[0] for run in runs)
    assert len(runs[0][0]) == 32


@pytest.mark.parametrize(
    ("old", "new", "main", "model"),
    [
        ("return [lambda: LIMIT", "return [lambda: -LIMIT", True, False),
        ("flag=True", "flag=False", True, False),
        ("LIMIT = 10", "LIMIT = 11", True, True),
        ('"epsilon"}', '"zeta"}', True, False),
        ("(1, 2.5)", "(1, 2.25)", True, False),
        ("make_closure(5)", "make_closure(6)", True, False),
        ('("default", 1)', '("default", 2)', True, False),
        ('"three", "four"}', '"three", "five"}', True, False),
        ("x if x < 0", "x if x <= 0", True, True),
        ("self.x * 2", "self.x * 3", True, False),
        ("Point(7)", "Point(8)", True, False),
        ("scale = 3", "scale = 4", True, False),
        ("RED = 1", "RED = 9", True, False),
        ("def other(x):\n    return x", "def other(x):\n    return -x", True, False),
        ("self.data = helper(1)", "self.data = helper(2)", False, True),
        ("parameter(default=1)", "parameter(default=2)", False, True),
        ("def cached(x):\n    return x", "def cached(x):\n    return -x", True, False),
        ('"""Doc."""', '"""Other."""', True, False),
    ],
)
def test_an_edit_changes_the_digests_of_what_it_reaches(
    tmp_path: Path, old: str, new: str, main: bool, model: bool
) -> None:
    assert _PROGRAM.count(old) >= 1
    before = prints(tmp_path, _PROGRAM)
    after = prints(tmp_path, _PROGRAM.replace(old, new))
    assert (before[0] != after[0], before[1] != after[1]) == (main, model)


def test_a_moved_line_changes_the_digest(tmp_path: Path) -> None:
    """Tracebacks show line numbers."""
    moved = _PROGRAM.replace("@app.function()\ndef main", "\n\n@app.function()\ndef main")
    assert prints(tmp_path, _PROGRAM)[0] != prints(tmp_path, moved)[0]


def test_an_edit_elsewhere_changes_nothing(tmp_path: Path) -> None:
    edited = _PROGRAM.replace('if __name__ == "__main__":', "UNUSED = 5\n" * 1 + "if True:")
    assert prints(tmp_path, _PROGRAM) == prints(tmp_path, edited)


def defined(text: str) -> Any:
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(textwrap.dedent(text), space)
    return space["f"]


def test_recursion_and_cycles_end() -> None:
    f = defined(
        """
        loop = []
        loop.append(loop)
        class Node:
            pass
        node = Node()
        node.self = node
        def g(): return f()
        def f(): return g() or loop or node or f
        """
    )
    assert code_digest(f) == code_digest(f)


def test_what_cannot_be_pickled_does_not_stop_it() -> None:
    f = defined(
        """
        import threading
        lock = threading.Lock()
        def f(): return lock
        """
    )
    assert code_digest(f) == code_digest(f)


def test_data_that_is_nested_too_deeply_is_named() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    try:
        with pytest.raises(InvalidError, match="nested too deeply"):
            digest(deep)
    finally:
        while deep:  # taken apart by hand: freeing it at once is a deep recursion too
            deep = deep.pop()


def test_values_of_different_types_differ() -> None:
    values: list[Any] = [1, 1.0, True, "1", b"1", (1,), [1], {1}, {1: None}, None, ..., 1j]
    assert len({digest(value) for value in values}) == len(values)
    assert digest({"a", "b"}) == digest({"b", "a"})
    assert digest([1, 2], 3) != digest([1], 2, 3)


def test_graphs_of_sets_end_and_do_not_depend_on_the_order_of_a_set() -> None:
    class Node:
        def __init__(self, name: str) -> None:
            self.name = name
            self.near: set[Any] = set()

    def graph(names: str) -> set[Node]:
        nodes = [Node(name) for name in names]
        for node in nodes:
            node.near = {other for other in nodes if other is not node}
        return set(nodes)

    assert digest(graph("abcdefgh")) == digest(graph("hgfedcba"))
    assert digest(graph("abc")) != digest(graph("abd"))
    nested = {frozenset({("a", frozenset({"b", "c"})), ("d", "e")}), frozenset({"f"})}
    assert digest(nested) == digest({frozenset(item) for item in reversed(list(nested))})


def test_tensors_count_by_what_they_hold() -> None:
    torch = pytest.importorskip("torch")
    for make in (
        lambda n: torch.full((5,), n),
        lambda n: torch.nn.Parameter(torch.full((3,), float(n))),
        lambda n: (
            torch.nn.Linear(2, 2, bias=False)
            .requires_grad_(False)
            .apply(lambda layer: layer.weight.fill_(n))
        ),
        lambda n: torch.Generator().manual_seed(n),
        lambda n: torch.empty(n, device="meta"),
        lambda n: torch.eye(3).mul(n).to_sparse(),
    ):
        assert digest(make(1)) == digest(make(1))
        assert digest(make(1)) != digest(make(2))
    shared = torch.zeros(4)
    assert digest([shared, shared[:2]]) == digest([shared, shared[:2]])


def test_what_is_typed_twice_is_the_same_wherever_the_prompt_says_it_was() -> None:
    def typed(place: str, code: str = "def f(x): return x + 1") -> Any:
        names: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(code, place, "exec"), names)  # as a prompt does
        return names["f"]

    first, again = typed("<stdin>-0"), typed("<stdin>-3")
    assert code_digest(first) == code_digest(again)
    assert code_digest(first) != code_digest(typed("<stdin>-3", "def f(x): return x + 2"))
    assert code_digest(typed("a.py")) != code_digest(typed("b.py"))
