"""Where the interpreter's own modules and programs lie, by what it has found for itself.

sysconfig says the same, and loads all settings of the interpreter's build for it. Standard library
only.
"""

from __future__ import annotations

import os
import sys


def standard_library() -> tuple[str, ...]:
    """Its directories: the pure modules first, then those that are of one machine."""
    pure = os.path.dirname(os.__file__)
    return pure, os.path.join(sys.exec_prefix, sys.platlibdir, os.path.basename(pure))


def programs() -> tuple[str, ...]:
    """Where it lies itself, and where pip puts the programs of packages (Debian's: ``local``)."""
    prefix = sys.prefix
    beside = os.path.dirname(sys.executable)
    return beside, os.path.join(prefix, "bin"), os.path.join(prefix, "local", "bin")
