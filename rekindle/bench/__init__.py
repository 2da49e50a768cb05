"""What a user measures with: the same call by each strategy, compared phase by phase.

``harness`` measures any ``Target``, and knows nothing of the SDK, gRPC or Redis; ``target`` is a
function of a running app. ``records`` is what comes of it, ``table`` and ``plot`` show it. ``tune``
replays arrivals through the sizing policies. Begin with ``harness``.
"""
