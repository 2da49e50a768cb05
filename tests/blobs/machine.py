"""What this machine can do of what lazy files need."""

from __future__ import annotations

import pytest

from rekindle.blobs.lazy import libfuse
from rekindle.exception import SetupError


def _why_no_fuse() -> str:
    try:
        libfuse.find()
    except SetupError as error:
        return str(error)
    return ""


needs_fuse = pytest.mark.skipif(bool(_why_no_fuse()), reason=_why_no_fuse() or "FUSE is there")
