"""Weights that stay on a GPU: a process keeps them there, runners have them by shared memory.

Begin with server.py. Agents start it when a runner asks for it, and hand each runner a connection
that is good for its revision's weights alone (runtime/agent/starts/gpu_holders.py). By itself it
listens on a path, which a function's ``env=`` may name (``REKINDLE_GPU_HOLDER``).
"""
