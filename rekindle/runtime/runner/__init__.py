"""Inside a template and a runner: load the user's code, become unique, run inputs.

Loads the standard library and cloudpickle only before user code: no event loop, no gRPC, no helper
thread, as each user pays for them and threads break ``fork``. Knows its agent by one socket. Begin
with ``main``, which boots and parks; ``serve`` goes on in what has become a runner.
"""
