"""Which failures may be remembered, by what the system and other programs really say."""

from __future__ import annotations

import errno
import os
import subprocess

import pytest

from rekindle.exception import SnapshotError
from rekindle.linux.passing import is_passing, says_passing
from tests import exhausted


def test_a_lack_of_descriptors_passes_also_as_the_cause_of_another_error() -> None:
    with exhausted.descriptors(0), pytest.raises(OSError, match="Too many open files") as lacking:
        os.open("/dev/null", os.O_RDONLY)
    assert is_passing(lacking.value)
    with pytest.raises(SnapshotError) as wrapped:
        raise SnapshotError("no snapshot") from lacking.value
    assert is_passing(wrapped.value)
    assert says_passing(f"Error (criu/x.c:1): cannot open: {lacking.value.strerror}")


def test_what_takes_too_long_passes() -> None:
    with pytest.raises(subprocess.TimeoutExpired) as late:
        subprocess.run(["sleep", "60"], timeout=0.01)
    assert is_passing(late.value) and is_passing(TimeoutError())


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EPERM, errno.ENOSYS, errno.EINVAL])
def test_what_lasts_does_not(number: int) -> None:
    assert not is_passing(OSError(number, os.strerror(number)))
    assert not says_passing(os.strerror(number))
