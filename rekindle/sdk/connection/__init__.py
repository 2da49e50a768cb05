"""The connection of a program to a controller: one background thread, one client an instance.

Begin with ``background``, then ``connection`` and ``client``. Knows nothing of pickles, user code
and declarations.
"""

from __future__ import annotations

import os

# gRPC's own fork handlers crash children now and then; relay.py is what children use. It is read
# when gRPC is first loaded, so it is set before; a value that is set is kept.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
