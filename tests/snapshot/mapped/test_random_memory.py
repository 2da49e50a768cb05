"""Processes with random memory, restored mapped, are the same in every byte as when copied."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from rekindle.snapshot.criu import Criu
from rekindle.snapshot.mapped.areas import PAGE_BYTES
from rekindle.snapshot.mapped.rewrite import IN_PLACE, SPARSE, Limits
from tests.snapshot.mapped import frozen
from tests.snapshot.mapped.memory_program import Area, program

pytestmark = [pytest.mark.criu, pytest.mark.slow]

#: Of a search that takes long. More of them make a longer one: REKINDLE_MEMORY_EXAMPLES=500, say.
_EXAMPLES = int(os.environ.get("REKINDLE_MEMORY_EXAMPLES", "60"))
_MOST_PAGES = 96

_KINDS = [
    *("anonymous", "anonymous", "anonymous", "unreserved", "shared"),
    *("growing", "file", "memfd", "heap"),
]
_STEPS = [
    *("fill", "fill", "fill", "zeros", "discard", "free", "huge", "no huge", "no fork"),
    *("wipe on fork", "read only", "no access", "writable", "lock", "hole", "grow"),
]


@st.composite
def _areas(draw: st.DrawFn) -> Area:
    kind = draw(st.sampled_from(_KINDS))
    pages = draw(st.integers(2, _MOST_PAGES))
    if kind in ("anonymous", "unreserved") and draw(st.integers(0, 9)) == 0:
        pages = draw(st.integers((64 << 20) // PAGE_BYTES, (128 << 20) // PAGE_BYTES))
    steps = [("fill", draw(st.integers(0, pages // 2)), draw(st.integers(1, _MOST_PAGES)))]
    for _ in range(draw(st.integers(0, 6))):
        first = draw(st.integers(0, min(pages, 2 * _MOST_PAGES)))
        steps.append((draw(st.sampled_from(_STEPS)), first, draw(st.integers(1, 40))))
    return Area(kind, pages, draw(st.booleans()), tuple(steps))


#: Each example is three restores: not shrunk.
_SETTINGS = {
    "deadline": None,
    "database": None,
    "print_blob": True,
    "phases": [Phase.explicit, Phase.generate],
    "suppress_health_check": list(HealthCheck),
}
_RECIPES = st.lists(_areas(), min_size=1, max_size=12)
_both_layouts = pytest.mark.parametrize("laid_out", [False, True], ids=["in place", "laid out"])


@_both_layouts
@settings(max_examples=3, **_SETTINGS)
@given(recipe=_RECIPES)
def test_every_byte_is_the_same_and_no_write_reaches_another_copy(
    criu: Criu, recipe: list[Area], laid_out: bool
) -> None:
    _check(criu, recipe, laid_out)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@_both_layouts
@settings(max_examples=_EXAMPLES, derandomize=False, **_SETTINGS)
@given(recipe=_RECIPES)
def test_the_same_of_many_more(criu: Criu, recipe: list[Area], laid_out: bool) -> None:
    _check(criu, recipe, laid_out)


def _check(criu: Criu, recipe: list[Area], laid_out: bool) -> None:
    limits = Limits(min_run_pages=2, in_place_areas=1 if laid_out else 1000, sparse_gain=0)
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory() as directory,
    ):
        # The kernel writes the number of the processor into memory that rseq has.
        patch.setenv("GLIBC_TUNABLES", "glibc.pthread.rseq=0")
        file = Path(directory, "mapped-file")
        file.write_bytes(b"f" * _MOST_PAGES * PAGE_BYTES)
        template = frozen.freeze(
            criu, Path(directory), program(recipe, file), limits=limits, small_bytes=PAGE_BYTES
        )
        assert template.done.areas > 0
        assert template.done.layout == (SPARSE if laid_out else IN_PLACE)
        files = template.page_files()
        with template.restored(template.plain) as copied:
            expected = frozen.memory_of(copied)
        with template.restored(template.mapped) as first:
            assert frozen.differences(expected, frozen.memory_of(first)) == []
            with template.restored(template.mapped) as second:
                written = int(second.inside.answer())
                changed = frozen.differences(expected, frozen.memory_of(second))
                assert len(changed) >= written  # all that it wrote, and its own stack and heap
                assert frozen.differences(expected, frozen.memory_of(first)) == []
        with template.restored(template.mapped) as later:
            assert frozen.differences(expected, frozen.memory_of(later)) == []
        assert template.page_files() == files
