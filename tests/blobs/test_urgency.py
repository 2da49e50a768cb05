"""What a lazy file asks for, and how urgently. Nothing is served here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

import pytest

from rekindle.blobs.index import Index, digest
from rekindle.blobs.lazy.fetcher import Fetcher, Urgency, Wanted
from rekindle.blobs.lazy.file import LazyFile
from rekindle.blobs.sparse import SparseFile

_CHUNK = 4096


class _Asked:
    """Plays the fetcher: keeps what it is asked for."""

    def __init__(self) -> None:
        self.orders: list[tuple[list[int], Urgency]] = []

    def ask(self, _file: Wanted, numbers: list[int], urgency: Urgency) -> None:
        self.orders.append((numbers, urgency))

    def forget(self, _file: Wanted) -> None:
        pass


@pytest.fixture
def chunks() -> list[bytes]:
    return [os.urandom(_CHUNK) for _ in range(40)]


def test_nothing_is_guessed_while_what_is_known_has_not_come(
    tmp_path: Path, chunks: list[bytes]
) -> None:
    index = Index(len(chunks) * _CHUNK, _CHUNK, tuple(map(digest, chunks)))
    asked = _Asked()
    with SparseFile.open(tmp_path / "file", index.id, index) as sparse:
        file = LazyFile(sparse, cast(Fetcher, asked), "file:///x", wait_s=1.0, lost=lambda *_: None)
        for number in range(4):
            file.arrived(number, chunks[number], 10)
        file.first([20, 21, 2])
        assert asked.orders == [([20, 21], Urgency.FIRST)]  # 2 is here
        for number in range(2):
            assert file.read(number * _CHUNK, _CHUNK) == chunks[number]
        assert len(asked.orders) == 1
        file.arrived(20, chunks[20], 10)
        file.failed(21, OSError())
        for number in range(2, 4):
            file.read(number * _CHUNK, _CHUNK)
        assert [urgency for _numbers, urgency in asked.orders[1:]] == [Urgency.AHEAD] * 2
        assert list(file.touched) == [0, 1, 2, 3] and file.received_bytes == 50
