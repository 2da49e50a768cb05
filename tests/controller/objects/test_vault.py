"""The keys that stored secrets are sealed with, on a disk whose power is cut, or that is full."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from rekindle.controller.objects.vault import Vault
from rekindle.exception import SetupError
from tests import power_cut


@pytest.mark.parametrize("rotated", [False, True], ids=["first_key", "new_key"])
@power_cut.needed
def test_what_is_sealed_can_be_opened_after_a_power_cut(tmp_path: Path, rotated: bool) -> None:
    with power_cut.mounted(tmp_path) as disk:
        key_file = disk.root / "secrets.key"
        if rotated:
            Vault(key_file).seal("pay", {})
            os.sync()
            Vault(key_file).add_key()
        sealed = Vault(key_file).seal("pay", {"TOKEN": "first"})
        (disk.root / "later").write_text("not written")
        disk.cut_power(at_once=True)
        assert not (disk.root / "later").exists()  # so it was a power cut
        assert Vault(key_file).open("pay", sealed) == {"TOKEN": "first"}


@power_cut.needed
def test_a_full_disk_is_said_and_takes_no_key(tmp_path: Path) -> None:
    with power_cut.mounted(tmp_path) as disk:
        key_file = disk.root / "secrets.key"
        Vault(key_file).seal("pay", {})
        key_file.write_text(200 * key_file.read_text())  # more than an inode takes
        before = key_file.read_text()
        disk.fill()
        with pytest.raises(SetupError, match=r"secrets\.key cannot be written: No space"):
            Vault(key_file).add_key()
        assert key_file.read_text() == before
        assert list(disk.root.glob(".secrets-*")) == []


def test_a_disk_that_takes_no_new_file_of_keys_is_said_and_keeps_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_file = tmp_path / "secrets.key"
    Vault(key_file).seal("pay", {})
    before = key_file.read_text()

    def replace(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(SetupError, match=r"secrets\.key cannot be written: Input/output error"):
        Vault(key_file).add_key()
    assert key_file.read_text() == before
    assert list(tmp_path.glob(".secrets-*")) == []
