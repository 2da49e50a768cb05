"""Images that tests run in: layers that are built once, and kept beside the other things of set-up.

A base of another release of Python than that of the tests takes a minute or two to make.
"""

from __future__ import annotations

import sys
from pathlib import Path

#: What ``REKINDLE_IMAGES`` is for tests.
STORE = Path(sys.prefix) / "share" / "rekindle" / "images"
#: A Python that these tests do not run on.
OTHER_PYTHON = "3.13" if sys.version_info[:2] != (3, 13) else "3.11"
