"""The repository keeps its own word: promises name their tests, links lead somewhere."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.dev.test_debian_root import PART

ROOT = Path(__file__).resolve().parent.parent
SPECIFICATION = ROOT / "SPECIFICATION.md"

_IGNORED = {"build", "dist", "demo-results", "__pycache__"}
_TEXT = {".py", ".md", ".toml", ".sh", ".proto", ".lua", ".txt", ".json", ".yml", ".yaml", ""}
_PROMISE = re.compile(r"^- \*\*([A-Z]\d+)\*\* (.*?)(?=^- \*\*[A-Z]\d+\*\*|^#|\Z)", re.M | re.S)
_REFERENCE = re.compile(r"`((?:tests|bench)/[^`\s]+?\.py)((?:::[^`\s]+)?)[^`]*`")
_LINK = re.compile(r"(?<!\!)\[[^\]]+\]\(([^)\s]+)\)")


def files() -> Iterator[Path]:
    for directory, names, found in os.walk(ROOT):
        names[:] = [
            name
            for name in names
            if name not in _IGNORED
            and not name.endswith(".egg-info")
            and (not name.startswith(".") or name == ".ci")
        ]
        yield from (Path(directory, name) for name in found)


def documents() -> list[Path]:
    return sorted(path for path in files() if path.suffix == ".md")


def promises() -> dict[str, str]:
    return dict(_PROMISE.findall(SPECIFICATION.read_text(encoding="utf-8")))


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def anchors(path: Path) -> set[str]:
    """Anchors of a document's headings, as its viewers on the web make them."""
    headings = re.findall(r"^#+ (.+)$", without_code(path.read_text(encoding="utf-8")), re.M)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


def test_promises_are_numbered_without_gaps_or_doubles() -> None:
    numbers = [match[0] for match in _PROMISE.findall(SPECIFICATION.read_text(encoding="utf-8"))]
    assert len(numbers) > 20
    by_letter: dict[str, list[int]] = {}
    for number in numbers:
        by_letter.setdefault(number[0], []).append(int(number[1:]))
    for letter, found in by_letter.items():
        assert found == list(range(1, len(found) + 1)), letter


@pytest.mark.parametrize("number", promises())
def test_a_promise_names_what_holds_us_to_it(number: str) -> None:
    text = promises()[number]
    references = _REFERENCE.findall(text)
    if "*Not yet enforced" in text:
        return
    assert "*Held by" in text, f"{number} says neither what holds it nor that nothing does yet"
    assert references, f"{number} names no test and no benchmark"


@pytest.mark.parametrize("number", promises())
def test_what_a_promise_names_exists(number: str) -> None:
    for name, part in _REFERENCE.findall(promises()[number]):
        path = ROOT / name
        assert path.is_file(), f"{number} names {name}, which does not exist"
        if part:
            function = part.rpartition("::")[2]
            text = path.read_text(encoding="utf-8")
            assert re.search(rf"def {re.escape(function)}\b", text), f"{number}: {name}{part}"


@pytest.mark.parametrize("name", PART)
def test_what_runs_on_the_other_debian_exists(name: str) -> None:
    file, _, function = name.partition("::")
    text = (ROOT / file).read_text(encoding="utf-8")
    assert re.search(rf"def {function}\b" if function else "def test_", text)


