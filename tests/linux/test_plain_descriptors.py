"""Waiting for descriptors, also for those beyond what select(2) knows."""

from __future__ import annotations

import fcntl
import os
import resource
from collections.abc import Iterator

import pytest

from rekindle.linux.plain_descriptors import readable

#: select(2) knows those below alone.
_FD_SETSIZE = 1024


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe whose reading end has a number that select(2) does not know."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2 * _FD_SETSIZE:
        pytest.skip("this process may have no descriptor beyond 1,024")
    low, writes = os.pipe()
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * _FD_SETSIZE), hard))
    reads = fcntl.fcntl(low, fcntl.F_DUPFD, _FD_SETSIZE)
    os.close(low)
    try:
        yield reads, writes
    finally:
        os.close(reads)
        os.close(writes)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_descriptor_of_any_number_is_waited_for(pipe: tuple[int, int]) -> None:
    reads, writes = pipe
    assert readable([reads], 0) == set()
    assert readable([reads], -1.0) == set()
    os.write(writes, b"x")
    assert readable([reads]) == {reads}


def test_who_hung_up_can_be_read(pipe: tuple[int, int]) -> None:
    other, ends = os.pipe()
    os.close(ends)
    try:
        assert readable([pipe[0], other], 10) == {other}
    finally:
        os.close(other)
