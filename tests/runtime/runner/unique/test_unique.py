"""Which generators are found in what is loaded, and what is said where one cannot be renewed."""

from __future__ import annotations

import random
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rekindle.runtime.runner import unique
from rekindle.runtime.runner.unique import elf, modules, native, objects


def test_a_function_that_a_wheel_hides_is_found_in_its_file() -> None:
    import apsw

    found = elf.symbols(apsw.__file__, ["sqlite3_randomness"])
    assert ("sqlite3_randomness", elf.STT_FUNC) in {(one.name, one.kind) for one in found}


def test_a_thread_generator_is_found_by_a_part_of_its_name() -> None:
    import tokenizers.tokenizers as library

    kinds = {one.kind for one in elf.symbols(library.__file__, ["THREAD_RNG_KEY"])}
    assert elf.STT_TLS in kinds


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x7fELF",
        b"#!/bin/sh\n" * 20,
        b"\x7fELF\x02\x01" + bytes(58),  # no sections
        b"\x7fELF\x02\x01"
        + bytes(34)
        + struct.pack("<Q", 1 << 40)
        + bytes(10)
        + b"\x40\0\x05\0\0\0",
    ],
    ids=["empty", "cut short", "a script", "no sections", "sections beyond the end"],
)
def test_a_file_of_another_kind_has_no_symbols(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert elf.symbols(str(path), ["RAND_add"]) == []


def test_every_copy_of_a_library_has_its_step_once() -> None:
    script = """
import sqlite3, apsw, ssl, nacl.bindings, fastuuid, tokenizers
from rekindle.runtime.runner.unique import native
for step in native.steps():
    step.run()
    print(step.what)
"""
    printed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert len(set(printed)) >= len(printed) - 1  # fastuuid has its handler and its thread's own
    for what, path in (
        ("sqlite3_randomness", "libsqlite3.so"),
        ("sqlite3_randomness", "/apsw/"),
        ("RAND_add", "libcrypto"),
        ("randombytes_stir", "/nacl/"),
        ("Rust's rand", "/fastuuid/"),
        ("Rust's rand", "/tokenizers/"),
    ):
        assert any(line.startswith(what) and path in line for line in printed), (what, printed)


def test_sqlite_asks_the_system_again() -> None:
    """Two forked children would otherwise say the same."""
    connection = sqlite3.connect(":memory:")
    connection.execute("select randomblob(1)")
    step = next(one for one in native.steps() if "sqlite3_randomness in" in one.what)
    step.run()
    assert len(connection.execute("select randomblob(16)").fetchone()[0]) == 16


@pytest.fixture
def tracking() -> Iterator[None]:
    objects.track()
    yield
    list(objects.steps())


def _renewed(*generators: random.Random) -> list[bool]:
    before = [one.getstate() for one in generators]
    for step in objects.steps():
        step.run()
    return [one.getstate() != state for one, state in zip(generators, before, strict=True)]


def test_whether_a_generator_was_seeded_by_somebody_is_told_by_its_last_seed(
    tracking: None,
) -> None:
    by_system, by_somebody = random.Random(), random.Random(1)
    late, taken_back, set_back = random.Random(), random.Random(2), random.Random()
    late.seed(3)
    taken_back.seed()
    set_back.setstate(by_somebody.getstate())
    assert _renewed(by_system, by_somebody, late, taken_back, set_back) == [
        True,
        False,
        False,
        True,
        False,
    ]


def test_a_generator_that_is_gone_is_not_mistaken_for_a_later_one(tracking: None) -> None:
    for _ in range(200):
        random.Random()
    later = [random.Random(n) for n in range(200)]
    assert _renewed(*later) == [False] * 200


@pytest.mark.parametrize(
    "before",
    ["", "importlib.util.find_spec('random')\n", "fails_once()\n"],
    ids=["at once", "after a question where it is", "after an import that failed"],
)
def test_generators_of_a_module_that_is_imported_later_are_seen(before: str) -> None:
    script = (
        "import sys\n"
        "from rekindle.runtime.runner.unique import objects\n"
        "objects.track()\n"
        "import importlib.util\n"
        "def fails_once():\n"
        "    sys.modules['bisect'] = None\n"  # random imports it
        "    try: import random\n"
        "    except ImportError: del sys.modules['bisect']\n"
        f"{before}"
        "assert 'random' not in sys.modules\n"
        "import random\n"
        "made = [random.Random(), random.Random(1)]\n"
        "before = [one.getstate() for one in made]\n"
        "for step in objects.steps(): step.run()\n"
        "print([one.getstate() != state for one, state in zip(made, before)])\n"
        "print(random.Random.seed.__module__)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:2] == ["[True, False]", "random"]


def test_methods_of_the_standard_library_are_given_back() -> None:
    seed, setstate = random.Random.seed, random.Random.setstate
    objects.track()
    assert random.Random.seed is not seed
    list(objects.steps())
    assert (random.Random.seed, random.Random.setstate) == (seed, setstate)


def test_a_step_that_fails_is_a_reason_and_is_not_taken_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import uuid_utils

    def refuse() -> None:
        raise RuntimeError("sealed")

    monkeypatch.setattr(uuid_utils, "reseed_rng", refuse)
    # This process keeps its own generators.
    monkeypatch.setattr(modules, "_RENEWERS", {"uuid_utils": modules._uuid_utils})
    assert any(step.what == "uuid_utils" for step in modules.steps())
    assert unique.prepare() == [
        "the random numbers of uuid_utils would repeat in every runner (RuntimeError: sealed)"
    ]
    unique.make_unique()
