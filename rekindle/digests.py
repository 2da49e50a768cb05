"""Names by content, without OpenSSL: that takes a short program as long to load as its own code.

hashlib has BLAKE2 from the same module, and loads OpenSSL for its other digests. Standard library
only.
"""

from __future__ import annotations

try:
    from _blake2 import blake2b as blake2b
except ImportError:  # a Python that was built without it has OpenSSL's
    from hashlib import blake2b as blake2b
