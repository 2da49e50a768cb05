"""Weights that stay on a GPU: a process keeps them there, runners have them by shared memory.

Begin with server.py. No agent starts such a process yet: whoever does sets ``REKINDLE_GPU_HOLDER``
and ``REKINDLE_GPU_REVISION`` in the function's ``env=``. Nor does one hand a runner a connection
that is good for its own weights alone (``limit``).
"""
