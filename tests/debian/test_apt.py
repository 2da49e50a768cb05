"""The machine's own apt: its mirror, and what its listings say."""

from __future__ import annotations

import shutil

import pytest

from rekindle.debian import apt

_LINES = [
    "http://security.example/debian-security/|bookworm-security|main|Packages",
    "http://other.example/apt/|nodistro|main|Packages",
    "http://cloud.example/apt/|cloud-sdk-bookworm|main|Packages",
    "http://mirror.example/debian/|bookworm|contrib|Packages",
    "http://mirror.example/debian/|bookworm-updates|main|Packages",
    "http://mirror.example/debian/|bookworm|main|Packages",
]


def test_the_mirror_is_the_one_of_the_machines_own_release() -> None:
    assert apt.choose_mirror(_LINES, "bookworm", "trixie") == "http://mirror.example/debian/"


def test_a_machine_that_follows_stable_has_a_mirror_too() -> None:
    lines = ["http://m.example/debian/|stable|main|Packages"]
    assert apt.choose_mirror(lines, "bookworm", "trixie") == "http://m.example/debian/"


@pytest.mark.parametrize("lines", [[], _LINES[:5], ["cdrom:[Debian]/|bookworm|main|Packages"]])
def test_without_a_debian_mirror_there_is_none(lines: list[str]) -> None:
    assert apt.choose_mirror(lines, "bookworm", "trixie") is None


def test_packages_are_read_from_apts_listing() -> None:
    listing = [
        "Reading package lists...",
        "'http://m.example/pool/c/criu_4.1.1-1_amd64.deb' criu_4.1.1-1_amd64.deb 644 SHA256:00",
        "'http://m.example/x.deb' libgmp10_2%3a6.3.0_amd64.deb 12 MD5Sum:0",
    ]
    assert [(p.name, p.size) for p in apt.parse_uris(listing)] == [
        ("criu", 644),
        ("libgmp10", 12),
    ]


def test_the_machine_itself_is_asked_for_its_mirror() -> None:
    if shutil.which("apt-get") is None:
        pytest.skip("needs apt")
    assert apt.mirror("trixie", "").startswith(("http", "mirror", "file"))
