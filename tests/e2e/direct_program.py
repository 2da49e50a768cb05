"""Scripts of programs that call functions directly: what they have in common."""

from __future__ import annotations

_END = """
def warm_up(function, *args):
    # Call until this process holds a lease.
    while not any(cache.idle for key, cache in lease_caches._caches.items()
                  if key[1] == function.object_id and key[2] == function._target().params):
        function.remote(*args)

@app.local_entrypoint()
def main({arguments}):
{body}
"""


def program(functions: str, body: str, arguments: str = "") -> str:
    """A script with these functions, whose entrypoint is ``body``.

    ``functions`` makes ``app`` and imports ``rekindle.sdk.calls.lease_caches``.
    """
    lines = "\n".join(f"    {line}" for line in body.strip("\n").splitlines())
    return functions + _END.replace("{arguments}", arguments).replace("{body}", lines)
