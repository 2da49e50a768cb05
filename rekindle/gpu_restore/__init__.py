"""GPUs: what there is, what is asked for, and bringing a runner back onto one.

``inventory`` says what this machine has, ``request`` what a function asks for, ``placement/`` what
a request gets. ``before_snapshot`` keeps CUDA out of a template, ``context`` brings it up in a
runner, ``weights`` brings tensors to the device, and ``holding/`` keeps them there between runners.
Knows no gRPC and no Redis. Begin with ``context``.
"""
