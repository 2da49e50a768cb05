"""What tests of a process without descriptors rely on."""

from __future__ import annotations

import errno
import os

import pytest

from tests import exhausted


@pytest.mark.parametrize("left", [0, 4])
def test_so_many_are_left_also_where_there_was_none(left: int) -> None:
    with exhausted.descriptors(0), exhausted.descriptors(left):
        taken = [os.dup(0) for _ in range(left)]
        with pytest.raises(OSError) as failed:
            os.dup(0)
        for fd in taken:
            os.close(fd)
    assert failed.value.errno == errno.EMFILE
