"""Patterns of names mean what they mean for Docker: the rules of Go's filepath.Match."""

from __future__ import annotations

import pytest

from rekindle.sdk import name_patterns


@pytest.mark.parametrize(
    ("pattern", "fitting", "others"),
    [
        ("*.py", ["a.py", ".py", ".hidden.py", "a\n.py"], ["a.pyc", "a_py"]),
        ("a**", ["a", "abc"], ["ba"]),
        ("?", ["a", "[", "ü"], ["", "ab"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "-x", "x"]),
        ("[^a-c]", ["d", "^", "-"], ["a", "b"]),
        ("[!a]", ["!", "a"], ["b"]),
        ("[a^]", ["a", "^"], ["b"]),
        ("[[]0]", ["[0]"], ["0", "[0"]),
        (r"[\]\-x]", ["]", "-", "x"], ["\\", "y"]),
        (r"a\*", ["a*"], ["ab", "a\\*"]),
        ("[c-a]", [], ["a", "b", "c"]),
        ("[^c-a]", ["a", "b"], [""]),
        ("a]b", ["a]b"], ["ab"]),
        ("a.b+(c)$", ["a.b+(c)$"], ["axb+(c)$"]),
        ("[&&~|]", ["&", "~", "|"], ["a"]),
    ],
)
def test_a_name_is_what_a_pattern_means(
    pattern: str, fitting: list[str], others: list[str]
) -> None:
    assert [one for one in fitting if not name_patterns.fits(one, pattern)] == []
    assert [one for one in others if name_patterns.fits(one, pattern)] == []


@pytest.mark.parametrize("pattern", ["[", "a[b", "[]", "[]a]", "[^]", "[-a]", "[a-]", "a\\", "[\\"])
def test_what_is_no_pattern_is_an_error(pattern: str) -> None:
    with pytest.raises(ValueError, match="is no pattern"):
        name_patterns.check(pattern)
    with pytest.raises(ValueError, match="is no pattern"):
        name_patterns.fits("a", pattern)
