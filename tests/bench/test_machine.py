"""The description of the machine is publishable."""

from __future__ import annotations

import contextlib
import getpass
import json
import platform

from rekindle.bench import machine


def test_the_machine_is_described_without_names_or_paths() -> None:
    described = machine.describe()
    assert described["cores"] >= 1
    assert described["memory_bytes"] > 2**27
    text = json.dumps(described)
    assert platform.node() not in text or len(platform.node()) < 4
    assert "/home" not in text
    with contextlib.suppress(KeyError):  # a user without a name
        assert getpass.getuser() not in text.split()


def test_the_line_names_what_a_reader_needs() -> None:
    line = machine.line({**machine.describe(), "criu": "4.1.1"})
    for word in ("cores", "GiB", "Linux", "Python", "CRIU 4.1.1"):
        assert word in line