def test_what_the_benchmarks_check_is_what_is_promised() -> None:
    known = promises()
    for path in sorted((ROOT / "bench").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        checked = re.findall(r"Promise\(\s*\"([A-Z]\d+)\"", text)
        for number in checked:
            assert f"bench/{path.name}" in known[number], f"{path.name} checks {number}"
    for number, text in known.items():
        for name, _ in _REFERENCE.findall(text):
            if name.startswith("bench/"):
                assert f'"{number}"' in script_and_its_parts(ROOT / name), name


def script_and_its_parts(path: Path) -> str:
    """A benchmark, and what is in the folders beside it that it imports from."""
    text = path.read_text(encoding="utf-8")
    for folder in set(re.findall(r"^from (\w+)", text, re.MULTILINE)):
        for part in sorted((path.parent / folder).glob("*.py")):
            text += part.read_text(encoding="utf-8")
    return text


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for target in _LINK.findall(without_code(path.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        linked = (path.parent / name) if name else path
        assert linked.exists(), f"{path.name} links to {target}"
        if anchor:
            assert anchor in anchors(linked), f"{path.name} links to {target}"


# What looks like a module's file and is none: users' programs, made-up names, generated files.
_NO_FILES = {
    *("app.py", "my_app.py", "myapp.py", "main.py", "program.py", "other.py", "file.py"),
    *("a/b.py", "bench.py", "bench/NAME.py", "rekindle.v1"),
}
_FILE = re.compile(r"(?<![\w./*$~-])((?:[\w-]+/)*[\w-]+\.(?:py|md|proto|lua|toml|sh))(?![\w/*])")
_DOTTED = re.compile(r"(?<![\w./-])(rekindle(?:\.[a-z_]\w*)+)")


def code() -> list[Path]:
    """All Python files of the repository but the generated ones."""
    return sorted(path for path in files() if path.suffix == ".py" and "_pb2" not in path.name)


def statements(path: Path) -> Iterator[ast.AST]:
    """A Python file's module and all of its statements, those inside of others too."""
    ahead: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while ahead:
        node = ahead.pop()
        yield node
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            ahead += getattr(node, part, ())


def prose(path: Path) -> str:
    """A document, or the docstrings and comments of a Python file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return without_code(text)
    found = re.findall(r"^\s*#:? (.*)$|  #:? (.*)$", text, re.M)
    for node in statements(path):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.append((ast.get_docstring(node) or "",))
    return "\n".join("".join(one) for one in found)


@cache
def endings() -> set[str]:
    """Each file of the repository by all ends of its path: ``c.py``, ``b/c.py``, ``a/b/c.py``."""
    found = set()
    for path in files():
        parts = path.relative_to(ROOT).parts
        found |= {"/".join(parts[i:]) for i in range(len(parts))}
    return found


def names_something(dotted: str) -> bool:
    """Whether ``rekindle.a.b`` is a module, or a name in one."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        module = ROOT.joinpath(*parts[:end])
        file = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
        if file.exists():
            left = parts[end : end + 1]
            return all(re.search(rf"\b{name}\b", file.read_text(encoding="utf-8")) for name in left)
    return False


def stale(path: Path) -> set[str]:
    """What a file speaks of that does not exist."""
    text = prose(path)
    found = set(_FILE.findall(text))
    found |= {name for name in _DOTTED.findall(text) if not names_something(name)}
    return found - endings() - _NO_FILES


def test_files_and_modules_that_are_spoken_of_exist() -> None:
    # History and examples speak of others.
    paths = [path for path in documents() + code() if path.name != "CHANGELOG.md"]
    paths.remove(Path(__file__).resolve())
    found = {str(path.relative_to(ROOT)): stale(path) for path in paths}
    assert {path: names for path, names in found.items() if names} == {}


def imports() -> dict[str, set[str]]:
    """Module of rekindle -> those that it imports, at any time and also for its types alone."""
    modules = {}
    for path in (ROOT / "rekindle").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        named = set()
        for node in statements(path):
            if isinstance(node, ast.Import):
                named |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                inside = {f"{node.module}.{alias.name}" for alias in node.names}
                named |= {one if one in modules else node.module for one in inside}
        graph[module] = (named & modules.keys()) - {module}
    return graph


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Modules that lead to themselves, with all that they lead to and that leads back."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        ahead = [start]
        while ahead:
            new = graph[ahead.pop()] - seen
            seen |= new
            ahead += new
        return seen

    reach = {module: reached(module) for module in graph}
    return [
        sorted(other for other in reach[module] if module in reach[other])
        for module in graph
        if module in reach[module]
    ]


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles(imports()) == []


def test_no_file_mentions_a_path_of_the_machine_that_it_was_written_on() -> None:
    home = re.compile(r"/(?:home/(?!user\b)\w+|Users/\w+|root/\.)")
    here = str(ROOT) if len(ROOT.parts) > 2 else None
    for path in files():
        if path.suffix not in _TEXT or path.is_symlink():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        assert not home.search(text), f"{path.relative_to(ROOT)}: {home.search(text)}"
        assert here is None or here not in text, str(path.relative_to(ROOT))


def test_the_licence_is_whole() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text and "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert len(text) > 11_000


def test_the_example_ships_at_least_500_real_sentences() -> None:
    lines = (ROOT / "examples/data/moby_dick.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) >= 500
    assert len(set(lines)) == len(lines)
    assert all(len(line.split()) >= 5 and line[-1] in ".!?" for line in lines)


def test_continuous_integration_calls_lint_and_test_alone() -> None:
    run = ROOT / ".ci/run"
    assert os.access(run, os.X_OK)
    commands = [
        line
        for line in run.read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    assert [line for line in commands if line.startswith("make")] == ["make lint", "make test"]
